//! Which of several replicas writes what only one may write: the one that holds a Lease, as in client-go's leader election.
//!
//! Clocks of different machines are never compared: a Lease has run out when its record has not changed for as long as it
//! says, by our own clock. Whoever holds it stops by itself a good while before (`deadline` < `duration`), also if it was
//! frozen meanwhile: [`Leadership::check`] asks the clock before every write. What remains is a process that is frozen
//! between the question and the packet; for that, writes are made so that a late one is refused (creation by name,
//! replacement and deletion by version).

mod plan;
pub(crate) mod run;

pub use plan::Timing;

use crate::{Error, Result};
use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// How one of several replicas is chosen.
#[derive(Clone, Debug)]
pub struct Election {
    /// Name of this replica. No two live processes may have the same: a process that comes after another of its name goes
    /// on with that one's Lease at once.
    pub identity: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// How fast it is renewed and runs out.
    pub timing: Timing,
}

impl Election {
    /// Name of the Lease.
    pub const LEASE: &'static str = "malla-operator";

    /// In `kube-system`, with client-go's usual times.
    #[must_use]
    pub fn new(identity: impl Into<String>) -> Self {
        Self { identity: identity.into(), namespace: "kube-system".to_owned(), timing: Timing::default() }
    }
}

/// One uninterrupted time of leading; never the same again in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term(u64);

/// Whether this process leads.
pub(crate) struct Leadership {
    held: Mutex<Held>,
    gained: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

struct Held {
    until: Until,
    term: u64,
}

enum Until {
    Nothing,
    Moment(Instant),
    Always,
}

impl Leadership {
    /// Does not lead yet.
    pub fn none() -> Self {
        Self::with(Until::Nothing)
    }

    /// There is nobody else.
    pub fn always() -> Self {
        Self::with(Until::Always)
    }

    fn with(until: Until) -> Self {
        Self { held: Mutex::new(Held { until, term: 1 }), gained: Mutex::default() }
    }

    /// The term, while this process leads.
    pub fn term(&self) -> Option<Term> {
        self.term_at(Instant::now())
    }

    fn term_at(&self, now: Instant) -> Option<Term> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.until {
            Until::Nothing => None,
            Until::Moment(until) => (now < until).then_some(Term(held.term)),
            Until::Always => Some(Term(held.term)),
        }
    }

    /// To be asked right before every write that only the leader may make.
    ///
    /// # Errors
    /// When the term is over.
    pub fn check(&self, term: Term) -> Result<()> {
        if self.term() == Some(term) { Ok(()) } else { Err(Error::NotLeading) }
    }

    /// Calls `handler` whenever a term begins.
    pub fn on_gain(&self, handler: impl Fn() + Send + 'static) {
        self.gained.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// The Lease was written: it holds until then.
    fn hold(&self, until: Instant, now: Instant) {
        let gained = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            // A term that ran out unnoticed is over: somebody else may have led since.
            let goes_on = matches!(held.until, Until::Moment(before) if now < before);
            held.term += u64::from(!goes_on);
            held.until = Until::Moment(until);
            !goes_on
        };
        if gained {
            self.gained.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|handler| handler());
        }
    }

    /// The Lease is another's.
    fn lose(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).until = Until::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    #[test]
    fn a_term_that_ran_out_is_over_even_if_the_lease_is_still_ours() {
        let (leadership, now) = (Leadership::none(), Instant::now());
        let gains = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&gains);
        leadership.on_gain(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        });
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(leadership.term_at(now), None);
        leadership.hold(at(10), now);
        let first = leadership.term_at(at(9));
        assert!(first.is_some());
        leadership.hold(at(19), at(9));
        assert_eq!(leadership.term_at(at(18)), first, "a renewal in time goes on");
        assert_eq!(leadership.term_at(at(19)), None);
        leadership.hold(at(40), at(30));
        assert!(leadership.term_at(at(31)).is_some_and(|term| Some(term) != first), "frozen meanwhile: another term");
        leadership.lose();
        assert_eq!((leadership.term_at(at(32)), gains.load(Ordering::SeqCst)), (None, 2));
        assert!(matches!(leadership.check(Term(1)), Err(Error::NotLeading)));
        assert!(Leadership::always().term().is_some());
    }
}
