//! From what the maps hold to what Services want, one Service at a time.

use crate::backend_numbers::BackendNumbers;
use crate::claims::{Claims, Conflict};
use crate::numbers::Numbers;
use crate::room::{Capacity, CapacityExceeded};
use crate::{Change, Desired, Gone, PortKey, RowKind, Tables, Wanted};
use datapath_layouts::service::{FRONTEND_ADDRESS, FRONTEND_ROW_LOCAL, FRONTEND_ROW_LOCAL_EXTERNAL};
use datapath_layouts::{Address, Backend, BackendKey, Frontend, FrontendKey};
use model::ObjectName;
use std::collections::{BTreeSet, HashMap, HashSet};

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
    pub(crate) tables: Tables,
    pub(crate) ports: HashMap<PortKey, Port>,
    of_service: HashMap<ObjectName, Held>,
    /// Rows of known ports.
    pub(crate) owned: HashSet<u32>,
    /// Rows whose Maglev table is known to be that of their slots, and of which weights.
    pub(crate) tabled: HashMap<u32, u64>,
    pub(crate) claims: Claims,
    /// How many Services have an address: several can share one.
    addresses: HashMap<Address, usize>,
    pub(crate) row_numbers: Numbers,
    pub(crate) backends: BackendNumbers,
    pub(crate) capacity: Capacity,
    pub(crate) swept: bool,
}

/// What a port has.
#[derive(Debug)]
pub(crate) struct Port {
    /// By [`RowKind`].
    pub rows: [Option<u32>; 2],
    pub frontends: Vec<FrontendKey>,
}

/// What a Service has.
#[derive(Debug, Default)]
struct Held {
    ports: Vec<PortKey>,
    addresses: Vec<Address>,
}

impl Balancer {
    /// Starts from what the maps hold; numbers found there stay. Until [`Self::sweep`], what belongs to no known Service
    /// is left alone.
    #[must_use]
    pub fn recover(tables: Tables, capacity: Capacity) -> Self {
        Self {
            row_numbers: Numbers::after(tables.service_ids().max().unwrap_or(0)),
            backends: BackendNumbers::recover(&tables),
            tables,
            ports: HashMap::new(),
            of_service: HashMap::new(),
            owned: HashSet::new(),
            tabled: HashMap::new(),
            claims: Claims::default(),
            addresses: HashMap::new(),
            capacity,
            swept: false,
        }
    }

    /// What the maps hold once every plan is done.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The rows of a port, by [`RowKind`].
    #[must_use]
    pub fn rows(&self, port: &PortKey) -> [Option<u32>; 2] {
        self.ports.get(port).map(|p| p.rows).unwrap_or_default()
    }

    /// Ports with their rows.
    pub fn ports(&self) -> impl Iterator<Item = (&PortKey, u32)> {
        self.ports.iter().flat_map(|(key, port)| port.rows.into_iter().flatten().map(move |row| (key, row)))
    }

    /// A Service's ports: the number of each, which is its first row's, and its frontends.
    pub fn ports_of(&self, service: &ObjectName) -> impl Iterator<Item = (u32, &[FrontendKey])> {
        let held = self.of_service.get(service).into_iter().flat_map(|held| &held.ports);
        let ports = held.filter_map(|key| self.ports.get(key));
        ports.filter_map(|port| Some((port.rows.into_iter().flatten().next()?, &*port.frontends)))
    }

    /// Who has a frontend.
    #[must_use]
    pub fn owner(&self, frontend: &FrontendKey) -> Option<&ObjectName> {
        self.claims.owner(frontend)
    }

    /// Plans a Service as it should be; [`Wanted::default`] removes it. The plan counts as done.
    ///
    /// # Errors
    /// When the maps have no room for it; then nothing is planned and nothing changes.
    pub fn set(&mut self, service: &ObjectName, wanted: &Wanted) -> Result<Plan, CapacityExceeded> {
        self.check_room(wanted)?;
        let mut plan = Plan::default();
        self.claims.stop_waiting(service);
        let old = self.of_service.remove(service).unwrap_or_default();
        for port in old.ports.iter().filter(|key| !wanted.ports.iter().any(|d| d.port == **key)) {
            self.remove_port(port, &mut plan);
        }
        // First what this Service gives up, so that one of its ports can take what another one had.
        for want in &wanted.ports {
            self.release_unwanted(want, &mut plan);
        }
        for want in &wanted.ports {
            self.set_port(want, &mut plan);
        }
        self.set_addresses(&old.addresses, &wanted.addresses, &mut plan);
        if !wanted.ports.is_empty() || !wanted.addresses.is_empty() {
            let ports = wanted.ports.iter().map(|d| d.port.clone()).collect();
            self.of_service.insert(service.clone(), Held { ports, addresses: wanted.addresses.clone() });
        }
        plan.again.remove(service);
        Ok(plan)
    }

