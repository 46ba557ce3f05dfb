//! From what the maps hold to what Services want, one Service at a time.

use crate::claims::{Claims, Conflict};
use crate::numbers::Numbers;
use crate::{Change, Desired, Gone, PortKey, Tables, Target, slots};
use datapath_layouts::{Address, Backend, BackendKey, Frontend, FrontendKey};
use model::ObjectName;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Entries that the maps have room for.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Of `frontends`.
    pub frontends: usize,
    /// Of `backends`.
    pub backends: usize,
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

/// What to do for one Service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Writes, to be done in this order.
    pub changes: Vec<Change>,
    /// Backends whose flows are to be forgotten afterwards.
    pub gone: Vec<Gone>,
    /// Frontends that another Service has.
    pub conflicts: Vec<Conflict>,
    /// Services to plan again, because a frontend they wait for is free.
    pub again: BTreeSet<ObjectName>,
}

/// The state of all Services on this node: what the maps hold and whose it is.
#[derive(Debug)]
pub struct Balancer {
    tables: Tables,
    ports: HashMap<PortKey, Port>,
    of_service: HashMap<ObjectName, Vec<PortKey>>,
    owned: HashSet<u32>,
    claims: Claims,
    service_numbers: Numbers,
    backends: BackendNumbers,
    capacity: Capacity,
    swept: bool,
}

#[derive(Debug)]
struct Port {
    service_id: u32,
    frontends: Vec<FrontendKey>,
}

impl Balancer {
    /// Starts from what the maps hold; numbers found there stay. Until [`Self::sweep`], what belongs to no known Service
    /// is left alone.
    #[must_use]
    pub fn recover(tables: Tables, capacity: Capacity) -> Self {
        Self {
            service_numbers: Numbers::after(tables.service_ids().max().unwrap_or(0)),
            backends: BackendNumbers::recover(&tables),
            tables,
            ports: HashMap::new(),
            of_service: HashMap::new(),
            owned: HashSet::new(),
            claims: Claims::default(),
            capacity,
            swept: false,
        }
    }

    /// What the maps hold once every plan is done.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The port that a number stands for.
    #[must_use]
    pub fn service_id(&self, port: &PortKey) -> Option<u32> {
        self.ports.get(port).map(|p| p.service_id)
    }

    /// Ports with their numbers.
    pub fn ports(&self) -> impl Iterator<Item = (&PortKey, u32)> {
        self.ports.iter().map(|(key, port)| (key, port.service_id))
    }

    /// Number of Services that have frontends.
    #[must_use]
    pub fn services(&self) -> usize {
        self.of_service.len()
    }

    /// Plans a Service as it should be; an empty list removes it. The plan counts as done.
    ///
    /// # Errors
    /// When the maps have no room for it; then nothing is planned and nothing changes.
    pub fn set(&mut self, service: &ObjectName, desired: &[Desired]) -> Result<Plan, CapacityExceeded> {
        self.check_room(desired)?;
        let mut plan = Plan::default();
        self.claims.stop_waiting(service);
        let old = self.of_service.remove(service).unwrap_or_default();
        for port in old.iter().filter(|key| !desired.iter().any(|d| d.port == **key)) {
            self.remove_port(port, &mut plan);
        }
        // First what this Service gives up, so that one of its ports can take what another one had.
        for want in desired {
            self.release_unwanted(want, &mut plan);
        }
        for want in desired {
            self.set_port(want, &mut plan);
        }
        if !desired.is_empty() {
            self.of_service.insert(service.clone(), desired.iter().map(|d| d.port.clone()).collect());
        }
        plan.again.remove(service);
        Ok(plan)
    }

