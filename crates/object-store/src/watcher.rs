use crate::state::State;
use crate::{Change, StoreError};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// Sees every change under a prefix once and in order. It holds no buffer of its own: it reads the store's history at
/// its own pace, and when the history has moved past it, it is cut with [`StoreError::Compacted`].
pub struct Watcher {
    pub(crate) prefix: String,
    /// Everything up to this revision has been seen.
    pub(crate) seen: u64,
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) newest: watch::Receiver<u64>,
}

/// Changes handed out at once, so that the lock is never held long.
const BATCH: usize = 256;

impl Watcher {
    /// The next changes (at least one). Waits until there are any.
    pub async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        loop {
            self.newest.borrow_and_update();
            let found = self.ready()?;
            if !found.is_empty() {
                return Ok(found);
            }
            self.newest.changed().await.map_err(|_| StoreError::Closed)?;
        }
    }

    /// The revision up to which this watcher has seen everything: what a bookmark may say.
    pub fn revision(&self) -> u64 {
        self.seen
    }

    /// Changes that are there already.
    pub fn ready(&mut self) -> Result<Vec<Change>, StoreError> {
        let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.seen < state.history.oldest {
            return Err(StoreError::Compacted { asked: self.seen, oldest: state.history.oldest });
        }
        let mut found = Vec::new();
        let mut seen = self.seen;
        for change in state.history.after(self.seen) {
            if change.key.starts_with(&self.prefix) {
                if found.len() == BATCH {
                    self.seen = seen;
                    return Ok(found);
                }
                found.push(change.clone());
            }
            seen = change.revision;
        }
        self.seen = state.revision;
        Ok(found)
    }
}
