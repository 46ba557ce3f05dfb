//! Why a request was not taken, and whether it may be yet.

use std::time::Duration;

/// What has kept a request from being taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub words: String,
    pub again: Again,
}

/// Whether it is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The receiver will never take it.
    Never,
    /// It may take it.
    Soon,
    /// It may, and asks for so much time.
    After(Duration),
}

impl Failure {
    /// It may be taken another time.
    pub fn passing(words: impl Into<String>) -> Self {
        Self { words: words.into(), again: Again::Soon }
    }

    /// It never will be.
    pub fn lasting(words: impl Into<String>) -> Self {
        Self { words: words.into(), again: Again::Never }
    }
}

/// How long to wait before the next attempt; `None`: there is none. `attempt` counts from 0; `chance` is any number, another one each
/// time, so that not all nodes come back at once.
#[must_use]
pub fn pause(again: Again, attempt: u32, chance: u64) -> Option<Duration> {
    let doubled = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
    // Between a half and all of it.
    let part = doubled / 2 + doubled.mul_f64((chance % 1024) as f64 / 2048.0);
    match again {
        Again::Never => None,
        Again::Soon => Some(part),
        // Never sooner than without being asked: nothing and "at once" would be a storm.
        Again::After(asked) => Some(asked.max(part).min(LONGEST_ASKED)),
    }
}

const FIRST: Duration = Duration::from_millis(500);
/// A node's flows wait no longer than that for a look whether the receiver is there again.
const LONGEST: Duration = Duration::from_secs(30);
/// Unless it asks for it, and then no longer than that.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_ever_longer_but_not_for_ever_and_not_all_nodes_alike() {
        for attempt in 0..40 {
            let longest = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
            for chance in [0, 1023, 77, u64::MAX] {
                let pause = pause(Again::Soon, attempt, chance).unwrap();
                assert!((longest / 2..=longest).contains(&pause), "{attempt}: {pause:?}");
            }
        }
        assert_ne!(pause(Again::Soon, 3, 1), pause(Again::Soon, 3, 600));
    }

    #[test]
    fn who_asks_for_time_gets_it_within_bounds() {
        let asked = |seconds| pause(Again::After(Duration::from_secs(seconds)), 5, 9);
        assert_eq!(asked(99), Some(Duration::from_secs(99)));
        assert_eq!(asked(0), pause(Again::Soon, 5, 9));
        assert_eq!(asked(9999), Some(LONGEST_ASKED));
        assert_eq!(pause(Again::Never, 0, 0), None);
    }
}
