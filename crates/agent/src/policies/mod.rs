//! Policy objects, identities and this node's Pods → the maps of policy.
//!
//! ```text
//! objects ──dialect──▶ rules ──┐
//! CiliumIdentity ──▶ who is who ├─▶ policy::plan::Planner ──▶ ordered writes ──▶ maps, then the clock
//! Pods of this node ──▶ subjects┘
//! ```
//! The node itself is a subject while a policy that people wrote is about it.
//!
//! Invariant: nothing is planned before all of it was told once; what an earlier agent wrote stands until then, and a Pod
//! that comes meanwhile is shut. Of an object that can't be understood its last good version stays in force; where there is
//! none, it denies whatever it might have denied.

mod apply;
mod facts;
mod news;
pub(crate) mod objects;
mod services;
mod view;

pub use apply::{Maps, apply};
pub use facts::{host_facts, node_facts, pod_facts};
pub use news::News;
pub use objects::{Input, Kind};
pub(crate) use view::uid;

use crate::status;
use crate::watched::{Told, Watched};
use custom_resources::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
use datapath_layouts::{PolicyKey, identity};
use model::{Labels, Node, ObjectName};
use objects::Read;
use policy::dialect::references::{CidrGroup, References, ServiceFacts};
use policy::dialect::{Mistake, Mistaken, cilium};
use policy::failsafe::Failsafe;
use policy::plan::{Capacity, Change, Planner, Problem, Tables};
use policy::rule::{Dialect, Origin, Policy};
use services::Services;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// An object that can't be understood.
struct Refused {
    mistakes: Vec<Mistake>,
    stands: Stands,
}

/// What of such an object is in force.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// The version before.
    LastGood,
    /// There was none: it denies whatever it might have denied.
    Closed,
    /// There was none, and whom it selects can't be read.
    Nothing,
}

impl Stands {
    const fn text(self) -> &'static str {
        match self {
            Self::LastGood => "the last good version is in force",
            Self::Closed => "whom it selects is allowed nothing where it governs",
            Self::Nothing => "nothing of it is in force: whom it selects can't be read",
        }
    }
}

/// Policy on this node.
pub struct Policies {
    planner: Planner,
    network: Watched<ObjectName, Read>,
    cluster: Watched<ObjectName, Read>,
    cilium: Watched<ObjectName, Arc<CiliumNetworkPolicy>>,
    clusterwide: Watched<ObjectName, Arc<CiliumClusterwideNetworkPolicy>>,
    groups: Watched<ObjectName, CidrGroup>,
    services: Services,
    references: References,
    /// Which policies an object became.
    origins: HashMap<(Kind, ObjectName), Vec<Origin>>,
    mistakes: BTreeMap<(Kind, ObjectName), Refused>,
    /// Objects that are otherwise, for those who ask what the agent did.
    news: BTreeMap<(Kind, ObjectName), News>,
    subjects: BTreeSet<u32>,
    /// A plan was made since this process started.
    planned: bool,
    /// What is in force is as the last plan left it. Whoever has it is told when there is another; that one has its own.
    stands: Arc<AtomicBool>,
}

