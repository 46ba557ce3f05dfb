//! How long a failing container waits before its next start: kubelet's numbers.

use std::time::Duration;

/// Doubling delays with a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Container restarts: 10 s, 20 s … 5 min (kubelet's `containerBackOff`).
    #[must_use]
    pub fn restarts() -> Self {
        Self { next: Duration::ZERO, first: Duration::from_secs(10), longest: Duration::from_secs(300) }
    }

    /// Images that can't be had: 10 s … 5 min.
    #[must_use]
    pub fn images() -> Self {
        Self { next: Duration::from_secs(10), ..Self::restarts() }
    }

    /// Operations of the node itself: quick at first, because what they wait for is usually just starting.
    #[must_use]
    pub fn operations() -> Self {
        let first = Duration::from_millis(100);
        Self { next: first, first, longest: Duration::from_secs(2) }
    }

    /// The delay before the next try; the first restart of a container comes at once.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = if delay.is_zero() { self.first } else { (delay * 2).min(self.longest) };
        delay
    }

    /// After a container has run for this long its past is forgotten.
    pub fn ran_for(&mut self, duration: Duration) {
        if duration >= self.longest * 2 {
            *self = Self::restarts();
        }
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.delay())
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_as_kubelet_does() {
        let mut backoff = Backoff::restarts();
        let delays: Vec<u64> = (0..8).map(|_| backoff.delay().as_secs()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        backoff.ran_for(Duration::from_secs(599));
        assert_eq!(backoff.delay().as_secs(), 300);
        backoff.ran_for(Duration::from_secs(600));
        assert_eq!(backoff.delay().as_secs(), 0);
    }
}