    /// An address is refused as a whole only once its ports are there, and no longer before they go: the entry comes last
    /// of what is added. When it is removed its ports have gone.
    fn set_addresses(&mut self, old: &[Address], new: &[Address], plan: &mut Plan) {
        for address in new {
            if !old.contains(address) {
                *self.addresses.entry(*address).or_default() += 1;
            }
            let key = FrontendKey::whole_address(*address);
            let entry = Frontend { flags: FRONTEND_ADDRESS, ..Frontend::ZERO };
            if self.tables.frontend(&key) != Some(&entry) {
                self.change(plan, Change::WriteFrontend(key, entry));
            }
        }
        for address in old.iter().filter(|address| !new.contains(address)) {
            let Some(count) = self.addresses.get_mut(address) else { continue };
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(address);
                self.change(plan, Change::RemoveFrontend(FrontendKey::whole_address(*address)));
            }
        }
    }

    /// Removes what belongs to no Service. To be called once all Services are known; from then on nothing unknown is kept.
    pub fn sweep(&mut self) -> Plan {
        self.swept = true;
        let mut plan = Plan::default();
        let mut stale: Vec<FrontendKey> =
            self.tables.frontends().filter(|(key, value)| !self.is_held(key, value)).map(|(key, _)| *key).collect();
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

    /// Removes rows that no frontend counts: what an interrupted plan had written ahead. Nobody reads them, so this is
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

    fn is_held(&self, key: &FrontendKey, value: &Frontend) -> bool {
        if value.flags & FRONTEND_ADDRESS != 0 {
            return self.addresses.contains_key(&key.address);
        }
        let Some(held) = self.claims.owner(key).and_then(|owner| self.of_service.get(owner)) else { return false };
        let mut ports = held.ports.iter().filter_map(|port| self.ports.get(port));
        let has = |port: &Port, id: u32| port.rows.contains(&Some(id));
        let direct = |port: &Port| value.local_id == 0 || has(port, value.local_id);
        ports.any(|port| has(port, value.service_id) && has(port, value.external_id) && direct(port))
    }

    fn release_unwanted(&mut self, want: &Desired, plan: &mut Plan) {
        let Some(port) = self.ports.get_mut(&want.port) else { return };
        let (kept, dropped): (Vec<_>, Vec<_>) =
            port.frontends.iter().copied().partition(|key| want.frontends.iter().any(|f| f.key == *key));
        port.frontends = kept;
        for key in dropped {
            plan.again.extend(self.claims.release(&key));
            self.change(plan, Change::RemoveFrontend(key));
        }
    }

    fn remove_port(&mut self, key: &PortKey, plan: &mut Plan) {
        let Some(port) = self.ports.remove(key) else { return };
        for frontend in &port.frontends {
            plan.again.extend(self.claims.release(frontend));
        }
        for row in port.rows.into_iter().flatten() {
            self.clear_row(row, plan);
        }
    }

    /// Removes what points to a row, then the row from its end, then what hangs on it.
    pub(crate) fn clear_row(&mut self, service_id: u32, plan: &mut Plan) {
        self.owned.remove(&service_id);
        self.tabled.remove(&service_id);
        for frontend in self.tables.frontends_of(service_id) {
            self.change(plan, Change::RemoveFrontend(frontend));
        }
        let slots = self.tables.slots(service_id).to_vec();
        let strays = self.tables.strays(service_id, 0);
        for slot in strays.into_iter().rev().chain((0..slots.len() as u32).rev()) {
            self.change(plan, Change::RemoveBackend(BackendKey { service_id, slot }));
        }
        if self.tables.maglev(service_id).is_some() {
            self.change(plan, Change::RemoveMaglev(service_id));
        }
        for member in self.tables.members(service_id) {
            self.change(plan, Change::RemoveMember(member));
        }
        for range in self.tables.ranges(service_id) {
            self.change(plan, Change::RemoveRange(range));
        }
        self.forget(service_id, &slots, plan);
    }

    pub(crate) fn forget(&mut self, service_id: u32, gone: &[Backend], plan: &mut Plan) {
        for backend in gone.iter().filter(|b| b.id != 0) {
            plan.gone.push(Gone { service_id, address: backend.address, port: backend.port });
        }
    }

    /// The rows that a port has, or that the maps have for its frontends from before this process.
    pub(crate) fn known_rows(&self, want: &Desired) -> [Option<u32>; 2] {
        if let Some(port) = self.ports.get(&want.port) {
            return port.rows;
        }
        let mut rows = [None; 2];
        for kind in RowKind::BOTH {
            let found = want.frontends.iter().enumerate().find_map(|(index, f)| {
                let held = self.tables.frontend(&f.key)?;
                let id = row_of(held, kind)?;
                let free = !self.owned.contains(&id) && !rows.contains(&Some(id));
                let linked = [held.service_id, held.external_id, held.local_id];
                let linked = linked.iter().any(|row| *row != 0 && rows.contains(&Some(*row)));
                (free && (index == 0 || linked || self.is_only_for(id, want))).then_some(id)
            });
            rows[kind as usize] = found;
        }
        rows
    }

    /// A frontend that several ask for (a NodePort on its way from one Service to another) may name another's row.
    fn is_only_for(&self, row: u32, want: &Desired) -> bool {
        self.tables.frontends_of(row).iter().all(|key| want.frontends.iter().any(|f| f.key == *key))
    }

    pub(crate) fn change(&mut self, plan: &mut Plan, change: Change) {
        self.backends.count(&self.tables, &change);
        self.tables.apply(&change);
        plan.changes.push(change);
    }
}

/// The row of that kind that a frontend names. What the frontend is to name now may be another: the policy has changed while
/// nobody looked. Flows remember the number of their row, so it stays.
fn row_of(held: &Frontend, kind: RowKind) -> Option<u32> {
    let of = |flag: u32| if held.flags & flag == 0 { RowKind::Cluster } else { RowKind::Local };
    let (inside, outside) = (of(FRONTEND_ROW_LOCAL), of(FRONTEND_ROW_LOCAL_EXTERNAL));
    let both_local = inside == RowKind::Local && outside == RowKind::Local;
    let other = if both_local { RowKind::Cluster } else { RowKind::Local };
    [(held.service_id, inside), (held.external_id, outside), (held.local_id, other)]
        .into_iter()
        .find_map(|(id, its)| (id != 0 && its == kind).then_some(id))
}

#[cfg(test)]
#[path = "balancer_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "balancer_weights_tests.rs"]
mod weights_tests;
