//! The agent's one writer: takes what the API and the node tell, plans, applies, answers questions.

use super::away::Away;
use crate::cluster::{Input, Watches};
use crate::collector::{Handle, Totals};
use crate::deeds::Deed;
use crate::error::{Error, chain};
use crate::events::{Hub, Names, Who};
use crate::facts::{self, Facts};
use crate::identities::{Identities, LocalIdentities, Peers};
use crate::keeping;
use crate::loaded::Loaded;
use crate::neighbours::Neighbours;
use crate::node_conditions::Room;
use crate::node_config::{Choices, node_config};
use crate::node_metrics::NodeMetrics;
use crate::pods::Pods;
use crate::policies::{self, Policies};
use crate::probes::Probes;
use crate::server::Question;
use crate::service_events::Complaint;
use crate::services::{self, HealthChecks, Services};
use crate::sockets::PodSockets;
use crate::status::{Adoption, Datapath};
use crate::table::Table;
use crate::topology::Desired;
use crate::trouble::Troubles;
use crate::watched::{Told, Watched};
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::identity::{KUBE_APISERVER, NODE_OF_API_SERVER};
use datapath_layouts::{Address, AddressKey, Endpoint, Neighbour, PrefixKey, Route};
use flow_api::moment::now;
use ipnet::IpNet;
use load_balancer::Capacity;
use load_balancer::condition::Report;
use model::{Node, NodeName, ObjectName, Workload};
use netlink::Netlink;
use policy::failsafe::Failsafe;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The maps that the loop writes.
pub struct Maps {
    /// Where everything else is.
    pub ipcache: Box<dyn Table<PrefixKey, Route>>,
    /// What is here.
    pub endpoints: Box<dyn Table<AddressKey, Endpoint>>,
    /// By which device nodes are known.
    pub neighbours: Box<dyn Table<AddressKey, Neighbour>>,
    /// Services.
    pub services: services::Maps,
    /// Policy.
    pub policy: policies::Maps,
}

/// What the loop is made of.
pub struct Parts {
    /// This node, as of the start.
    pub own: Node,
    /// Its network.
    pub facts: Facts,
    /// What no fact says.
    pub choices: Choices,
    /// Ranges of Service addresses.
    pub service_ranges: Vec<IpNet>,
    /// The maps.
    pub maps: Maps,
    /// Their room for Services.
    pub capacity: Capacity,
    /// Room in `ipcache`, entries.
    pub ipcache_room: usize,
    /// Room in the maps of policy.
    pub policy_room: policy::plan::Capacity,
    /// Ports of the node that no policy shuts.
    pub failsafe: Failsafe,
    /// The node's routes and neighbours; none in tests without a kernel.
    pub netlink: Option<Netlink>,
    /// Whether a node on the link is known by its device.
    pub verify_node_mac: bool,
    /// The programs.
    pub loaded: Arc<dyn Loaded>,
    /// Pods of this node.
    pub pods: Arc<Pods>,
    /// Their sockets.
    pub sockets: Arc<PodSockets>,
    /// Who they are, for those who make their network.
    pub local_identities: Arc<LocalIdentities>,
    /// Who forgets flows.
    pub collector: Handle,
    /// What it has forgotten.
    pub collected: Arc<Totals>,
    /// Who listens to events.
    pub hub: Arc<Hub>,
    /// Names for events.
    pub names: Arc<RwLock<Arc<Names>>>,
    /// What is done with flows, and how that goes.
    pub keeping: Arc<keeping::Told>,
    /// What of the node Prometheus is told.
    pub node_metrics: NodeMetrics,
    /// Who tells a Service's owner what is wrong with it.
    pub complaints: mpsc::Sender<Complaint>,
    /// Who writes it into the Service's status.
    pub reports: mpsc::UnboundedSender<(ObjectName, Report)>,
    /// Who tells the cluster when a map of policy is full.
    pub policy_room_told: watch::Sender<Room>,
    /// Whether other nodes are reached.
    pub probes: Probes,
    /// What the node says to load balancers.
    pub health: watch::Sender<HealthChecks>,
    /// What can't be served.
    pub troubles: Troubles,
    /// Where nodes serve their flows to each other.
    pub hubble_port: Option<u16>,
    /// How the watches do.
    pub watches: Watches,
    /// What was found at the start.
    pub adoption: Adoption,
    /// The datapath, for status.
    pub datapath: Datapath,
}