impl Policies {
    /// Starts from what the maps hold.
    #[must_use]
    pub fn new(tables: Tables, capacity: Capacity, failsafe: &Failsafe) -> Self {
        let mut planner = Planner::recover(tables, capacity);
        planner.set_policy(failsafe.policy());
        Self {
            planner,
            network: Watched::default(),
            cluster: Watched::default(),
            cilium: Watched::default(),
            clusterwide: Watched::default(),
            groups: Watched::default(),
            services: Services::default(),
            references: References::default(),
            origins: HashMap::new(),
            mistakes: BTreeMap::new(),
            news: BTreeMap::new(),
            subjects: BTreeSet::new(),
            planned: false,
            stands: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Starts again from what the maps hold, after a write that failed; what was told is known.
    pub fn recover(&mut self, tables: Tables, capacity: Capacity) {
        let old = std::mem::replace(&mut self.planner, Planner::recover(tables, capacity));
        old.policies().cloned().for_each(|policy| self.planner.set_policy(policy));
        old.identities().cloned().for_each(|facts| self.planner.set_identity(facts));
        self.subjects.iter().for_each(|subject| self.planner.add_subject(*subject));
    }

    /// Takes what was told of policy objects.
    pub fn take(&mut self, input: Input) {
        match input {
            Input::Network(told) => {
                for key in changed(&mut self.network, told) {
                    let read = self.network.get(&key).cloned();
                    self.read(Kind::NetworkPolicy, key, read);
                }
            }
            Input::Cluster(told) => {
                for key in changed(&mut self.cluster, told) {
                    let read = self.cluster.get(&key).cloned();
                    self.read(Kind::ClusterNetworkPolicy, key, read);
                }
            }
            Input::Cilium(told) => {
                for key in changed(&mut self.cilium, told) {
                    self.read_cilium(key);
                }
            }
            Input::Clusterwide(told) => {
                for key in changed(&mut self.clusterwide, told) {
                    self.read_clusterwide(key);
                }
            }
            Input::Group(told) => {
                for key in changed(&mut self.groups, told) {
                    let group = self.groups.get(&key).cloned();
                    match group {
                        Some(group) => drop(self.references.cidr_groups.insert(key.name.to_string(), group)),
                        None => drop(self.references.cidr_groups.remove(&*key.name)),
                    }
                    self.read_references_again();
                }
            }
        }
    }

    fn read_cilium(&mut self, key: ObjectName) {
        let object = self.cilium.get(&key).cloned();
        let names_services = object.as_ref().is_some_and(|one| cilium::names_services(&one.spec, &one.specs));
        self.services.note((Kind::CiliumNetworkPolicy, key.clone()), names_services);
        self.services.follow(&mut self.references.services);
        let references = &self.references;
        let read = object.map(|object| {
            let read = cilium::network_policy(&object, references);
            Mistaken::or_closed(read, || cilium::network_policy_closed(&object, references))
        });
        self.read(Kind::CiliumNetworkPolicy, key, read);
    }

    fn read_clusterwide(&mut self, key: ObjectName) {
        let object = self.clusterwide.get(&key).cloned();
        let names_services = object.as_ref().is_some_and(|one| cilium::names_services(&one.spec, &one.specs));
        self.services.note((Kind::CiliumClusterwideNetworkPolicy, key.clone()), names_services);
        self.services.follow(&mut self.references.services);
        let references = &self.references;
        let read = object.map(|object| {
            let read = cilium::clusterwide_policy(&object, references);
            Mistaken::or_closed(read, || cilium::clusterwide_policy_closed(&object, references))
        });
        self.read(Kind::CiliumClusterwideNetworkPolicy, key, read);
    }

    /// Takes what was told of Services; answers with those of which something is different.
    pub fn take_service(&mut self, told: Told<ObjectName, ServiceFacts>) -> Vec<ObjectName> {
        self.services.take(told)
    }

    /// A Service, or its addresses (all that its EndpointSlices name), may be different. Policies that name Services are
    /// read again before the next plan.
    pub fn refer(&mut self, name: &ObjectName, addresses: impl Iterator<Item = IpAddr>) {
        self.services.refer(name, addresses);
    }

    fn read_those_that_name_services(&mut self) {
        self.services.follow(&mut self.references.services);
        for (kind, name) in self.services.take_changed() {
            match kind {
                Kind::CiliumClusterwideNetworkPolicy => self.read_clusterwide(name),
                _ => self.read_cilium(name),
            }
        }
    }

    /// What the groups are part of.
    fn read_references_again(&mut self) {
        let keys: Vec<ObjectName> = self.cilium.keys().cloned().collect();
        keys.into_iter().for_each(|key| self.read_cilium(key));
        let keys: Vec<ObjectName> = self.clusterwide.keys().cloned().collect();
        keys.into_iter().for_each(|key| self.read_clusterwide(key));
    }

    fn read(&mut self, kind: Kind, name: ObjectName, read: Option<Read>) {
        let object = (kind, name);
        let before = self.mistakes.remove(&object);
        let policies: Vec<Policy> = match read {
            Some(Ok(policies)) => policies,
            Some(Err(Mistaken { mistakes, closed })) => {
                // What an earlier mistake closed is no good version.
                let good = before.is_none_or(|before| before.stands == Stands::LastGood);
                let stands = match closed.is_empty() {
                    _ if good && self.origins.contains_key(&object) => Stands::LastGood,
                    true => Stands::Nothing,
                    false => Stands::Closed,
                };
                self.mistakes.insert(object.clone(), Refused { mistakes, stands });
                if stands == Stands::LastGood {
                    return;
                }
                closed
            }
            None => Vec::new(),
        };
        self.note(&object, &policies);
        let origins: Vec<Origin> = policies.iter().map(|policy| policy.origin.clone()).collect();
        for gone in self.origins.remove(&object).unwrap_or_default() {
            if !origins.contains(&gone) {
                self.planner.remove_policy(&gone);
            }
        }
        policies.into_iter().for_each(|policy| self.planner.set_policy(policy));
        if !origins.is_empty() {
            self.origins.insert(object, origins);
        }
    }

    /// Takes what became different of an identity; `None`: it is nobody's any more.
    pub fn take_identity(&mut self, number: u32, labels: Option<&Labels>) {
        match labels {
            Some(labels) => self.planner.set_identity(pod_facts(number, labels)),
            None => self.planner.remove_identity(number),
        }
    }

    /// All nodes.
    pub fn set_nodes<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>) {
        self.planner.set_nodes(nodes.map(node_facts).collect());
    }

    /// The own node.
    pub fn set_host(&mut self, node: &Node, runs_api_server: bool) {
        self.planner.set_identity(host_facts(node, runs_api_server));
    }

    /// Whether a policy is about the own node. Before that it is not judged.
    pub fn is_about_host(&mut self) -> bool {
        self.read_those_that_name_services();
        self.planner.is_governed(identity::HOST)
    }

    /// The identities that this node's Pods have, or are about to have, and its own where a policy is about it.
    pub fn set_subjects(&mut self, subjects: BTreeSet<u32>) {
        subjects.difference(&self.subjects).for_each(|new| self.planner.add_subject(*new));
        self.subjects.difference(&subjects).for_each(|gone| self.planner.remove_subject(*gone));
        self.subjects = subjects;
    }

    /// What is to be written, in this order.
    pub fn plan(&mut self) -> Vec<Change> {
        self.read_those_that_name_services();
        self.planned = true;
        let changes = self.planner.plan();
        self.begin(changes)
    }

    /// What nobody reads any more.
    pub fn sweep(&mut self) -> Vec<Change> {
        let changes = if self.planned { self.planner.sweep() } else { Vec::new() };
        self.begin(changes)
    }

    /// These are about to be written: what was told of what is in force may not be so any more.
    fn begin(&mut self, changes: Vec<Change>) -> Vec<Change> {
        if !changes.is_empty() {
            std::mem::replace(&mut self.stands, Arc::new(AtomicBool::new(true))).store(false, Relaxed);
        }
        changes
    }

    /// Whether every kind of object has been told once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.network.is_synced()
            && self.cluster.is_synced()
            && self.cilium.is_synced()
            && self.clusterwide.is_synced()
            && self.groups.is_synced()
            && self.services.is_synced()
    }

