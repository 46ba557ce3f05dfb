//! One port: its rows, what hangs on them, and the frontends that point to them.
//!
//! The order is what keeps every state between two writes whole: what a frontend points to (slots, members, Maglev tables,
//! ranges) is there before it, and goes after it.

use crate::balancer::{Balancer, Plan, Port};
use crate::slots::{self, SlotPlan};
use crate::{Change, Desired, RowKind, WantedFrontend, WantedRow, maglev};
use datapath_layouts::service::{
    FRONTEND_MAGLEV, FRONTEND_MAGLEV_EXTERNAL, FRONTEND_ROW_LOCAL, FRONTEND_ROW_LOCAL_EXTERNAL, FRONTEND_SOURCE_RANGES,
};
use datapath_layouts::{Address, AffinityMemberKey, BackendKey, Frontend, FrontendKey, SourceRangeKey};
use std::collections::{BTreeMap, BTreeSet};

/// A row whose additions are done.
struct Grown {
    id: u32,
    plan: SlotPlan,
    has_table: bool,
}

impl Balancer {
    pub(crate) fn set_port(&mut self, want: &Desired, plan: &mut Plan) {
        let mut granted = Vec::new();
        for frontend in &want.frontends {
            match self.claims.take(frontend.key, &want.port.service) {
                Ok(()) => granted.push(*frontend),
                Err(conflict) => plan.conflicts.push(conflict),
            }
        }
        let known = self.known_rows(want);
        let mut grown: [Option<Grown>; 2] = [None, None];
        // A row that nobody chooses from any more stays as long as the port, without backends: connections that were made by it
        // are told by its number, and go on through whatever policy does.
        let unused = WantedRow::default();
        for kind in RowKind::BOTH {
            let id = known[kind as usize];
            let Some(row) = want.row(kind).or(id.map(|_| &unused)) else { continue };
            let id = id.unwrap_or_else(|| self.new_row());
            self.owned.insert(id);
            grown[kind as usize] = Some(self.grow(id, row, want, plan));
        }
        let cluster = grown[RowKind::Cluster as usize].as_ref().map(|row| row.id);
        let ranges = ranges(cluster, want);
        for &key in &ranges {
            if !self.tables.has_range(&key) {
                self.change(plan, Change::WriteRange(key));
            }
        }
        for wanted in &granted {
            let (Some(inside), Some(outside)) = (&grown[wanted.inside as usize], &grown[wanted.outside as usize])
            else {
                continue;
            };
            let other = RowKind::BOTH.iter().find(|kind| ![wanted.inside, wanted.outside].contains(kind));
            let other = other.and_then(|kind| grown[*kind as usize].as_ref());
            let frontend = Frontend {
                service_id: inside.id,
                backends: inside.count(),
                external_id: outside.id,
                external_backends: outside.count(),
                flags: without_tables(wanted.flags, inside.has_table, outside.has_table) | kinds(wanted),
                affinity_seconds: want.affinity_seconds,
                local_id: other.map_or(0, |row| row.id),
                local_backends: other.filter(|_| wanted.is_direct()).map_or(0, Grown::count),
            };
            if self.tables.frontend(&wanted.key) != Some(&frontend) {
                self.change(plan, Change::WriteFrontend(wanted.key, frontend));
            }
        }
        let keys: Vec<FrontendKey> = granted.iter().map(|f| f.key).collect();
        for row in grown.iter().flatten() {
            self.tend_unknown(row, &keys, want.affinity_seconds, plan);
        }
        let rows = [0, 1].map(|kind: usize| grown[kind].as_ref().map(|row| row.id));
        for row in grown.into_iter().flatten() {
            self.shrink(row, want.affinity_seconds > 0, plan);
        }
        if let Some(row) = cluster {
            for key in self.tables.ranges(row).into_iter().filter(|key| !ranges.contains(key)) {
                self.change(plan, Change::RemoveRange(key));
            }
        }
        self.ports.insert(want.port.clone(), Port { rows, frontends: keys });
    }

    fn new_row(&mut self) -> u32 {
        self.row_numbers.next(|id| self.tables.has_service(id) || self.owned.contains(&id))
    }

