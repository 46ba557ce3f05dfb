//! What the loop tells Prometheus of itself: how long changes take, and how full the maps are that it fills.

use super::state::State;
use crate::status::TableUse;
use datapath_layouts::maps;
use std::time::Instant;

impl State {
    /// What was heard of at these times is in the maps, unless something failed.
    pub fn has_settled(&mut self, heard: &[Instant]) {
        // What failed is not in the maps, and is tried again; of very much that waits the first is enough.
        let room = WAITING.saturating_sub(self.unsettled.len());
        self.unsettled.extend(heard.iter().take(room));
        if self.failures.is_empty() {
            self.unsettled.drain(..).for_each(|at| self.parts.node_metrics.updated(at.elapsed()));
        }
        self.tell_entries();
    }

    /// How full the maps are that this loop fills.
    fn tell_entries(&self) {
        let used = self.services.balancer().tables().usage();
        let ipcache = self.applied.as_ref().map_or(0, |(desired, _)| desired.ipcache.len());
        let room = &self.parts.capacity;
        let mut tables: Vec<TableUse> = [
            (maps::FRONTENDS, used.frontends, room.frontends),
            (maps::BACKENDS, used.backends, room.backends),
            (maps::MAGLEV, used.maglev, room.maglev),
            (maps::AFFINITY_MEMBER, used.members, room.members),
            (maps::SOURCE_RANGES, used.ranges, room.ranges),
            (maps::IPCACHE, ipcache + self.identities.peers.written(), self.parts.ipcache_room),
        ]
        .map(|(map, used, room)| TableUse { name: map.name.to_owned(), used, room })
        .into();
        tables.extend(self.policies.table_uses());
        self.parts.node_metrics.planned(tables);
    }
}

/// Inputs whose time is kept while something fails.
const WAITING: usize = 4096;
