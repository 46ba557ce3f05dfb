//! What the two maps hold, and who points where.

use crate::Change;
use datapath_layouts::{Backend, BackendKey, Frontend, FrontendKey};
use std::collections::{HashMap, HashSet};

/// Mirror of the maps `frontends` and `backends`.
#[derive(Debug, Default)]
pub struct Tables {
    frontends: HashMap<FrontendKey, Frontend>,
    rows: HashMap<u32, Row>,
    slots: usize,
}

/// One service's slots and the frontends that count them.
#[derive(Debug, Default)]
struct Row {
    slots: Vec<Backend>,
    /// Slots beyond a gap: nothing counts them; a process died between two writes.
    stray: HashMap<u32, Backend>,
    frontends: HashSet<FrontendKey>,
}

impl Tables {
    /// From what the maps hold.
    #[must_use]
    pub fn new(frontends: Vec<(FrontendKey, Frontend)>, backends: Vec<(BackendKey, Backend)>) -> Self {
        let mut tables = Self::default();
        for (key, frontend) in frontends {
            tables.apply(&Change::WriteFrontend(key, frontend));
        }
        let mut backends = backends;
        backends.sort_unstable_by_key(|(key, _)| (key.service_id, key.slot));
        for (key, backend) in backends {
            tables.apply(&Change::WriteBackend(key, backend));
        }
        tables
    }

    /// The frontend with this key.
    #[must_use]
    pub fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
        self.frontends.get(key)
    }

    /// Every frontend.
    pub fn frontends(&self) -> impl Iterator<Item = (&FrontendKey, &Frontend)> {
        self.frontends.iter()
    }

    /// The slots of a service.
    #[must_use]
    pub fn slots(&self, service_id: u32) -> &[Backend] {
        self.rows.get(&service_id).map_or(&[], |row| &row.slots)
    }

    /// One slot, reachable or stray.
    #[must_use]
    pub fn slot(&self, key: &BackendKey) -> Option<Backend> {
        let row = self.rows.get(&key.service_id)?;
        row.slots.get(key.slot as usize).or_else(|| row.stray.get(&key.slot)).copied()
    }

    /// Every slot in use, with its service.
    pub fn all_slots(&self) -> impl Iterator<Item = (u32, &Backend)> {
        self.rows.iter().flat_map(|(&id, row)| row.slots.iter().chain(row.stray.values()).map(move |b| (id, b)))
    }

    /// Services that have a frontend or a slot.
    pub fn service_ids(&self) -> impl Iterator<Item = u32> {
        self.rows.keys().copied()
    }

    /// Whether a service has a frontend or a slot.
    #[must_use]
    pub fn has_service(&self, service_id: u32) -> bool {
        self.rows.contains_key(&service_id)
    }

    /// Frontends that count a service's slots, in a fixed order.
    #[must_use]
    pub fn frontends_of(&self, service_id: u32) -> Vec<FrontendKey> {
        let mut keys: Vec<_> =
            self.rows.get(&service_id).map_or(Vec::new(), |row| row.frontends.iter().copied().collect());
        keys.sort_unstable_by_key(|k| (k.cluster, k.address, k.port, k.protocol));
        keys
    }

    /// Slots of a service that nothing can reach, at or above a length.
    #[must_use]
    pub fn strays(&self, service_id: u32, length: u32) -> Vec<u32> {
        let mut slots: Vec<u32> = self
            .rows
            .get(&service_id)
            .map_or(Vec::new(), |row| row.stray.keys().copied().filter(|&s| s >= length).collect());
        slots.sort_unstable();
        slots
    }

    /// Number of frontends and of slots.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.frontends.len(), self.slots)
    }

    /// Does one change.
    pub fn apply(&mut self, change: &Change) {
        match *change {
            Change::WriteBackend(key, backend) => {
                let row = self.rows.entry(key.service_id).or_default();
                let length = row.slots.len() as u32;
                let old = if key.slot < length {
                    Some(std::mem::replace(&mut row.slots[key.slot as usize], backend))
                } else if key.slot > length {
                    row.stray.insert(key.slot, backend)
                } else {
                    row.slots.push(backend);
                    row.stray.remove(&key.slot)
                };
                self.slots += usize::from(old.is_none());
                // A gap closed: what was stray behind it is in the row now.
                while let Some(backend) = row.stray.remove(&(row.slots.len() as u32)) {
                    row.slots.push(backend);
                }
            }
            Change::RemoveBackend(key) => {
                let Some(row) = self.rows.get_mut(&key.service_id) else { return };
                let slot = key.slot as usize;
                if slot < row.slots.len() {
                    let behind = row.slots.split_off(slot);
                    for (index, backend) in behind.into_iter().enumerate().skip(1) {
                        row.stray.insert((slot + index) as u32, backend);
                    }
                    self.slots -= 1;
                } else if row.stray.remove(&key.slot).is_some() {
                    self.slots -= 1;
                }
                self.forget_if_empty(key.service_id);
            }
            Change::WriteFrontend(key, frontend) => {
                let old = self.frontends.insert(key, frontend);
                self.rows.entry(frontend.service_id).or_default().frontends.insert(key);
                if let Some(old) = old.filter(|old| old.service_id != frontend.service_id) {
                    self.detach(old.service_id, &key);
                }
            }
            Change::RemoveFrontend(key) => {
                if let Some(old) = self.frontends.remove(&key) {
                    self.detach(old.service_id, &key);
                }
            }
        }
    }

    fn detach(&mut self, service_id: u32, key: &FrontendKey) {
        if let Some(row) = self.rows.get_mut(&service_id) {
            row.frontends.remove(key);
        }
        self.forget_if_empty(service_id);
    }

    fn forget_if_empty(&mut self, service_id: u32) {
        if self
            .rows
            .get(&service_id)
            .is_some_and(|r| r.slots.is_empty() && r.stray.is_empty() && r.frontends.is_empty())
        {
            self.rows.remove(&service_id);
        }
    }
}
