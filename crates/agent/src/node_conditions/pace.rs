//! When a statement is written. Pure: time comes in.
//!
//! What fails together is found one by one: if each of many nodes wrote each of its finds, the writes would grow with the square of
//! the cluster, just when it has other worries.

use super::Statement;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::time::Instant;

/// How patient a condition is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What is to be said has stood for so long before it is written; nodes add up to as much again, each its own share.
    pub settle: Duration,
    /// And if it never settles, it is written after so long (and the node's share of `settle`).
    pub latest: Duration,
    /// Between two writes of which the second is of another status or reason.
    pub turns: Duration,
    /// Between two writes that differ in words only.
    pub apart: Duration,
    /// After so long, to twice as long, it is looked whether it still stands: a Node that is made anew has no conditions.
    pub again: Duration,
    /// A heartbeat that is older than this is renewed when it is looked. Without: it tells when something was said last.
    pub beat: Option<Duration>,
}

/// For what seldom changes.
pub const AT_ONCE: Pace = Pace {
    settle: Duration::ZERO,
    latest: Duration::ZERO,
    turns: Duration::ZERO,
    apart: Duration::from_secs(2),
    again: Duration::from_secs(240),
    beat: None,
};

/// For what many nodes find at the same time.
pub const SETTLED: Pace = Pace {
    settle: Duration::from_secs(3),
    latest: Duration::from_secs(24),
    turns: Duration::from_secs(3),
    apart: Duration::from_secs(20),
    again: Duration::from_secs(240),
    beat: None,
};

/// What was written, and what is to be.
#[derive(Debug)]
pub struct Script {
    pace: Pace,
    lot: Lot,
    /// What stands, if that is known.
    said: Option<Statement>,
    wish: Option<Statement>,
    /// Since when the wish is not what was said, in any way.
    since: Instant,
    /// Since when it is of another status or reason.
    turned: Instant,
    /// Since when it is what it is.
    changed: Instant,
    /// When somebody has wished something last, though it be the same.
    heard: Instant,
    /// When something else was said last than stood.
    told: Instant,
    /// When it was certain last that it stands.
    looked: Instant,
    /// After failures: no earlier than this.
    not_before: Instant,
    failures: u32,
}

impl Script {
    /// Nothing was said yet.
    pub fn new(pace: Pace, lot: Lot, now: Instant) -> Self {
        Self {
            pace,
            lot,
            said: None,
            wish: None,
            since: now,
            turned: now,
            changed: now,
            heard: now,
            told: now,
            looked: now,
            not_before: now,
            failures: 0,
        }
    }

    /// This is to be said from now on; of nothing, nothing: then what was said stands.
    pub fn hear(&mut self, wish: Option<Statement>, now: Instant) {
        self.heard = now;
        let wish = wish.or_else(|| self.said.clone());
        if wish == self.wish {
            return;
        }
        let (was_news, was_turn) = (self.is_news(), self.is_turn());
        self.wish = wish;
        self.changed = now;
        if !was_news {
            self.since = now;
        }
        if !was_turn {
            self.turned = now;
        }
    }

    /// When to write, or to look whether it stands.
    pub fn due(&self) -> Option<Instant> {
        self.wish.as_ref()?;
        let Pace { settle, latest, turns, apart, again, .. } = self.pace;
        let due = if self.is_news() {
            let (stands_since, apart) = if self.is_turn() { (self.turned, turns) } else { (self.changed, apart) };
            let settled = (stands_since + settle).min(self.since + latest) + self.lot.share(settle);
            if self.said.is_some() { settled.max(self.told + apart) } else { settled }
        } else {
            self.looked + again + self.lot.share(again)
        };
        Some(due.max(self.not_before))
    }

    /// What is to be said, if that is due.
    pub fn take_due(&self, now: Instant) -> Option<Statement> {
        self.wish.clone().filter(|_| self.is_due(now))
    }

    /// Whether something is to be said, or looked at.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// What was said, if nothing else is to be.
    pub fn standing(&self) -> Option<Statement> {
        self.said.clone().filter(|_| !self.is_news())
    }

    /// How old the heartbeat of what stands may be, if it has one. It tells that somebody lives who knows, so that it is not renewed
    /// for who is silent, as one that hangs is.
    pub fn beat(&self, now: Instant) -> Option<Duration> {
        self.pace.beat.filter(|_| now < self.heard + SILENT)
    }

    /// It was, and stands.
    pub fn succeeded(&mut self, statement: Statement, now: Instant) {
        let said = Some(statement);
        if self.said != said {
            self.said = said;
            self.told = now;
        }
        self.looked = now;
        self.failures = 0;
    }

    /// It could not be; or it was, and only the answer is lost: then what stands is not what was said before.
    pub fn failed(&mut self, now: Instant) {
        self.said = None;
        self.not_before = now + self.lot.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
    }

    fn is_news(&self) -> bool {
        self.wish != self.said
    }

    fn is_turn(&self) -> bool {
        let kind = |statement: &Statement| (statement.holds, statement.reason);
        self.wish.as_ref().map(kind) != self.said.as_ref().map(kind)
    }
}

/// A number of the node's own, so that not all do the same at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Lot(u32);

impl Lot {
    /// That of the node of this name.
    pub fn of(node: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        node.hash(&mut hasher);
        Self((hasher.finish() % u64::from(LOTS)) as u32)
    }

    /// A part of this time.
    pub fn share(self, of: Duration) -> Duration {
        of * self.0 / LOTS
    }

    /// After so many failures before this one.
    pub fn pause(self, failures: u32) -> Duration {
        let pause = RETRY * 2_u32.pow(failures.min(MOST_DOUBLED));
        pause + self.share(RETRY)
    }
}

const LOTS: u32 = 1024;
/// Who has a heartbeat speaks every ten seconds; a loop that has very much to do at once, after a minute.
const SILENT: Duration = Duration::from_secs(120);
/// After the first failure.
const RETRY: Duration = Duration::from_secs(2);
/// Up to 16 s: it is written soon after the API is back.
const MOST_DOUBLED: u32 = 3;

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