    /// Whether a plan was made since this process started.
    #[must_use]
    pub const fn is_planned(&self) -> bool {
        self.planned
    }

    /// What does not fit into the maps, in a few words; none: everything does.
    #[must_use]
    pub fn no_room(&self) -> Option<String> {
        // Of a map that is full, one subject is as good as the other.
        let maps: BTreeMap<&str, &Problem> =
            self.planner.problems().map(|(_, problem)| (problem.map, problem)).collect();
        let mut out: Vec<String> = maps.values().map(ToString::to_string).collect();
        let unfit = self.planner.unfit_identities().count();
        if unfit > 0 {
            out.push(format!("map identities has no room for {unfit}: they are denied wherever a deny could apply"));
        }
        (!out.is_empty()).then(|| out.join("; "))
    }

    /// How it is enforced; `epoch`: the policy clock.
    #[must_use]
    pub fn view(&self, epoch: u32) -> status::Policies {
        status::Policies {
            enforced: self.planned,
            epoch,
            // The failsafe ports are nobody's policy.
            policies: self.planner.policies().filter(|policy| policy.origin.dialect != Dialect::Malla).count(),
            audited: self.planner.policies().filter(|policy| policy.audit).count(),
            mistaken: self.mistakes.len(),
            subjects: self.subjects.len(),
            overflowing: self.planner.problems().count(),
            unfit_identities: self.planner.unfit_identities().count(),
            tables: self.table_uses().into(),
        }
    }

    /// How full its maps are.
    #[must_use]
    pub fn table_uses(&self) -> [status::TableUse; 6] {
        let (tables, room) = (self.planner.tables(), self.planner.capacity());
        [
            ("policies", tables.policies.len(), room.policies),
            ("identities", tables.identities.len(), room.identities),
            ("policy_peers", tables.peers.len(), room.peers),
            ("policy_cidrs", tables.cidrs.len(), room.cidrs),
            ("policy_rows", tables.rows.len(), room.rows),
            ("policy_ranges", tables.ranges.len(), room.ranges),
        ]
        .map(|(name, used, room)| status::TableUse { name: name.to_owned(), used, room })
    }

    /// What is not enforced as it is written, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        for ((kind, name), refused) in &self.mistakes {
            let (kind, stands) = (kind.name(), refused.stands.text());
            out.extend(refused.mistakes.iter().map(|mistake| format!("{kind} {name}: {mistake} ({stands})")));
        }
        for policy in self.planner.policies() {
            out.extend(policy.gaps.iter().map(|gap| format!("{}: {}: {}", policy.origin, gap.field, gap.why)));
        }
        for (key, problem) in self.planner.problems() {
            let whose = match key.policy_id & !PolicyKey::SHADOW {
                identity::HOST => "policies about this node (its failsafe ports stay open)".to_owned(),
                number => format!("policies of identity {number}"),
            };
            out.push(format!("{whose}: {problem}"));
        }
        out.extend(self.planner.unfit_identities().map(|number| format!("identity {number}: no room in the map identities: it is unknown, and denied wherever a deny could apply")));
        out
    }
}

fn changed<V: PartialEq>(watched: &mut Watched<ObjectName, V>, told: Told<ObjectName, V>) -> Vec<ObjectName> {
    watched.take(told).into_iter().map(|difference| difference.key).collect()
}

#[cfg(test)]
mod tests;
