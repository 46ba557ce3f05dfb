//! The one writer: checks expectations in order of arrival, makes the group durable, publishes, acknowledges.

use crate::journal::{Journal, Record};
use crate::state::State;
use crate::{Change, Entry, StoreError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written at this revision.
    Revision(u64),
    /// Anything.
    Any,
}

/// One conditional change.
#[derive(Debug, Clone)]
pub struct Write {
    /// The key to change.
    pub key: String,
    /// The new value; None deletes.
    pub value: Option<Bytes>,
    /// The condition.
    pub expect: Expect,
}

pub(crate) struct Request {
    pub write: Write,
    pub answer: oneshot::Sender<Result<u64, StoreError>>,
}

/// Writes that may share one commit; bounds how much work a crash can leave unacknowledged.
const GROUP: usize = 512;

/// Runs until all senders are gone or a commit fails. A thread of its own, because commits block on the disk.
pub(crate) fn run(
    mut requests: mpsc::Receiver<Request>,
    state: Arc<RwLock<State>>,
    mut journal: Box<dyn Journal>,
    newest: watch::Sender<u64>,
) {
    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = requests.blocking_recv() {
        group.push(first);
        while group.len() < GROUP {
            match requests.try_recv() {
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        let (changes, accepted) = judge(&state, std::mem::take(&mut group));
        if changes.is_empty() {
            continue;
        }
        let records: Vec<_> = changes
            .iter()
            .map(|change| Record {
                key: &change.key,
                value: change.current.as_ref().map(|entry| &entry.value),
                revision: change.revision,
            })
            .collect();
        if let Err(error) = journal.commit(&records) {
            tracing::error!(%error, "the store stops taking writes");
            for (answer, _) in accepted {
                let _ = answer.send(Err(error.clone()));
            }
            return;
        }
        {
            let mut state = state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            for change in changes {
                state.apply(change);
            }
            newest.send_replace(state.revision);
        }
        for (answer, revision) in accepted {
            let _ = answer.send(Ok(revision));
        }
    }
}

type Accepted = Vec<(oneshot::Sender<Result<u64, StoreError>>, u64)>;

/// Decides each request against the state plus what the group before it changes; answers the refused at once.
fn judge(state: &RwLock<State>, group: Vec<Request>) -> (Vec<Change>, Accepted) {
    let state = state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut revision = state.revision;
    let mut overlay: HashMap<String, Option<Entry>> = HashMap::new();
    let (mut changes, mut accepted) = (Vec::new(), Vec::new());
    for Request { write: Write { key, value, expect }, answer } in group {
        let previous = overlay.get(&key).cloned().unwrap_or_else(|| state.entries.get(&key).cloned());
        let stands = match expect {
            Expect::Any => true,
            Expect::Absent => previous.is_none(),
            Expect::Revision(wanted) => previous.as_ref().is_some_and(|entry| entry.revision == wanted),
        };
        if !stands {
            let current = previous.map(|entry| entry.revision);
            let _ = answer.send(Err(StoreError::Conflict { key, current }));
            continue;
        }
        if previous.is_none() && value.is_none() {
            let _ = answer.send(Ok(revision));
            continue;
        }
        revision += 1;
        let current = value.map(|value| Entry { value, revision });
        overlay.insert(key.clone(), current.clone());
        changes.push(Change { key: key.into(), revision, previous, current });
        accepted.push((answer, revision));
    }
    (changes, accepted)
}
