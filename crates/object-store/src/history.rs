//! The bounded log of recent changes: watchers read it, and lists at an older revision are undone from it.

use crate::Entry;
use std::collections::VecDeque;
use std::sync::Arc;

/// One change, as watchers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key that changed.
    pub key: Arc<str>,
    /// The revision of this change.
    pub revision: u64,
    /// What the key held before; None where it was created.
    pub previous: Option<Entry>,
    /// What it holds now; None where it was deleted.
    pub current: Option<Entry>,
}

impl Change {
    fn bytes(&self) -> usize {
        let size = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
        self.key.len() + size(&self.previous) + size(&self.current)
    }
}

/// How much history is kept; whichever limit is reached first.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Number of changes.
    pub changes: usize,
    /// Bytes of keys and values (each value counts in both changes that share it).
    pub bytes: usize,
}

impl Default for HistoryLimits {
    /// A watcher that falls 20,000 changes or 48 MiB behind lists anew.
    fn default() -> Self {
        Self { changes: 20_000, bytes: 48 << 20 }
    }
}

pub(crate) struct History {
    changes: VecDeque<Change>,
    bytes: usize,
    limits: HistoryLimits,
    /// Watching is possible from this revision on: the change after it is the oldest one kept.
    pub oldest: u64,
}

impl History {
    pub fn new(limits: HistoryLimits, revision: u64) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, limits, oldest: revision }
    }

    pub fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.changes.len() > self.limits.changes || self.bytes > self.limits.bytes {
            let Some(gone) = self.changes.pop_front() else { break };
            self.bytes -= gone.bytes();
            self.oldest = gone.revision;
        }
    }

    /// Changes with a revision above `after`, oldest first.
    pub fn after(&self, after: u64) -> impl DoubleEndedIterator<Item = &Change> {
        let start = self.changes.partition_point(|change| change.revision <= after);
        self.changes.range(start..)
    }
}
