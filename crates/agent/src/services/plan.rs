//! Which Services to plan anew, what their plans are, and which flows are to be forgotten. Pure.

use super::health::{self, HealthChecks};
use super::news::News;
use crate::collector::Present;
use crate::watched::{Difference, Told, Watched};
use load_balancer::{Balancer, Change, Gone, Locality, Plan, Wanted, desired, host_ports};
use model::{EndpointSlice, Node, ObjectName, Protocol, Service};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Flows to a backend that are to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Purge {
    /// The backend and the service that had it.
    pub gone: Gone,
    /// The Pod still finishes its connections: only datagrams and what is left of ended connections are forgotten.
    pub draining: bool,
}

/// What is wrong with a Service, for status.
pub type ServiceStatus = BTreeMap<ObjectName, String>;

/// All Services as the API tells them, and what is still to be planned.
#[derive(Debug)]
pub struct Services {
    pub(super) services: Watched<ObjectName, Service>,
    slices: Watched<ObjectName, EndpointSlice>,
    slices_of: HashMap<ObjectName, BTreeSet<ObjectName>>,
    /// Pods with host ports, by [`host_ports::owner`].
    host_ports: BTreeMap<ObjectName, Wanted>,
    pub(super) balancer: Balancer,
    waiting: BTreeSet<ObjectName>,
    /// Backends without a slot whose Pods still end their connections. One whose Service is not known any more is held by
    /// everybody that names its address.
    draining: HashMap<ObjectName, HashSet<Gone>>,
    problems: ServiceStatus,
    /// Problems that came up since they were last asked for.
    complaints: Vec<(ObjectName, String)>,
    /// Services that were planned since they were last asked for.
    planned: BTreeSet<ObjectName>,
    health: HealthChecks,
    health_changed: bool,
    /// What was planned, for those who ask what the agent did.
    pub(super) news: Vec<News>,
    /// Services that did not fit; tried again whenever something is removed.
    without_room: BTreeSet<ObjectName>,
    /// The maps may hold what a plan wrote ahead.
    interrupted: bool,
    swept: bool,
}

impl Services {
    /// Starts from what the maps hold.
    #[must_use]
    pub fn new(balancer: Balancer) -> Self {
        Self {
            services: Watched::default(),
            slices: Watched::default(),
            slices_of: HashMap::new(),
            host_ports: BTreeMap::new(),
            balancer,
            waiting: BTreeSet::new(),
            draining: HashMap::new(),
            problems: BTreeMap::new(),
            complaints: Vec::new(),
            planned: BTreeSet::new(),
            news: Vec::new(),
            health: BTreeMap::new(),
            health_changed: false,
            without_room: BTreeSet::new(),
            interrupted: true,
            swept: false,
        }
    }

    /// Starts anew from what the maps hold, when a write has failed and nobody knows how far it came.
    pub fn recover(&mut self, balancer: Balancer) {
        self.balancer = balancer;
        self.interrupted = true;
        self.swept = false;
        // Nobody knows how much of it was done. What is left to do is told when it is.
        self.news.clear();
        self.waiting = self.services.keys().chain(self.host_ports.keys()).cloned().collect();
    }

    /// Takes what the watch of Services told.
    pub fn take_service(&mut self, told: Told<ObjectName, Service>) {
        self.waiting.extend(self.services.take(told).into_iter().map(|difference| difference.key));
    }

    /// Takes what the watch of EndpointSlices told; answers with the Services whose slices are different.
    pub fn take_slice(&mut self, told: Told<ObjectName, EndpointSlice>) -> BTreeSet<ObjectName> {
        let mut of = BTreeSet::new();
        for Difference { key, old } in self.slices.take(told) {
            if let Some(old) = old {
                of.insert(old.service.clone());
                if let Some(names) = self.slices_of.get_mut(&old.service) {
                    names.remove(&key);
                    if names.is_empty() {
                        self.slices_of.remove(&old.service);
                    }
                }
                self.waiting.insert(old.service);
            }
            if let Some(new) = self.slices.get(&key) {
                of.insert(new.service.clone());
                self.slices_of.entry(new.service.clone()).or_default().insert(key);
                self.waiting.insert(new.service.clone());
            }
        }
        of
    }

