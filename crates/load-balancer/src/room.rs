//! How much fits into the maps.

use crate::balancer::Balancer;
use crate::{RowKind, Wanted, maglev};
use datapath_layouts::FrontendKey;

/// Entries that the maps have room for.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Of `frontends`.
    pub frontends: usize,
    /// Of `backends`.
    pub backends: usize,
    /// Of `maglev`.
    pub maglev: usize,
    /// Of `affinity_member`.
    pub members: usize,
    /// Of `source_ranges`.
    pub ranges: usize,
}

impl Capacity {
    /// The same for each map.
    #[must_use]
    pub const fn each(entries: usize) -> Self {
        Self { frontends: entries, backends: entries, maglev: entries, members: entries, ranges: entries }
    }
}

/// A Service that does not fit: nothing of it was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("map {map} has room for {capacity} entries and would need {needed}")]
pub struct CapacityExceeded {
    /// The map.
    pub map: &'static str,
    /// Its size.
    pub capacity: usize,
    /// What would be in it.
    pub needed: usize,
}

impl Balancer {
    /// What a Service adds, counted too high rather than too low: what it gives up in return is removed later.
    pub(crate) fn check_room(&self, wanted: &Wanted) -> Result<(), CapacityExceeded> {
        let used = self.tables().usage();
        let mut new = Capacity::each(0);
        for address in &wanted.addresses {
            new.frontends += usize::from(self.tables().frontend(&FrontendKey::whole_address(*address)).is_none());
        }
        for want in &wanted.ports {
            new.frontends += want.frontends.iter().filter(|f| self.tables().frontend(&f.key).is_none()).count();
            let ids = self.known_rows(want);
            for kind in RowKind::BOTH {
                let Some(row) = want.row(kind) else { continue };
                let id = ids[kind as usize].unwrap_or(0);
                let count = row.backends.len();
                new.backends += count.saturating_sub(self.tables().slots(id).len());
                let has_table = row.maglev && maglev::wanted(count);
                new.maglev += usize::from(has_table && self.tables().maglev(id).is_none());
                if want.affinity_seconds > 0 {
                    new.members += count.saturating_sub(self.tables().members(id).len());
                }
            }
            let id = ids[RowKind::Cluster as usize].unwrap_or(0);
            new.ranges += want.source_ranges.len().saturating_sub(self.tables().ranges(id).len());
        }
        let Capacity { frontends, backends, maglev, members, ranges } = self.capacity;
        for (map, capacity, used, new) in [
            ("frontends", frontends, used.frontends, new.frontends),
            ("backends", backends, used.backends, new.backends),
            ("maglev", maglev, used.maglev, new.maglev),
            ("affinity_member", members, used.members, new.members),
            ("source_ranges", ranges, used.ranges, new.ranges),
        ] {
            // What already does not fit must still be allowed to shrink.
            if new > 0 && used + new > capacity {
                return Err(CapacityExceeded { map, capacity, needed: used + new });
            }
        }
        Ok(())
    }
}
