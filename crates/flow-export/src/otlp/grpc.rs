//! When an error is a reason to try again, and after how long: OTLP's "Failures" and "OTLP/gRPC Throttling".

use super::messages::{ErrorDetails, RetryInfo};
use prost::Message;
use std::time::Duration;
use tonic::{Code, Status};

/// How long to wait before the next attempt; `None`: the receiver will never take it. `attempt` counts from 0; `chance` is any number,
/// another one each time, so that not all nodes come back at once.
#[must_use]
pub fn pause(status: &Status, attempt: u32, chance: u64) -> Option<Duration> {
    let asked = throttled(status);
    let may_pass = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only if the receiver says that there will be room. (A connection that breaks as too busy has a source.)
        Code::ResourceExhausted if std::error::Error::source(status).is_none() => asked.is_some(),
        // What has a source did not come from the receiver: the connection broke.
        _ => std::error::Error::source(status).is_some(),
    };
    let doubled = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
    // Between a half and all of it.
    let part = doubled / 2 + doubled.mul_f64((chance % 1024) as f64 / 2048.0);
    // Never sooner than without being asked: nothing and "at once" would be a storm.
    may_pass.then(|| asked.map_or(part, |asked| asked.max(part).min(LONGEST_ASKED)))
}

/// What the receiver asks for.
fn throttled(status: &Status) -> Option<Duration> {
    let details = ErrorDetails::decode(status.details()).ok()?;
    let info = details.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Some(delay.try_into().unwrap_or_default())
}

const FIRST: Duration = Duration::from_millis(500);
/// A node's flows wait no longer than that for a look whether the receiver is there again.
const LONGEST: Duration = Duration::from_secs(30);
/// Unless it asks for it, and then no longer than that.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Any;

    fn throttle(code: Code, delay: Duration) -> Status {
        let info = RetryInfo { retry_delay: Some(delay.try_into().unwrap()) };
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
        Status::with_details(code, "slow", ErrorDetails { details: vec![any] }.encode_to_vec().into())
    }

    #[test]
    fn it_is_tried_again_where_the_specification_says_so_and_nowhere_else() {
        let retried: Vec<i32> =
            (0..=16).filter(|code| pause(&Status::new(Code::from(*code), ""), 0, 0).is_some()).collect();
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
        let exhausted = throttle(Code::ResourceExhausted, Duration::from_secs(7));
        assert_eq!(pause(&exhausted, 0, 0), Some(Duration::from_secs(7)));
        let at_once = throttle(Code::Unavailable, Duration::ZERO);
        assert_eq!(pause(&at_once, 5, 9), pause(&Status::unavailable("gone"), 5, 9));
        assert_eq!(pause(&throttle(Code::InvalidArgument, Duration::from_secs(7)), 0, 0), None);
        assert_eq!(pause(&throttle(Code::Unavailable, Duration::from_secs(9999)), 0, 0), Some(LONGEST_ASKED));
        let nonsense = Status::with_details(Code::ResourceExhausted, "", vec![0xff; 9].into());
        assert_eq!(pause(&nonsense, 0, 0), None);
    }

    #[test]
    fn it_waits_ever_longer_but_not_for_ever_and_not_all_nodes_alike() {
        let gone = Status::unavailable("gone");
        for attempt in 0..40 {
            let longest = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
            for chance in [0, 1023, 77, u64::MAX] {
                let pause = pause(&gone, attempt, chance).unwrap();
                assert!((longest / 2..=longest).contains(&pause), "{attempt}: {pause:?}");
            }
        }
        assert_ne!(pause(&gone, 3, 1), pause(&gone, 3, 600));
    }
}