    /// Removes what belongs to no Service. To be called once all Services are known; from then on nothing unknown is kept.
    pub fn sweep(&mut self) -> Plan {
        self.swept = true;
        let mut plan = Plan::default();
        let mut stale: Vec<FrontendKey> = Vec::new();
        for (key, frontend) in self.tables.frontends() {
            if !self.owned.contains(&frontend.service_id) || !self.claims_hold(key, frontend.service_id) {
                stale.push(*key);
            }
        }
        stale.sort_unstable_by_key(|k| (k.address, k.port, k.protocol));
        for key in stale {
            self.change(&mut plan, Change::RemoveFrontend(key));
        }
        let mut unowned: Vec<u32> = self.tables.service_ids().filter(|id| !self.owned.contains(id)).collect();
        unowned.sort_unstable();
        for id in unowned {
            self.clear_row(id, &mut plan);
        }
        plan
    }

    /// Removes slots that no frontend counts: what an interrupted plan had written ahead. Nobody reads them, so this is
    /// safe at any time before the first [`Self::set`].
    pub fn clear_uncounted(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut rows: Vec<u32> =
            self.tables.service_ids().filter(|&id| self.tables.frontends_of(id).is_empty()).collect();
        rows.retain(|id| !self.owned.contains(id));
        rows.sort_unstable();
        for id in rows {
            self.clear_row(id, &mut plan);
        }
        plan
    }

    fn claims_hold(&self, key: &FrontendKey, service_id: u32) -> bool {
        self.claims.owner(key).is_some_and(|owner| {
            self.of_service.get(owner).into_iter().flatten().any(|port| self.service_id(port) == Some(service_id))
        })
    }

    fn check_room(&self, desired: &[Desired]) -> Result<(), CapacityExceeded> {
        let (frontends, slots) = self.tables.len();
        let new_frontends =
            desired.iter().flat_map(|d| &d.frontends).filter(|f| self.tables.frontend(&f.key).is_none()).count();
        let new_slots: usize = desired
            .iter()
            .map(|d| d.backends.len().saturating_sub(self.known_id(d).map_or(0, |id| self.tables.slots(id).len())))
            .sum();
        for (map, capacity, needed) in [
            ("frontends", self.capacity.frontends, frontends + new_frontends),
            ("backends", self.capacity.backends, slots + new_slots),
        ] {
            // What already does not fit must still be allowed to shrink.
            let grows = if map == "frontends" { new_frontends } else { new_slots } > 0;
            if grows && needed > capacity {
                return Err(CapacityExceeded { map, capacity, needed });
            }
        }
        Ok(())
    }

    fn release_unwanted(&mut self, want: &Desired, plan: &mut Plan) {
        let Some(port) = self.ports.get_mut(&want.port) else { return };
        let (kept, dropped) =
            port.frontends.iter().copied().partition(|key| want.frontends.iter().any(|f| f.key == *key));
        port.frontends = kept;
        let dropped: Vec<FrontendKey> = dropped;
        for key in dropped {
            plan.again.extend(self.claims.release(&key));
            self.change(plan, Change::RemoveFrontend(key));
        }
    }

    fn set_port(&mut self, want: &Desired, plan: &mut Plan) {
        let mut granted = Vec::new();
        for frontend in &want.frontends {
            match self.claims.take(frontend.key, &want.port.service) {
                Ok(()) => granted.push(*frontend),
                Err(conflict) => plan.conflicts.push(conflict),
            }
        }
        let service_id = match self.known_id(want) {
            Some(id) => id,
            None => self.service_numbers.next(|id| self.tables.has_service(id) || self.owned.contains(&id)),
        };
        let backends = &mut self.backends;
        let row = slots::plan(service_id, self.tables.slots(service_id), &want.backends, |t| backends.of(t));
        for change in row.before {
            self.change(plan, change);
        }
        let count = row.slots.len() as u32;
        for wanted in &granted {
            let frontend = Frontend {
                flags: wanted.flags,
                affinity_seconds: want.affinity_seconds,
                ..Frontend::with_row(service_id, count)
            };
            if self.tables.frontend(&wanted.key) != Some(&frontend) {
                self.change(plan, Change::WriteFrontend(wanted.key, frontend));
            }
        }
        // Frontends that the maps still had from before this process, until the sweep decides about them.
        for key in self.tables.frontends_of(service_id) {
            if granted.iter().any(|f| f.key == key) {
                continue;
            }
            match self.tables.frontend(&key).copied() {
                Some(_) if self.swept => self.change(plan, Change::RemoveFrontend(key)),
                Some(stale) if stale.backends > count => {
                    self.change(
                        plan,
                        Change::WriteFrontend(key, Frontend { backends: count, external_backends: count, ..stale }),
                    );
                }
                _ => {}
            }
        }
        for change in row.after {
            self.change(plan, change);
        }
        for slot in self.tables.strays(service_id, count) {
            self.change(plan, Change::RemoveBackend(BackendKey { service_id, slot }));
        }
        self.forget(service_id, &row.gone, plan);
        self.owned.insert(service_id);
        self.ports.insert(want.port.clone(), Port { service_id, frontends: granted.iter().map(|f| f.key).collect() });
    }

