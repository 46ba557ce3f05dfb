//! What the maps hold, and who points where.

use crate::{Capacity, Change, maglev};
use datapath_layouts::{AffinityMemberKey, Backend, BackendKey, Frontend, FrontendKey, MaglevTable, SourceRangeKey};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What is read from the maps.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// `frontends`.
    pub frontends: Vec<(FrontendKey, Frontend)>,
    /// `backends`.
    pub backends: Vec<(BackendKey, Backend)>,
    /// `maglev`.
    pub maglev: Vec<(u32, MaglevTable)>,
    /// Keys of `affinity_member`.
    pub members: Vec<AffinityMemberKey>,
    /// Keys of `source_ranges`.
    pub ranges: Vec<SourceRangeKey>,
}

/// Mirror of the maps.
#[derive(Debug)]
pub struct Tables {
    frontends: HashMap<FrontendKey, Frontend>,
    rows: HashMap<u32, Row>,
    usage: Usage,
}

/// Entries of each map.
pub type Usage = Capacity;

/// One row's slots, the frontends that count them, and what hangs on the row.
#[derive(Debug, Default)]
struct Row {
    slots: Vec<Backend>,
    /// Slots beyond a gap: nothing counts them; a process died between two writes.
    stray: HashMap<u32, Backend>,
    frontends: HashSet<FrontendKey>,
    /// [`maglev::fingerprint`] of its table.
    maglev: Option<u64>,
    /// Numbers of backends.
    members: BTreeSet<u32>,
    ranges: HashSet<SourceRangeKey>,
}

impl Row {
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.stray.is_empty()
            && self.frontends.is_empty()
            && self.maglev.is_none()
            && self.members.is_empty()
            && self.ranges.is_empty()
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self { frontends: HashMap::new(), rows: HashMap::new(), usage: Usage::each(0) }
    }
}

