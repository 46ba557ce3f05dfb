//! A keyed work queue without I/O or clock: which key may be worked on now, and which later.
//!
//! The contract is client-go's workqueue: a key waits at most once, is never worked on twice at the same time, and a
//! key that was added while being worked on is worked on again. Failures are retried with doubling delays.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// How the work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until something changes.
    Done,
    /// Done for now; look again after this time although nothing may change.
    Again(Duration),
    /// Failed; retry with back-off.
    Failed,
}

/// The queue. `K` is cheap to clone.
#[derive(Debug)]
pub struct Queue<K> {
    ready: VecDeque<K>,
    entries: HashMap<K, Entry>,
    delayed: BTreeSet<(Instant, u64)>,
    delayed_keys: HashMap<u64, K>,
    next_ticket: u64,
}

#[derive(Debug, Default)]
struct Entry {
    waiting: bool,
    running: bool,
    /// Added while running.
    dirty: bool,
    failures: u32,
    delay: Option<(Instant, u64)>,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            entries: HashMap::new(),
            delayed: BTreeSet::new(),
            delayed_keys: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// The key needs work now.
    pub fn add(&mut self, key: K) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running {
            entry.dirty = true;
        } else if !entry.waiting {
            entry.waiting = true;
            self.ready.push_back(key);
        }
    }

    /// Takes the next key to work on; it counts as running until [`Queue::finish`].
    pub fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.waiting = false;
            entry.running = true;
        }
        Some(key)
    }

    /// Work on the key ended.
    pub fn finish(&mut self, key: &K, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.running = false;
        let dirty = std::mem::take(&mut entry.dirty);
        let delay = match outcome {
            Outcome::Done => {
                entry.failures = 0;
                None
            }
            Outcome::Again(after) => {
                entry.failures = 0;
                Some(after)
            }
            Outcome::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                Some(back_off(entry.failures))
            }
        };
        self.forget_delay(key);
        if dirty {
            self.add(key.clone());
        } else if let Some(after) = delay {
            self.add_at(key.clone(), now + after);
        } else {
            self.entries.remove(key);
        }
    }

    /// Moves every key whose delay is over to the waiting ones.
    pub fn release_due(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.delayed.first() {
            if at > now {
                return;
            }
            self.delayed.pop_first();
            if let Some(key) = self.delayed_keys.remove(&ticket) {
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.delay = None;
                }
                self.add(key);
            }
        }
    }

    /// When the next delayed key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    fn add_at(&mut self, key: K, at: Instant) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.entries.entry(key.clone()).or_default().delay = Some((at, ticket));
        self.delayed.insert((at, ticket));
        self.delayed_keys.insert(ticket, key);
    }

    fn forget_delay(&mut self, key: &K) {
        if let Some(delay) = self.entries.get_mut(key).and_then(|entry| entry.delay.take()) {
            self.delayed.remove(&delay);
            self.delayed_keys.remove(&delay.1);
        }
    }
}

/// 5 ms, 10 ms, 20 ms … at most 5 s: short, because an API server on the same machine is back within a second.
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    (Duration::from_millis(5) * 2u32.pow(doublings)).min(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_key_waits_only_once() {
        let mut queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.take(), Some("a"));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_running_key_is_not_handed_out_again_but_runs_again_afterwards() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a");
        assert_eq!(queue.take(), Some("a"));
        queue.add("a");
        assert_eq!(queue.take(), None);
        queue.finish(&"a", Outcome::Done, now);
        assert_eq!(queue.take(), Some("a"));
        queue.finish(&"a", Outcome::Done, now);
        assert_eq!(queue.take(), None);
        assert!(queue.entries.is_empty(), "a finished key leaves nothing behind");
    }

    #[test]
    fn failures_are_retried_later_and_later() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a");
        let mut due = Vec::new();
        for _ in 0..4 {
            assert_eq!(queue.take(), Some("a"));
            queue.finish(&"a", Outcome::Failed, now);
            due.push(queue.next_due().expect("delayed") - now);
            queue.release_due(now + at(60_000));
        }
        assert_eq!(due, [at(5), at(10), at(20), at(40)]);
        assert_eq!(back_off(u32::MAX), Duration::from_millis(5000));
    }

    #[test]
    fn an_event_overtakes_a_delay() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add("a");
        queue.take();
        queue.finish(&"a", Outcome::Again(at(1000)), now);
        queue.add("a");
        assert_eq!(queue.take(), Some("a"));
        queue.finish(&"a", Outcome::Done, now);
        // The old delay must not come back for a key that is done.
        queue.release_due(now + at(2000));
        assert_eq!(queue.take(), None);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn nothing_is_released_before_its_time() {
        let now = Instant::now();
        let mut queue = Queue::new();
        queue.add(1);
        queue.take();
        queue.finish(&1, Outcome::Again(at(10)), now);
        queue.release_due(now + at(9));
        assert_eq!(queue.take(), None);
        queue.release_due(now + at(10));
        assert_eq!(queue.take(), Some(1));
    }
}