    fn remove_port(&mut self, key: &PortKey, plan: &mut Plan) {
        let Some(port) = self.ports.remove(key) else { return };
        for frontend in &port.frontends {
            plan.again.extend(self.claims.release(frontend));
        }
        self.owned.remove(&port.service_id);
        self.clear_row(port.service_id, plan);
    }

    /// Removes a service's frontends, then its slots from the end.
    fn clear_row(&mut self, service_id: u32, plan: &mut Plan) {
        for frontend in self.tables.frontends_of(service_id) {
            self.change(plan, Change::RemoveFrontend(frontend));
        }
        let slots = self.tables.slots(service_id).to_vec();
        let strays = self.tables.strays(service_id, 0);
        for slot in strays.into_iter().rev().chain((0..slots.len() as u32).rev()) {
            self.change(plan, Change::RemoveBackend(BackendKey { service_id, slot }));
        }
        self.forget(service_id, &slots, plan);
    }

    fn forget(&mut self, service_id: u32, gone: &[Backend], plan: &mut Plan) {
        for backend in gone.iter().filter(|b| b.id != 0) {
            plan.gone.push(Gone { service_id, address: backend.address, port: backend.port });
        }
    }

    /// The number that a port has, or that the maps have for its first frontend from before this process.
    fn known_id(&self, want: &Desired) -> Option<u32> {
        self.service_id(&want.port).or_else(|| {
            let first = want.frontends.first().and_then(|f| self.tables.frontend(&f.key))?;
            Some(first.service_id).filter(|&id| id != 0 && !self.owned.contains(&id))
        })
    }

    fn change(&mut self, plan: &mut Plan, change: Change) {
        self.backends.count(&self.tables, &change);
        self.tables.apply(&change);
        plan.changes.push(change);
    }
}

/// Numbers of backends: one per address and port while any slot holds it.
#[derive(Debug)]
struct BackendNumbers {
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
    fn recover(tables: &Tables) -> Self {
        let greatest = tables.all_slots().map(|(_, b)| b.id).max().unwrap_or(0);
        let mut this = Self { by_target: HashMap::new(), taken: HashSet::new(), numbers: Numbers::after(greatest) };
        for (_, backend) in tables.all_slots() {
            this.add(backend);
        }
        this
    }

    fn of(&mut self, target: &Target) -> u32 {
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
    fn count(&mut self, before: &Tables, change: &Change) {
        let (key, new) = match change {
            Change::WriteBackend(key, backend) => (key, Some(backend)),
            Change::RemoveBackend(key) => (key, None),
            Change::WriteFrontend(..) | Change::RemoveFrontend(_) => return,
        };
        if let Some(new) = new {
            self.add(new);
        }
        if let Some(old) = before.slot(key) {
            self.remove(&old);
        }
    }
}

#[cfg(test)]
#[path = "balancer_tests.rs"]
mod tests;