/// The loop's state.
pub struct State {
    pub(super) parts: Parts,
    pub(super) nodes: Watched<NodeName, Node>,
    pub(super) services: Services,
    pub(super) identities: Identities,
    pub(super) policies: Policies,
    /// Where API servers are: from the endpoints of the Service `kubernetes`, and until those are told from the maps.
    pub(super) api_servers: BTreeSet<IpAddr>,
    /// By which the node itself is judged; 0 = by none.
    pub(super) node_policy: u32,
    /// Policies of which it was told that they could not be written, and not yet that they are.
    pub(super) unwritten_told: BTreeSet<u32>,
    /// What topology was applied, and whether with the sweep.
    pub(super) applied: Option<(Desired, bool)>,
    pub(super) neighbours: Neighbours,
    /// Translations left over from before this process are gone.
    pub(super) cleared: bool,
    pub(super) names_are_old: bool,
    pub(super) host_ports_are_old: bool,
    pub(super) names_due: Instant,
    /// What the Pods of this node belong to.
    pub(super) workloads: Watched<ObjectName, Arc<Workload>>,
    /// Pods that have gone a moment ago: what still happens to their addresses is about them.
    pub(super) departed: HashMap<Address, (Arc<Who>, Instant)>,
    /// Pods of other nodes that have gone, whose flows here go on.
    pub(super) away: Away,
    /// Since when something has changed that nobody wanted to know by its name.
    pub(super) unwanted_since: Option<Instant>,
    /// When that was heard of which is not in the maps yet.
    pub(super) unsettled: Vec<Instant>,
    pub(super) started: Instant,
    /// What failed and is tried again, by what it is.
    pub(super) failures: BTreeMap<&'static str, String>,
}

/// Names are made anew at most this often.
pub(super) const NAMES: Duration = Duration::from_millis(500);

