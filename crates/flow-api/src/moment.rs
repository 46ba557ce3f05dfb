//! Times of events, as what can be compared and reckoned with.

use prost_types::Timestamp;
use std::time::SystemTime;

/// Seconds and nanoseconds since 1970.
pub type Moment = (i64, i32);

/// To be compared.
#[must_use]
pub fn moment(time: &Timestamp) -> Moment {
    (time.seconds, time.nanos)
}

/// Nanoseconds since 1970, which reach from 1677 to 2262: what is before or after that is at the ends. [`i64::MIN`] is nobody's.
#[must_use]
pub fn nanoseconds(time: &Timestamp) -> i64 {
    let whole = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    whole.clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX)) as i64
}

/// The other way round.
#[must_use]
pub fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp { seconds: nanoseconds.div_euclid(1_000_000_000), nanos: nanoseconds.rem_euclid(1_000_000_000) as i32 }
}

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    SystemTime::now().into()
}
