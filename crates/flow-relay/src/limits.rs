//! How long somebody is waited for, and how much may wait.

use std::time::Duration;

/// Of a relay. No time may be longer than an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for a connection to a node, and then for the first word of its answer.
    pub dial: Duration,
    /// Before a node that was away is tried again.
    pub retry: Duration,
    /// Longest wait of an answer for a node that may still have something older.
    pub patience: Duration,
    /// Longest silence of a node in the middle of an answer that must come to an end.
    pub silence: Duration,
    /// Answers that wait here for one client, those of all nodes together; each node has room for one at least. What a node
    /// has more it keeps, and counts what it must overwrite.
    pub waiting: usize,
    /// Bytes of answers that are kept until the end for a client that wants the last ones.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Nodes of a cluster are near each other.
            dial: Duration::from_secs(2),
            retry: Duration::from_secs(2),
            // As long as Hubble's relay.
            patience: Duration::from_secs(1),
            // A node that stands still or is cut off is known by HTTP/2 long before. One that looks through a full log for what is
            // not there says nothing for half a minute.
            silence: Duration::from_secs(90),
            waiting: 16_384,
            kept: 64 << 20,
        }
    }
}

impl Limits {
    /// Answers of each of so many nodes that may wait, 256 at most: that is more than a client takes at once.
    #[must_use]
    pub fn waiting_of_each(&self, nodes: usize) -> usize {
        (self.waiting / nodes.max(1)).clamp(1, 256)
    }

    /// Nobody says nothing for longer.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.silence + 2 * self.dial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_shared_among_the_nodes() {
        let each = |nodes| Limits { waiting: 1000, ..Limits::default() }.waiting_of_each(nodes);
        assert_eq!([0, 1, 3, 4, 10, 5000].map(each), [256, 256, 256, 250, 100, 1]);
    }
}
