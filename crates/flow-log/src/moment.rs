//! Times as one number: nanoseconds since 1970.

pub use flow_api::moment::{nanoseconds, timestamp};

use prost_types::Timestamp;

/// What a flow without a time has: before every other.
pub const NO_TIME: i64 = i64::MIN;

/// The time if the number says exactly the same, so that only the number need be kept.
#[must_use]
pub fn exact(time: &Timestamp) -> Option<i64> {
    let number = nanoseconds(time);
    (timestamp(number) == *time).then_some(number)
}