    /// Writes what the row gets.
    fn grow(&mut self, id: u32, row: &WantedRow, want: &Desired, plan: &mut Plan) -> Grown {
        let backends = &mut self.backends;
        let slots = slots::plan(id, self.tables.slots(id), &row.backends, |t| backends.of(t));
        // Until the frontends are written, clients still come back by the old ones.
        let held = self.tables.frontends_of(id);
        let held = held.iter().filter_map(|key| self.tables.frontend(key)).any(|f| f.affinity_seconds > 0);
        if want.affinity_seconds > 0 || held {
            for slot in &slots.slots {
                let key = AffinityMemberKey { service_id: id, backend_id: slot.id };
                if !self.tables.has_member(&key) {
                    self.change(plan, Change::WriteMember(key));
                }
            }
        }
        let changed = !slots.before.is_empty() || !slots.after.is_empty();
        for change in &slots.before {
            self.change(plan, change.clone());
        }
        let has_table = row.maglev && maglev::wanted(slots.slots.len());
        let weights = row.weights();
        let mark = weights.as_ref().map_or(EQUAL, mark);
        if has_table && (changed || self.tabled.get(&id) != Some(&mark)) {
            let table = match &weights {
                None => maglev::table(&slots.slots),
                Some(weights) => maglev::weighted(&slots.slots, |b| weights.get(&(b.address, b.port)).copied()),
            };
            // There is one for every number of backends that wants one.
            if let Some(table) = table
                && self.tables.maglev(id) != Some(maglev::fingerprint(&table))
            {
                self.change(plan, Change::WriteMaglev(id, table));
            }
            self.tabled.insert(id, mark);
        }
        Grown { id, plan: slots, has_table }
    }

    /// Frontends that the maps still had from before this process, until the sweep decides about them: they must not count
    /// what is about to go.
    fn tend_unknown(&mut self, row: &Grown, known: &[FrontendKey], affinity_seconds: u32, plan: &mut Plan) {
        for key in self.tables.frontends_of(row.id) {
            let Some(held) = self.tables.frontend(&key).copied().filter(|_| !known.contains(&key)) else { continue };
            if self.swept {
                self.change(plan, Change::RemoveFrontend(key));
                continue;
            }
            let mut kept = Frontend { affinity_seconds: held.affinity_seconds.min(affinity_seconds), ..held };
            if held.service_id == row.id {
                kept.backends = held.backends.min(row.count());
                kept.flags = without_tables(kept.flags, row.has_table, true);
            }
            if held.external_id == row.id {
                kept.external_backends = held.external_backends.min(row.count());
                kept.flags = without_tables(kept.flags, true, row.has_table);
            }
            if held.local_id == row.id {
                kept.local_backends = held.local_backends.min(row.count());
            }
            if kept != held {
                self.change(plan, Change::WriteFrontend(key, kept));
            }
        }
    }

    /// Removes what the row no longer has.
    fn shrink(&mut self, row: Grown, affinity: bool, plan: &mut Plan) {
        let (service_id, count) = (row.id, row.count());
        for change in row.plan.after {
            self.change(plan, change);
        }
        for slot in self.tables.strays(service_id, count) {
            self.change(plan, Change::RemoveBackend(BackendKey { service_id, slot }));
        }
        let stay: BTreeSet<u32> = row.plan.slots.iter().filter(|_| affinity).map(|slot| slot.id).collect();
        for member in self.tables.members(service_id).into_iter().filter(|m| !stay.contains(&m.backend_id)) {
            self.change(plan, Change::RemoveMember(member));
        }
        if !row.has_table && self.tables.maglev(service_id).is_some() {
            self.tabled.remove(&service_id);
            self.change(plan, Change::RemoveMaglev(service_id));
        }
        self.forget(service_id, &row.plan.gone, plan);
    }
}

impl Grown {
    fn count(&self) -> u32 {
        self.plan.slots.len() as u32
    }
}

/// Tells sets of weights apart.
fn mark(weights: &BTreeMap<(Address, u16), u8>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    weights.hash(&mut hasher);
    hasher.finish().max(EQUAL + 1)
}

/// The mark of a row whose backends all weigh the same.
const EQUAL: u64 = 0;

/// The programs look for the ranges under the row for clients of the cluster, which guarded frontends always share.
fn ranges(row: Option<u32>, want: &Desired) -> Vec<SourceRangeKey> {
    let guarded = want.frontends.iter().any(|f| f.flags & FRONTEND_SOURCE_RANGES != 0);
    let Some(row) = row.filter(|_| guarded) else { return Vec::new() };
    let mut out: Vec<SourceRangeKey> =
        want.source_ranges.iter().map(|range| SourceRangeKey::from_ip(row, range.addr(), range.prefix_len())).collect();
    out.sort_unstable_by_key(|key| (key.prefix_len, key.address));
    out.dedup();
    out
}

/// Which of its rows are those of this node's endpoints.
fn kinds(wanted: &WantedFrontend) -> u32 {
    let inside = if wanted.inside == RowKind::Local { FRONTEND_ROW_LOCAL } else { 0 };
    let outside = if wanted.outside == RowKind::Local { FRONTEND_ROW_LOCAL_EXTERNAL } else { 0 };
    inside | outside
}

/// A frontend may ask only for tables that are there.
fn without_tables(flags: u32, inside: bool, outside: bool) -> u32 {
    let mut flags = flags;
    if !inside {
        flags &= !FRONTEND_MAGLEV;
    }
    if !outside {
        flags &= !FRONTEND_MAGLEV_EXTERNAL;
    }
    flags
}
