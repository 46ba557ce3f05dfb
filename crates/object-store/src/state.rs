//! The current contents, and how they looked at an earlier revision.

use crate::history::History;
use crate::{Change, StoreError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A value and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The stored bytes.
    pub value: Bytes,
    /// The global revision at which they were written.
    pub revision: u64,
}

/// What part of a prefix to list.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// List as of this revision; None: the newest.
    pub revision: Option<u64>,
    /// Only keys behind this one (for continuing a list).
    pub after: Option<String>,
    /// At most so many entries; 0 means all.
    pub limit: usize,
}

/// A list, or one page of it.
#[derive(Debug, Clone)]
pub struct Page {
    /// Keys in order.
    pub entries: Vec<(String, Entry)>,
    /// The revision at which exactly this was the content.
    pub revision: u64,
    /// How many entries follow behind this page.
    pub remaining: usize,
}

pub(crate) struct State {
    pub entries: BTreeMap<String, Entry>,
    pub revision: u64,
    pub history: History,
}

impl State {
    pub fn apply(&mut self, change: Change) {
        match &change.current {
            Some(entry) => self.entries.insert(change.key.to_string(), entry.clone()),
            None => self.entries.remove(&*change.key),
        };
        self.revision = change.revision;
        self.history.push(change);
    }

    pub fn check_revision(&self, asked: u64) -> Result<(), StoreError> {
        if asked > self.revision {
            return Err(StoreError::Future { asked, current: self.revision });
        }
        if asked < self.history.oldest {
            return Err(StoreError::Compacted { asked, oldest: self.history.oldest });
        }
        Ok(())
    }

    pub fn page(&self, prefix: &str, request: &PageRequest) -> Result<Page, StoreError> {
        let revision = request.revision.unwrap_or(self.revision);
        self.check_revision(revision)?;
        let mut undone: BTreeMap<&str, Option<&Entry>> = BTreeMap::new();
        // Newest first, so that the oldest change's `previous` is what stays: the state at `revision`.
        for change in self.history.after(revision).rev().filter(|change| change.key.starts_with(prefix)) {
            undone.insert(&change.key, change.previous.as_ref());
        }
        let start = match &request.after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let behind = |key: &str| request.after.as_deref().is_none_or(|after| key > after);
        let mut found: Vec<(String, Entry)> = Vec::new();
        let mut remaining = 0;
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let mut take = |key: &str, entry: &Entry| {
            if found.len() < limit { found.push((key.to_owned(), entry.clone())) } else { remaining += 1 }
        };
        if undone.is_empty() {
            for (key, entry) in
                self.entries.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix))
            {
                take(key, entry);
            }
        } else {
            let now =
                self.entries.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
            let unchanged =
                now.filter(|(key, _)| !undone.contains_key(key.as_str())).map(|(key, entry)| (key.as_str(), entry));
            let restored =
                undone.iter().filter_map(|(key, entry)| Some((*key, (*entry)?))).filter(|(key, _)| behind(key));
            let merged: BTreeMap<&str, &Entry> = unchanged.chain(restored).collect();
            for (key, entry) in merged {
                take(key, entry);
            }
        }
        Ok(Page { entries: found, revision, remaining })
    }
}
