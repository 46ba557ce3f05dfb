//! How long to wait before something that ended is started again. Pure.

use std::time::Duration;

/// Doubles from [`FIRST`] to [`LONGEST`]; running for [`STEADY`] forgives everything.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after a run that lasted `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            self.failures = 0;
        }
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// A killed agent is back before anybody misses it.
const FIRST: Duration = Duration::from_millis(50);
/// Somebody who repairs the cause should not have to wait long.
const LONGEST: Duration = Duration::from_secs(5);
/// Whoever ran this long did not end because of how it was started.
const STEADY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_longest_and_forgives() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(Duration::ZERO), FIRST);
        assert_eq!(backoff.after(Duration::ZERO), FIRST * 2);
        for _ in 0..100 {
            assert!(backoff.after(Duration::ZERO) <= LONGEST);
        }
        assert_eq!(backoff.after(Duration::ZERO), LONGEST);
        assert_eq!(backoff.after(STEADY), FIRST);
    }
}
