use crate::history::History;
use crate::journal::{Journal, NoJournal, Recovered, RedbJournal};
use crate::state::State;
use crate::writer::{self, Request};
use crate::{Entry, HistoryLimits, Page, PageRequest, StoreError, Watcher, Write};
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use tokio::sync::{mpsc, oneshot, watch};

/// The store; cheap to clone, all clones are the same one.
#[derive(Clone)]
pub struct Store {
    state: Arc<RwLock<State>>,
    requests: mpsc::Sender<Request>,
    newest: watch::Receiver<u64>,
}

/// Writes that may wait for the writer before callers have to.
const QUEUE: usize = 1024;

impl Store {
    /// Opens or makes the file `journal`; everything acknowledged before a crash is there again.
    pub fn open(journal: &Path, limits: HistoryLimits) -> Result<Self, StoreError> {
        let (journal, recovered) = RedbJournal::open(journal)?;
        Self::start(Box::new(journal), recovered, limits)
    }

    /// The in-memory twin: same behaviour, nothing on disk.
    pub fn in_memory(limits: HistoryLimits) -> Result<Self, StoreError> {
        Self::start(Box::new(NoJournal), Recovered::default(), limits)
    }

    fn start(journal: Box<dyn Journal>, recovered: Recovered, limits: HistoryLimits) -> Result<Self, StoreError> {
        let revision = recovered.revision;
        let history = History::new(limits, revision);
        let state = Arc::new(RwLock::new(State { entries: recovered.entries, revision, history }));
        let (requests, receiver) = mpsc::channel(QUEUE);
        let (newest, newest_receiver) = watch::channel(revision);
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer::run(receiver, shared, journal, newest))
            .map_err(|error| StoreError::Journal { operation: "start the writer", cause: error.to_string() })?;
        Ok(Self { state, requests, newest: newest_receiver })
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// One key's entry.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.read().entries.get(key).cloned()
    }

    /// The entries under `prefix`, in order of keys, as of one revision.
    pub fn list(&self, prefix: &str, request: &PageRequest) -> Result<Page, StoreError> {
        self.read().page(prefix, request)
    }

    /// Makes one conditional change durable; returns its revision. Deleting what does not exist changes nothing.
    pub async fn write(&self, write: Write) -> Result<u64, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { write, answer }).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Watches `prefix`: all changes with a revision above `after`.
    pub fn watch(&self, prefix: &str, after: u64) -> Result<Watcher, StoreError> {
        self.read().check_revision(after)?;
        Ok(Watcher {
            prefix: prefix.to_owned(),
            seen: after,
            state: Arc::clone(&self.state),
            newest: self.newest.clone(),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while writing cannot leave the maps half changed in a way that matters more than being down.
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
