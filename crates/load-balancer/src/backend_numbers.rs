//! Numbers of backends: one per address and port while any slot holds it.

use crate::numbers::Numbers;
use crate::{Change, Tables, Target};
use datapath_layouts::{Address, Backend};
use std::collections::{HashMap, HashSet};

/// Who has which number.
#[derive(Debug)]
pub struct BackendNumbers {
    by_target: HashMap<(Address, u16), Numbered>,
    taken: HashSet<u32>,
    numbers: Numbers,
}

#[derive(Debug)]
struct Numbered {
    id: u32,
    slots: u32,
}

impl BackendNumbers {
    /// Those that the slots hold.
    pub fn recover(tables: &Tables) -> Self {
        let greatest = tables.all_slots().map(|(_, b)| b.id).max().unwrap_or(0);
        let mut this = Self { by_target: HashMap::new(), taken: HashSet::new(), numbers: Numbers::after(greatest) };
        for (_, backend) in tables.all_slots() {
            this.add(backend);
        }
        this
    }

    /// The number of a target; a new one when no slot holds it.
    pub fn of(&mut self, target: &Target) -> u32 {
        let Self { by_target, taken, numbers } = self;
        let entry = by_target.entry((target.address, target.port)).or_insert_with(|| {
            let id = numbers.next(|id| taken.contains(&id));
            taken.insert(id);
            Numbered { id, slots: 0 }
        });
        entry.id
    }

    fn add(&mut self, backend: &Backend) {
        // A number found for two targets stays with the first; the second gets a new one when its Service is planned.
        let known = self.by_target.contains_key(&(backend.address, backend.port));
        if backend.id == 0 || (!known && self.taken.contains(&backend.id)) {
            return;
        }
        self.taken.insert(backend.id);
        let entry =
            self.by_target.entry((backend.address, backend.port)).or_insert(Numbered { id: backend.id, slots: 0 });
        entry.slots += 1;
    }

    fn remove(&mut self, backend: &Backend) {
        let key = (backend.address, backend.port);
        let Some(entry) = self.by_target.get_mut(&key) else { return };
        entry.slots = entry.slots.saturating_sub(1);
        if entry.slots == 0 {
            let id = entry.id;
            self.by_target.remove(&key);
            self.taken.remove(&id);
        }
    }

    /// Keeps count of the slots that hold each number, before a change is done.
    pub fn count(&mut self, before: &Tables, change: &Change) {
        let (key, new) = match change {
            Change::WriteBackend(key, backend) => (key, Some(backend)),
            Change::RemoveBackend(key) => (key, None),
            _ => return,
        };
        if let Some(new) = new {
            self.add(new);
        }
        if let Some(old) = before.slot(key) {
            self.remove(&old);
        }
    }
}
