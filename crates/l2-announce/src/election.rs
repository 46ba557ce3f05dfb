//! Whether this node has a Service's addresses. Pure: what the API, the segment and the clock say in, what to do out.
//!
//! Clocks of different nodes are never compared: a Lease has run out when its record has not changed for as long as it
//! says, by our own clock (as in client-go's leader election).

use std::time::{Duration, Instant};

/// How fast a Lease is renewed and runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that was not renewed for so long has run out; whole seconds, as the API has them.
    pub duration: Duration,
    /// Between two renewals.
    pub renew: Duration,
}

impl Timing {
    /// What an attempt to write may take: a renewal that fails is known before the Lease runs out.
    #[must_use]
    pub fn attempt(&self) -> Duration {
        self.duration.saturating_sub(self.renew) * 3 / 4
    }

    /// What others wait without seeing a renewal: one more than the Lease's time, for renewals that are on their way.
    fn patience(&self, duration: Duration) -> Duration {
        duration + self.renew
    }
}

/// A Lease as the API has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `metadata.resourceVersion`.
    pub version: String,
    /// Who has it.
    pub holder: String,
    /// For how long after a renewal.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// When it was last taken, as written.
    pub acquired: Option<String>,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this moment.
    Wait(Instant),
    /// Write that it is ours.
    Write,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is ours, in this state.
    Done(Seen),
    /// Somebody else wrote in between; this is what there is now.
    Lost(Option<Seen>),
    /// Nobody knows: the API did not answer in time, or could not.
    Unknown,
}

/// One Service's election, as one node sees it.
#[derive(Clone, Debug)]
pub struct Election {
    node: String,
    timing: Timing,
    lease: Option<Seen>,
    /// The API has told about the Lease, or that there is none.
    known: bool,
    /// When the record last changed.
    changed: Instant,
    /// The beginning of the last attempt.
    tried: Option<Instant>,
    /// Until when this node may answer.
    answers: Option<Instant>,
    /// The API is silent; the answers go on from tick to tick.
    alone: bool,
}

impl Election {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(node: &str, timing: Timing, now: Instant) -> Self {
        Self {
            node: node.to_owned(),
            timing,
            lease: None,
            known: false,
            changed: now,
            tried: None,
            answers: None,
            alone: false,
        }
    }

    /// The API tells about the Lease.
    pub fn observe(&mut self, lease: Option<Seen>, now: Instant) {
        if !self.known || self.lease != lease {
            // Ours comes back by the watch after its answer; an older record than the one we know changes nothing.
            if self.known && older(lease.as_ref(), self.lease.as_ref()) {
                return;
            }
            self.lease = lease;
            self.changed = now;
        }
        self.known = true;
        if !self.is_mine() {
            self.unsure();
        }
    }

    /// What is next.
    #[must_use]
    pub fn next(&self, now: Instant) -> Action {
        let retry = |at: Instant| self.tried.map_or(at, |tried| at.max(tried + self.timing.renew));
        let due = match &self.lease {
            _ if !self.known => return Action::Wait(now + self.timing.duration),
            None => retry(now),
            Some(lease) if lease.holder.is_empty() || lease.holder == self.node => retry(now),
            Some(lease) => retry(self.changed + self.timing.patience(lease.duration)),
        };
        if due <= now { Action::Write } else { Action::Wait(due) }
    }

    /// The Lease that a write goes on from.
    #[must_use]
    pub fn lease(&self) -> Option<&Seen> {
        self.lease.as_ref()
    }

    /// A write begins.
    pub fn trying(&mut self, now: Instant) {
        self.tried = Some(now);
    }

    /// A write that began at `began` has ended.
    pub fn written(&mut self, written: Written, began: Instant, now: Instant) {
        match written {
            Written::Done(seen) => {
                self.lease = Some(seen);
                self.known = true;
                self.changed = now;
                self.alone = false;
                // Others count from when they see it, which is later.
                self.answers = Some(began + self.timing.duration);
            }
            Written::Lost(seen) => {
                self.observe(seen, now);
                // Nothing was won by it, and the next attempt need not wait if the Lease is ours or nobody's.
                self.tried = None;
            }
            Written::Unknown => {
                self.alone = self.answers(now);
                // Its time may be out before the next tick.
                self.tick(now);
            }
        }
    }

    /// Another node has announced one of the addresses. While the Lease holds that is its mistake; without the API it
    /// is the sign that the Lease went there, unless it says that it wrote the Lease before we did.
    pub fn contested(&mut self, their_version: Option<u64>) {
        let earlier = their_version.is_some_and(|theirs| self.version().is_some_and(|ours| theirs < ours));
        if self.alone && !earlier {
            self.unsure();
        }
    }

    /// The version of the Lease that this node wrote last; `None` while the Lease, as far as is known, is another's. Of two
    /// nodes that both believe to have it, the one with the greater version is right.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.lease.as_ref().filter(|lease| lease.holder == self.node)?.version.parse().ok()
    }

    /// Something may have been missed: only the API can say whether this node still has the addresses.
    pub fn unsure(&mut self) {
        self.alone = false;
        self.answers = None;
    }

    /// Called at least every [`Timing::renew`]: goes on while the API is silent. Whoever was not called in time has slept,
    /// knows nothing, and has to ask first.
    pub fn tick(&mut self, now: Instant) {
        if self.alone {
            self.alone = self.answers(now);
            if self.alone {
                self.answers = Some(now + self.timing.duration);
            }
        }
        if self.answers.is_some_and(|until| until < now) {
            self.answers = None;
        }
    }

    /// Until when this node may answer; the past or nothing when it may not.
    #[must_use]
    pub fn answers_until(&self) -> Option<Instant> {
        self.answers
    }

    /// Whether this node may answer.
    #[must_use]
    pub fn answers(&self, now: Instant) -> bool {
        self.answers.is_some_and(|until| until >= now)
    }

    /// Whether it goes on without the API: then the segment is asked whether somebody else has the addresses by now.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether the Lease, as far as is known, names this node.
    #[must_use]
    pub fn is_mine(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.holder == self.node)
    }
}

/// Versions of one server are numbers that grow (KEP-5504).
fn older(new: Option<&Seen>, known: Option<&Seen>) -> bool {
    let number = |seen: Option<&Seen>| seen.and_then(|seen| seen.version.parse::<u64>().ok());
    match (number(new), number(known)) {
        (Some(new), Some(known)) => new < known,
        _ => false,
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
