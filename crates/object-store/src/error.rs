use thiserror::Error;

/// Why the store refused or failed.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The key's revision is not the expected one; `current` is None where the key does not exist.
    #[error("{key}: the expected revision does not stand (now {current:?})")]
    Conflict {
        /// The key that was to be written.
        key: String,
        /// Its revision now.
        current: Option<u64>,
    },
    /// A list or watch asked for a revision whose history is gone; the reader must list anew.
    #[error("revision {asked} is compacted, the oldest one kept is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: u64,
        /// The oldest revision that can still be asked for.
        oldest: u64,
    },
    /// A reader asked for a revision that does not exist yet.
    #[error("revision {asked} is in the future, the current one is {current}")]
    Future {
        /// The revision asked for.
        asked: u64,
        /// The newest revision.
        current: u64,
    },
    /// The journal on disk could not do it. After a failed commit the store takes no more writes: what is durable is
    /// then unknown until the next start reads it.
    #[error("journal: {operation}: {cause}")]
    Journal {
        /// What was being done.
        operation: &'static str,
        /// redb's own words.
        cause: String,
    },
    /// The writer has ended (the store is closing, or an earlier commit failed).
    #[error("the store takes no more writes")]
    Closed,
}
