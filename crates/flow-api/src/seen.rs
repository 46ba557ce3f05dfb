//! A flow, or what an agent did, that is told in Hubble's words when somebody looks at it first.
//!
//! Who sees flows must not be held up by their words. He keeps what he knows of one in his own, cheaper form, and everything that is
//! known is known from the beginning: a name that changes later changes nothing. Where nobody reads (no log, no metrics), most flows
//! leave the ring untold.

use crate::flow::Flow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// What somebody has seen, in a form of his own.
pub trait Witness<T = Flow>: fmt::Debug + Send + Sync {
    /// Of the Pods at both ends; empty where there is none.
    fn namespaces(&self) -> [&str; 2] {
        [""; 2]
    }

    /// In Hubble's words. Asked for once at most.
    fn tell(&self) -> T;
}

/// What was seen, told or not yet.
#[derive(Debug)]
pub struct Seen<T = Flow> {
    told: OnceLock<Box<T>>,
    witness: Option<Arc<dyn Witness<T>>>,
}

impl<T: Default> Seen<T> {
    /// To be told later.
    #[must_use]
    pub fn later(witness: Arc<dyn Witness<T>>) -> Self {
        Self { told: OnceLock::new(), witness: Some(witness) }
    }

    /// The words themselves.
    #[must_use]
    pub fn into_told(mut self) -> T {
        self.told.take().map_or_else(|| self.tell(), |told| *told)
    }

    /// Whether somebody has looked.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told.get().is_some()
    }

    fn tell(&self) -> T {
        self.witness.as_ref().map(|witness| witness.tell()).unwrap_or_default()
    }
}

impl Seen {
    /// Of the Pods at both ends; empty where there is none.
    #[must_use]
    pub fn namespaces(&self) -> [&str; 2] {
        match &self.witness {
            Some(witness) => witness.namespaces(),
            None => [&self.source, &self.destination].map(|end| end.as_ref().map_or("", |end| &end.namespace)),
        }
    }
}

impl<T: Default> Deref for Seen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.told.get_or_init(|| Box::new(self.tell()))
    }
}

impl<T> From<T> for Seen<T> {
    fn from(told: T) -> Self {
        Self { told: OnceLock::from(Box::new(told)), witness: None }
    }
}

impl<T: Default + Clone> Clone for Seen<T> {
    fn clone(&self) -> Self {
        T::clone(self).into()
    }
}

impl<T: Default + PartialEq> PartialEq for Seen<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[derive(Debug)]
    struct Counted(Arc<AtomicUsize>);

    impl Witness for Counted {
        fn tell(&self) -> Flow {
            self.0.fetch_add(1, Relaxed);
            Flow { summary: "seen".to_owned(), ..Flow::default() }
        }
    }

    #[test]
    fn nobody_tells_before_somebody_looks_and_then_once() {
        let times = Arc::new(AtomicUsize::new(0));
        let seen = Seen::later(Arc::new(Counted(times.clone())));
        assert_eq!((seen.is_told(), times.load(Relaxed)), (false, 0));
        let twin = seen.clone();
        assert_eq!((seen.summary.as_str(), &seen, times.load(Relaxed)), ("seen", &twin, 1));
        assert_eq!((seen.into_told().summary.as_str(), times.load(Relaxed)), ("seen", 1));
        assert_eq!(Seen::later(Arc::new(Counted(times.clone()))).into_told().summary, "seen");
    }
}