    /// All addresses that a Service's slices name, whatever they can take.
    pub fn addresses_of(&self, service: &ObjectName) -> impl Iterator<Item = IpAddr> {
        self.slices_of(service).flat_map(|slice| &slice.endpoints).map(|endpoint| endpoint.address)
    }

    /// Takes all host ports of the node's Pods, by [`host_ports::owner`].
    pub fn take_host_ports(&mut self, all: BTreeMap<ObjectName, Wanted>) {
        let old = std::mem::replace(&mut self.host_ports, all);
        let gone = old.keys().filter(|owner| !self.host_ports.contains_key(*owner));
        let new = self.host_ports.iter().filter(|(owner, wanted)| old.get(*owner) != Some(*wanted));
        self.waiting.extend(gone.chain(new.map(|(owner, _)| owner)).cloned());
    }

    /// Whether everything is known. Before, a Service without endpoints may only be one whose slices have not come yet,
    /// and planning it would cut it off.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.services.is_synced() && self.slices.is_synced()
    }

    /// Every Service is to be planned again: what is local has changed.
    pub fn plan_all_again(&mut self) {
        self.waiting.extend(self.services.keys().cloned());
    }

    /// These Services are to be planned again.
    pub fn plan_again_where(&mut self, concerns: impl Fn(&Service) -> bool) {
        self.waiting.extend(self.services.values().filter(|service| concerns(service)).map(|s| s.name.clone()));
    }

    /// The next Service's plan with the flows to forget once it is done; `None` when nothing waits.
    ///
    /// The plan counts as done: when it can't be done whole, [`Self::recover`] from the maps.
    pub fn next(&mut self, own: &Node) -> Option<(Plan, Vec<Purge>)> {
        if !self.is_synced() {
            return None;
        }
        if std::mem::take(&mut self.interrupted) {
            return Some((self.balancer.clear_uncounted(), Vec::new()));
        }
        let Some(name) = self.waiting.pop_first() else {
            if self.swept {
                return None;
            }
            self.swept = true;
            let plan = self.balancer.sweep();
            let purges = self.purges_of_unknown(&plan.gone);
            self.try_those_without_room(&plan);
            return Some((plan, purges));
        };
        self.check_health(&name, own);
        self.planned.insert(name.clone());
        let wanted = match self.services.get(&name) {
            Some(service) => desired(service, self.slices_of(&name), Locality { node: own }),
            None => self.host_ports.get(&name).cloned().unwrap_or_default(),
        };
        let numbers = self.numbers(&name);
        let plan = match self.balancer.set(&name, &wanted) {
            Ok(plan) => plan,
            Err(full) => {
                self.set_problem(&name, full.to_string());
                self.without_room.insert(name);
                return Some((Plan::default(), Vec::new()));
            }
        };
        if !plan.changes.is_empty() {
            self.note(&name, &numbers);
        }
        let conflicts = plan.conflicts.iter().map(|conflict| {
            let key = conflict.frontend;
            let protocol =
                Protocol::from_number(key.protocol).map_or_else(String::new, |protocol| format!("/{protocol}"));
            format!("{}:{}{protocol} belongs to {}", key.address, key.port, host_ports::described(&conflict.owner))
        });
        let problems: Vec<String> = conflicts.chain(wanted.problems).collect();
        self.set_problem(&name, problems.join("; "));
        self.waiting.extend(plan.again.iter().cloned());
        self.try_those_without_room(&plan);
        let purges = self.purges(&name, &plan.gone);
        Some((plan, purges))
    }

    /// An empty text is no problem.
    fn set_problem(&mut self, name: &ObjectName, text: String) {
        if text.is_empty() {
            self.problems.remove(name);
        } else if self.problems.get(name) != Some(&text) {
            self.problems.insert(name.clone(), text.clone());
            self.complaints.push((name.clone(), text));
        }
    }

    /// Problems that came up since the last call.
    pub fn complaints(&mut self) -> Vec<(ObjectName, String)> {
        std::mem::take(&mut self.complaints)
    }

    /// Services that were planned since the last call.
    pub fn planned(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.planned)
    }

    fn check_health(&mut self, name: &ObjectName, own: &Node) {
        let service = self.services.get(name);
        let asked = service.filter(|service| service.health_check_port.is_some());
        let local = asked.map_or(0, |service| health::local_endpoints(self.slices_of(name), &service.weights, own));
        self.health_changed |= health::update(&mut self.health, name, service, local);
    }

    /// What the node's health checks say, when it is something else than at the last call.
    pub fn new_health(&mut self) -> Option<&HealthChecks> {
        std::mem::take(&mut self.health_changed).then_some(&self.health)
    }

    fn try_those_without_room(&mut self, plan: &Plan) {
        if plan.changes.iter().any(|c| matches!(c, Change::RemoveBackend(_) | Change::RemoveFrontend(_))) {
            self.waiting.append(&mut self.without_room);
        }
    }

    /// A Pod that leaves a Service keeps its connections until it is gone from the slices too; datagrams go elsewhere at
    /// once, because their next one may start something new.
    fn purges(&mut self, name: &ObjectName, gone: &[Gone]) -> Vec<Purge> {
        let present: HashSet<IpAddr> = self.slices_of(name).flat_map(|s| &s.endpoints).map(|e| e.address).collect();
        let mut out = Vec::new();
        let mut draining = self.draining.remove(name).unwrap_or_default();
        draining.retain(|old| {
            let stays = present.contains(&old.address.to_ip());
            if !stays && !self.draining.values().any(|others| others.contains(old)) {
                out.push(Purge { gone: *old, draining: false });
            }
            stays
        });
        for &gone in gone {
            let stays = present.contains(&gone.address.to_ip());
            if stays {
                draining.insert(gone);
            }
            out.push(Purge { gone, draining: stays });
        }
        if !draining.is_empty() {
            self.draining.insert(name.clone(), draining);
        }
        out
    }

    /// The same for rows that an earlier process left and nobody claims: mostly of a Service that is gone. Whoever still
    /// names the Pods goes on with them.
    fn purges_of_unknown(&mut self, gone: &[Gone]) -> Vec<Purge> {
        let mut naming: HashMap<IpAddr, BTreeSet<ObjectName>> =
            gone.iter().map(|gone| (gone.address.to_ip(), BTreeSet::new())).collect();
        for slice in self.slices.values() {
            for endpoint in &slice.endpoints {
                if let Some(names) = naming.get_mut(&endpoint.address) {
                    names.insert(slice.service.clone());
                }
            }
        }
        let purge = |&gone: &Gone| {
            let names = &naming[&gone.address.to_ip()];
            for name in names {
                self.draining.entry(name.clone()).or_default().insert(gone);
            }
            Purge { gone, draining: !names.is_empty() }
        };
        gone.iter().map(purge).collect()
    }

    pub(super) fn slices_of<'a>(
        &'a self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a EndpointSlice> + Clone + use<'a> {
        self.slices_of.get(service).into_iter().flatten().filter_map(|name| self.slices.get(name))
    }

    /// Slots of Services that name an address: those for new flows, and those of a Pod that goes away and is the last resort.
    /// Host ports stay as long as the Pod's network does: nobody waits for them.
    #[must_use]
    pub fn references(&self, address: IpAddr) -> (usize, usize) {
        let address = datapath_layouts::Address::from_ip(address);
        let mut counts = (0, 0);
        let ports = self.host_ports.values().flat_map(|wanted| &wanted.ports);
        let rows: HashSet<u32> = ports.flat_map(|port| self.balancer.rows(&port.port)).flatten().collect();
        let slots = self.balancer.tables().all_slots().filter(|(row, _)| !rows.contains(row));
        for (_, backend) in slots.filter(|(_, b)| b.address == address) {
            if backend.flags & datapath_layouts::service::BACKEND_TERMINATING == 0 {
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
        counts
    }

    /// What the maps hold, and whose it is.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Every slice.
    pub fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.values()
    }

    /// The Service with this name, if it has addresses.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name)
    }

    /// Every Service that has addresses.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Who is behind Services: every slot, and every address that a slice names, whatever it can take.
    #[must_use]
    pub fn present(&self) -> Present {
        let endpoints = self.slices.values().flat_map(|s| &s.endpoints);
        Present {
            rows: self.balancer.tables().all_slots().map(|(row, b)| (row, b.address, b.port)).collect(),
            addresses: endpoints.map(|e| datapath_layouts::Address::from_ip(e.address)).collect(),
        }
    }

    /// What is wrong, by Service.
    #[must_use]
    pub fn problems(&self) -> &ServiceStatus {
        &self.problems
    }

    /// Whether nothing waits to be planned and everything stale is gone.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_synced() && self.waiting.is_empty() && self.swept
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
