//! Which endpoints serve whom, and why: the rules of kube-proxy's `CategorizeEndpoints` (pkg/proxy/topology.go), which are
//! KEP-1669 (terminating endpoints), KEP-2086 (policy Local), KEP-2433 and KEP-3015 (hints).

use datapath_layouts::Address;
use model::{Endpoint, EndpointSlice, EndpointState, Node, NodeName, ObjectName, ServicePort, Weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Whether an endpoint serves, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is ready.
    Serves,
    /// It goes away, and no ready one is left.
    LastResort,
    /// It is not ready.
    NotReady,
    /// It goes away, and there are ready ones.
    Terminating,
    /// It is meant for another zone, and there are some for this one.
    OtherZone,
    /// It is meant for another node, and there are some for this one.
    OtherNode,
    /// It is on another node, and the policy is Local.
    Elsewhere,
    /// Its weight is 0.
    WithoutWeight,
}

impl Standing {
    /// Whether new connections go to it.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Serves | Self::LastResort)
    }

    /// Whether it can answer at all.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        !matches!(self, Self::NotReady | Self::WithoutWeight)
    }

    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Serves => "serves",
            Self::LastResort => "serves as the last resort: it is terminating, and none is ready",
            Self::NotReady => "not ready",
            Self::Terminating => "terminating: keeps its connections, gets no new ones",
            Self::OtherZone => "left out: meant for another zone, and this zone has its own",
            Self::OtherNode => "left out: meant for another node, and this node has its own",
            Self::Elsewhere => "left out: on another node, and the traffic policy is Local",
            Self::WithoutWeight => "weight 0: keeps its connections, gets no new ones",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An endpoint of one port of a Service, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: Address,
    /// Its port, host order.
    pub port: u16,
    /// Where it is.
    pub node: Option<NodeName>,
    /// What it is.
    pub pod: Option<ObjectName>,
    /// Whether it is on this node.
    pub local: bool,
    /// How many new flows it gets beside the others.
    pub weight: u8,
    /// For traffic that any endpoint may serve.
    pub cluster: Standing,
    /// For traffic that only endpoints of this node may serve.
    pub here: Standing,
}

/// Tells this node's backends from others.
#[derive(Clone, Copy, Debug)]
pub struct Locality<'a> {
    /// The node on which the maps are.
    pub node: &'a Node,
}

impl Locality<'_> {
    /// By the endpoint's node where the slice names it, else by address.
    fn is_local(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref().map_or_else(|| self.node.holds(endpoint.address), |name| *name == self.node.name)
    }
}

/// The endpoints of one port, sorted by address and port, none twice.
///
/// `slices` are those of the port's family. What has weight 0 counts for nobody, as if it were not there: the others decide
/// among themselves who is the last resort and whose hints are respected.
#[must_use]
pub fn members<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    weights: &Weights,
    locality: Locality<'_>,
) -> Vec<Member> {
    // One address can be in two slices for a moment, while the controller moves it: the better state counts.
    let mut found: BTreeMap<(Address, u16), &Endpoint> = BTreeMap::new();
    for slice in slices {
        let Some(target) = slice.ports.iter().find(|p| p.name == port.name && p.protocol == port.protocol) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let entry = found.entry((Address::from_ip(endpoint.address), target.port)).or_insert(endpoint);
            if entry.state < endpoint.state {
                *entry = endpoint;
            }
        }
    }
    let all: Vec<Found<'_>> = found
        .into_iter()
        .map(|(key, endpoint)| Found {
            key,
            endpoint,
            local: locality.is_local(endpoint),
            weight: weights.of(endpoint),
        })
        .collect();
    let counted = all.iter().filter(|found| found.weight > 0);
    let cluster = Cluster::new(counted.clone().map(|found| found.endpoint), locality.node);
    let here = best(counted.filter(|found| found.local).map(|found| found.endpoint));
    all.into_iter()
        .map(|Found { key: (address, port), endpoint, local, weight }| {
            let (everywhere, here) = match weight {
                0 => (Standing::WithoutWeight, Standing::WithoutWeight),
                _ if local => (cluster.standing(endpoint), by_state(endpoint.state, here)),
                _ => (cluster.standing(endpoint), Standing::Elsewhere),
            };
            let (node, pod) = (endpoint.node.clone(), endpoint.pod.clone());
            Member { address, port, node, pod, local, weight, cluster: everywhere, here }
        })
        .collect()
}

struct Found<'a> {
    key: (Address, u16),
    endpoint: &'a Endpoint,
    local: bool,
    weight: u8,
}

/// The best state that any of them has.
fn best<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> EndpointState {
    endpoints.map(|e| e.state).max().unwrap_or(EndpointState::Unavailable)
}

const fn by_state(state: EndpointState, best: EndpointState) -> Standing {
    match (state, best) {
        (EndpointState::Unavailable, _) => Standing::NotReady,
        (EndpointState::ServingTerminating, EndpointState::Ready) => Standing::Terminating,
        (EndpointState::ServingTerminating, _) => Standing::LastResort,
        (EndpointState::Ready, _) => Standing::Serves,
    }
}

/// What the whole of the endpoints says about one of them.
struct Cluster<'a> {
    best: EndpointState,
    hints: Respect,
    node: &'a Node,
}

/// Which hints are respected: only such as every ready endpoint has, and only where one of them is meant for us; else an
/// endpoint without a hint would serve nobody, or a zone would have none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Respect {
    Nodes,
    Zones,
    None,
}

impl<'a> Cluster<'a> {
    fn new<'e>(endpoints: impl Iterator<Item = &'e Endpoint> + Clone, node: &'a Node) -> Self {
        let mut ready = endpoints.clone().filter(|e| e.state == EndpointState::Ready).peekable();
        let any = ready.peek().is_some();
        let (mut all_nodes, mut all_zones, mut our_node, mut our_zone) = (any, any, false, false);
        for endpoint in ready {
            all_nodes &= !endpoint.hints.nodes.is_empty();
            all_zones &= !endpoint.hints.zones.is_empty();
            our_node |= for_node(endpoint, node);
            our_zone |= for_zone(endpoint, node);
        }
        let hints = match (all_nodes && our_node, all_zones && our_zone) {
            (true, _) => Respect::Nodes,
            (false, true) => Respect::Zones,
            (false, false) => Respect::None,
        };
        Self { best: best(endpoints), hints, node }
    }

    fn standing(&self, endpoint: &Endpoint) -> Standing {
        match (by_state(endpoint.state, self.best), self.hints) {
            (Standing::Serves, Respect::Nodes) if !for_node(endpoint, self.node) => Standing::OtherNode,
            (Standing::Serves, Respect::Zones) if !for_zone(endpoint, self.node) => Standing::OtherZone,
            (standing, _) => standing,
        }
    }
}

fn for_node(endpoint: &Endpoint, node: &Node) -> bool {
    endpoint.hints.nodes.contains(&node.name)
}

fn for_zone(endpoint: &Endpoint, node: &Node) -> bool {
    node.zone.as_ref().is_some_and(|zone| endpoint.hints.zones.contains(zone))
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