impl Tables {
    /// From what the maps hold.
    #[must_use]
    pub fn new(contents: Contents) -> Self {
        let mut tables = Self::default();
        for (key, frontend) in contents.frontends {
            tables.apply(&Change::WriteFrontend(key, frontend));
        }
        let mut backends = contents.backends;
        backends.sort_unstable_by_key(|(key, _)| (key.service_id, key.slot));
        for (key, backend) in backends {
            tables.apply(&Change::WriteBackend(key, backend));
        }
        for (row, table) in contents.maglev {
            tables.set_maglev(row, Some(maglev::fingerprint(&table)));
        }
        for key in contents.members {
            tables.apply(&Change::WriteMember(key));
        }
        for key in contents.ranges {
            tables.apply(&Change::WriteRange(key));
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

    /// [`maglev::fingerprint`] of a row's table.
    #[must_use]
    pub fn maglev(&self, service_id: u32) -> Option<u64> {
        self.rows.get(&service_id)?.maglev
    }

    /// Backends of a row that clients may come back to.
    #[must_use]
    pub fn members(&self, service_id: u32) -> Vec<AffinityMemberKey> {
        let numbers = self.rows.get(&service_id).into_iter().flat_map(|row| &row.members);
        numbers.map(|&backend_id| AffinityMemberKey { service_id, backend_id }).collect()
    }

    /// Whether clients may come back to it.
    #[must_use]
    pub fn has_member(&self, key: &AffinityMemberKey) -> bool {
        self.rows.get(&key.service_id).is_some_and(|row| row.members.contains(&key.backend_id))
    }

    /// Whom a row lets in, in a fixed order.
    #[must_use]
    pub fn ranges(&self, service_id: u32) -> Vec<SourceRangeKey> {
        let ranges = self.rows.get(&service_id).into_iter().flat_map(|row| &row.ranges);
        let mut out: Vec<SourceRangeKey> = ranges.copied().collect();
        out.sort_unstable_by_key(|key| (key.prefix_len, key.address));
        out
    }

    /// Whether the row lets exactly this prefix in.
    #[must_use]
    pub fn has_range(&self, key: &SourceRangeKey) -> bool {
        self.rows.get(&key.service_id).is_some_and(|row| row.ranges.contains(key))
    }

    /// Number of frontends (those of whole addresses too) and of slots.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.usage.frontends, self.usage.backends)
    }

    /// Entries of each map.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Does one change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            &Change::WriteBackend(key, backend) => {
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
                self.usage.backends += usize::from(old.is_none());
                // A gap closed: what was stray behind it is in the row now.
                while let Some(backend) = row.stray.remove(&(row.slots.len() as u32)) {
                    row.slots.push(backend);
                }
            }
            &Change::RemoveBackend(key) => {
                let Some(row) = self.rows.get_mut(&key.service_id) else { return };
                let slot = key.slot as usize;
                if slot < row.slots.len() {
                    let behind = row.slots.split_off(slot);
                    for (index, backend) in behind.into_iter().enumerate().skip(1) {
                        row.stray.insert((slot + index) as u32, backend);
                    }
                    self.usage.backends -= 1;
                } else if row.stray.remove(&key.slot).is_some() {
                    self.usage.backends -= 1;
                }
                self.forget_if_empty(key.service_id);
            }
            &Change::WriteFrontend(key, frontend) => {
                let old = self.frontends.insert(key, frontend);
                self.usage.frontends = self.frontends.len();
                for row in rows_of(&frontend) {
                    self.rows.entry(row).or_default().frontends.insert(key);
                }
                for row in old.iter().flat_map(rows_of).filter(|row| !rows_of(&frontend).any(|r| r == *row)) {
                    self.detach(row, &key);
                }
            }
            Change::RemoveFrontend(key) => {
                if let Some(old) = self.frontends.remove(key) {
                    self.usage.frontends = self.frontends.len();
                    rows_of(&old).for_each(|row| self.detach(row, key));
                }
            }
            Change::WriteMaglev(row, table) => self.set_maglev(*row, Some(maglev::fingerprint(table))),
            Change::RemoveMaglev(row) => self.set_maglev(*row, None),
            Change::WriteMember(key) => {
                let new = self.rows.entry(key.service_id).or_default().members.insert(key.backend_id);
                self.usage.members += usize::from(new);
            }
            Change::RemoveMember(key) => {
                let row = self.rows.get_mut(&key.service_id);
                self.usage.members -= usize::from(row.is_some_and(|row| row.members.remove(&key.backend_id)));
                self.forget_if_empty(key.service_id);
            }
            Change::WriteRange(key) => {
                let new = self.rows.entry(key.service_id).or_default().ranges.insert(*key);
                self.usage.ranges += usize::from(new);
            }
            Change::RemoveRange(key) => {
                let row = self.rows.get_mut(&key.service_id);
                self.usage.ranges -= usize::from(row.is_some_and(|row| row.ranges.remove(key)));
                self.forget_if_empty(key.service_id);
            }
        }
    }

    fn set_maglev(&mut self, service_id: u32, table: Option<u64>) {
        let row = self.rows.entry(service_id).or_default();
        self.usage.maglev += usize::from(table.is_some());
        self.usage.maglev -= usize::from(row.maglev.is_some());
        row.maglev = table;
        self.forget_if_empty(service_id);
    }

    fn detach(&mut self, service_id: u32, key: &FrontendKey) {
        if let Some(row) = self.rows.get_mut(&service_id) {
            row.frontends.remove(key);
        }
        self.forget_if_empty(service_id);
    }

    fn forget_if_empty(&mut self, service_id: u32) {
        if self.rows.get(&service_id).is_some_and(Row::is_empty) {
            self.rows.remove(&service_id);
        }
    }
}

/// The rows that a frontend names, each once; an entry for a whole address names none.
pub(crate) fn rows_of(frontend: &Frontend) -> impl Iterator<Item = u32> + use<> {
    let [a, b, c] = [frontend.service_id, frontend.external_id, frontend.local_id];
    let once = [Some(a), (b != a).then_some(b), (c != a && c != b).then_some(c)];
    once.into_iter().flatten().filter(|&id| id != 0)
}