impl State {
    /// Starts from what the maps hold.
    ///
    /// # Errors
    /// When a map can't be read.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        let balancer = parts.maps.services.balancer(parts.capacity)?;
        let mut peers = Peers::default();
        let ipcache = parts.maps.ipcache.entries()?;
        let is_api_server = |route: &Route| [KUBE_APISERVER, NODE_OF_API_SERVER].contains(&route.identity);
        let api_servers = ipcache.iter().filter(|(_, route)| is_api_server(route)).map(|(key, _)| key.to_ip().0);
        let api_servers = api_servers.collect();
        peers.adopt(ipcache);
        let endpoints = parts.maps.endpoints.entries()?;
        let host = endpoints.iter().find(|(_, endpoint)| endpoint.flags & FLAG_HOST != 0);
        let node_policy = host.map_or(0, |(_, endpoint)| endpoint.policy_id);
        let tables = parts.maps.policy.tables()?;
        parts.hub.did(|| Deed::Started(now()));
        let is_there = tables.policies.keys().any(|key| key.policy_id == node_policy);
        Ok(Self {
            api_servers,
            // A map that was put aside and made anew takes the node's tables along.
            node_policy: if is_there { node_policy } else { 0 },
            unwritten_told: BTreeSet::new(),
            identities: Identities::new(peers),
            policies: Policies::new(tables, parts.policy_room, &parts.failsafe),
            services: Services::new(balancer),
            nodes: Watched::default(),
            applied: None,
            neighbours: Neighbours::default(),
            cleared: false,
            names_are_old: true,
            host_ports_are_old: true,
            names_due: Instant::now() + NAMES,
            workloads: Watched::default(),
            departed: HashMap::new(),
            away: Away::default(),
            unwanted_since: None,
            unsettled: Vec::new(),
            started: Instant::now(),
            failures: BTreeMap::new(),
            parts,
        })
    }

    /// Takes what the API told.
    pub fn take(&mut self, input: Input) {
        self.names_are_old = true;
        match input {
            Input::Node(told) => {
                let listed = matches!(told, Told::End);
                self.neighbours.look_again();
                let differences = self.nodes.take(told);
                let is_news = listed || !differences.is_empty();
                for difference in differences {
                    if difference.key == self.parts.own.name {
                        self.own_node_changed();
                    } else if self.nodes.get(&difference.key).is_none() {
                        self.services.plan_again_where(|service| service.reported.contains_key(&difference.key));
                    }
                }
                if is_news {
                    self.tell_peers();
                }
                if listed {
                    // Who is named in a status may have gone while nobody looked.
                    self.services.plan_again_where(|service| !service.reported.is_empty());
                }
            }
            Input::Service(told) => {
                let (balanced, seen) = told.halves(|(balanced, seen)| (balanced, Some(seen)));
                self.services.take_service(balanced);
                for name in self.policies.take_service(seen) {
                    self.policies.refer(&name, self.services.addresses_of(&name));
                }
            }
            Input::Slice(told) => {
                for name in self.services.take_slice(told) {
                    self.policies.refer(&name, self.services.addresses_of(&name));
                }
            }
            Input::Pod(told) => {
                let (wish, workload) = told.halves(|(wish, workload)| (Some(wish), workload));
                self.parts.sockets.take_pod(wish);
                self.workloads.take(workload);
            }
            Input::Namespace(told) => self.parts.sockets.take_namespace(told),
            Input::Identity(told) => {
                for number in self.identities.take_object(told) {
                    self.policies.take_identity(number, self.identities.labels(number));
                }
            }
            Input::Policy(told) => self.policies.take(told),
            Input::Published(told) => self.identities.take_slice(told),
        }
    }

    /// A Node object that was deleted, or made anew and not filled in yet, does not take the node's ranges away: Pods live
    /// in them.
    fn own_node_changed(&mut self) {
        let Some(node) = self.nodes.get(&self.parts.own.name) else { return };
        if node.pod_ranges.is_empty() || node.addresses.is_empty() || *node == self.parts.own {
            return;
        }
        let moved = Node { labels: node.labels.clone(), ..self.parts.own.clone() } != *node;
        self.parts.own = node.clone();
        if !moved {
            return; // labels alone are a matter of policy
        }
        self.host_ports_are_old = true;
        self.services.plan_all_again();
        self.identities.look_at_local_again();
    }

    /// Plans and applies until nothing is left to do. What fails is told in status and tried again at the next tick.
    pub fn settle(&mut self) {
        self.attempt("routes", Self::settle_topology);
        self.attempt("neighbours", Self::settle_neighbours);
        self.attempt("identities", Self::settle_identities);
        self.attempt("policies", Self::settle_policies);
        self.attempt("services", Self::settle_services);
        self.attempt("socket translation", |state| Ok(state.parts.sockets.settle()?));
        self.freshen_names();
    }

    /// Looks at what nobody tells: the node's own network, who listens, what failed before.
    pub fn tick(&mut self) {
        self.attempt("node", Self::look_at_node);
        self.neighbours.look_again();
        self.attempt("tracing", Self::adjust_tracing);
        self.attempt("policies", Self::sweep_policies);
        self.end_flows_of_the_gone();
        self.settle();
        self.has_settled(&[]);
    }

    pub(super) fn attempt(&mut self, what: &'static str, action: fn(&mut Self) -> Result<(), Error>) {
        match action(self) {
            Ok(()) => {
                if self.failures.remove(what).is_some() {
                    tracing::info!("{what}: works again");
                }
            }
            Err(error) => {
                let text = chain(&error);
                if self.failures.get(what) != Some(&text) {
                    tracing::error!("{what}: {text}");
                }
                self.failures.insert(what, text);
            }
        }
    }

    fn look_at_node(&mut self) -> Result<(), Error> {
        let (Some(netlink), Some(underlay)) = (&self.parts.netlink, self.parts.own.underlay()) else { return Ok(()) };
        let facts = facts::read(netlink, &self.parts.facts.network.name, underlay)?;
        if facts != self.parts.facts {
            tracing::info!("the node's network has changed");
            self.parts.facts = facts;
            self.host_ports_are_old = true;
        }
        // Somebody else may have changed routes: the next settling compares with the kernel.
        self.applied = None;
        self.reconfigure()
    }

    fn adjust_tracing(&mut self) -> Result<(), Error> {
        self.reconfigure()
    }

    fn reconfigure(&mut self) -> Result<(), Error> {
        let current = self.parts.loaded.config();
        let mut wanted = node_config(&self.parts.own, &self.parts.facts, &self.parts.choices);
        wanted.observation = self.parts.hub.observation() as u32;
        wanted.csum_ipv6_flag = current.csum_ipv6_flag;
        if wanted != current {
            self.parts.loaded.reconfigure(wanted)?;
        }
        Ok(())
    }

    /// Answers a question.
    pub fn answer(&mut self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Status(sender) => {
                let _ = sender.send(self.status());
            }
            Question::References(address, sender) => {
                let (references, last_resort) = self.services.references(address);
                let _ = sender.send(crate::status::References { references, last_resort });
            }
            Question::Services(only, sender) => {
                let _ = sender.send(self.services.view(&self.parts.own, only.as_ref()));
            }
            Question::Identities(sender) => {
                let _ = sender.send(self.identities.identity_views());
            }
            Question::Endpoints(sender) => {
                let endpoints = self.endpoints(&mut Vec::new());
                let _ = sender.send(self.identities.endpoint_views(endpoints));
            }
            Question::Policy(sender) => {
                let _ = sender.send(self.policy_snapshot());
            }
            Question::Listening => {
                self.attempt("tracing", Self::adjust_tracing);
                self.names_due = Instant::now();
                self.freshen_names();
            }
        }
    }

    /// Whether something is to be tried again soon.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Whether the API has told everything once, and it was planned.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.nodes.is_synced() && self.services.is_synced() && self.policies.is_planned()
    }

    /// A Pod came or went.
    pub fn pods_changed(&mut self) {
        self.names_are_old = true;
        self.host_ports_are_old = true;
        self.tell_pods();
        self.settle();
    }

    /// Whether all that the API told is in the maps.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.nodes.is_synced() && self.services.is_settled() && self.identities.is_synced() && self.failures.is_empty()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
