//! Times as one number: nanoseconds since 1970, which reach from 1677 to 2262.

use prost_types::Timestamp;

/// What a flow without a time has: before every other.
pub const NO_TIME: i64 = i64::MIN;

/// Times before and after what the number holds are its ends.
#[must_use]
pub fn nanoseconds(time: &Timestamp) -> i64 {
    let whole = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    whole.clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX)) as i64
}

#[must_use]
pub fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp { seconds: nanoseconds.div_euclid(1_000_000_000), nanos: nanoseconds.rem_euclid(1_000_000_000) as i32 }
}

/// The time if the number says exactly the same, so that only the number need be kept.
#[must_use]
pub fn exact(time: &Timestamp) -> Option<i64> {
    let number = nanoseconds(time);
    (timestamp(number) == *time).then_some(number)
}
