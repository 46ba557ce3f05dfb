//! What is tried again and again and does not succeed, for `malla status`.

use std::sync::{Arc, Mutex, PoisonError};

/// What can't be served, in words. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<Vec<String>>>);

impl Trouble {
    /// All of it now.
    #[must_use]
    pub fn now(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is this from now on, perhaps nothing. Logged when it is another, not at each try.
    pub fn tell(&self, why: impl IntoIterator<Item = String>) {
        let why: Vec<String> = why.into_iter().collect();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != why {
            why.iter().for_each(|why| tracing::warn!("{why}"));
            *known = why;
        }
    }
}
