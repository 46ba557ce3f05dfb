//! A revisioned key/value store with watch: what the embedded Kubernetes API keeps its objects in.
//!
//! Every change gets the next number of one global, ever growing revision (Kubernetes' `resourceVersion`). Reads come
//! from memory; a single writer thread makes changes durable in groups, and a write is acknowledged only after the
//! journal (redb on disk, or nothing at all for the in-memory twin) has it.
//!
//! Invariant: this crate knows keys and bytes, nothing of Kubernetes.
#![forbid(unsafe_code)]

mod error;
mod history;
mod journal;
mod state;
mod store;
mod watcher;
mod writer;

pub use error::StoreError;
pub use history::{Change, HistoryLimits};
pub use state::{Entry, Page, PageRequest};
pub use store::Store;
pub use watcher::Watcher;
pub use writer::{Expect, Write};
