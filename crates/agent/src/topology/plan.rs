//! Nodes and the node's own network → desired entries. Pure.

use crate::facts::{Device, Facts};
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::route::FLAG_TUNNEL;
use datapath_layouts::{Address, AddressKey, Endpoint, PrefixKey, Route, RouteKind, Routing, identity};
use ipnet::IpNet;
use model::{Family, Node};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// This node.
    pub own: &'a Node,
    /// Every node; this one may be among them.
    pub nodes: &'a [&'a Node],
    /// The node's own network.
    pub facts: &'a Facts,
    /// Ranges of Service addresses.
    pub service_ranges: &'a [IpNet],
    /// How Pods of other nodes are reached.
    pub routing: Routing,
    /// Addresses of API servers.
    pub api_servers: &'a BTreeSet<IpAddr>,
    /// Whether these are all nodes there are: before, an API server may be on one that is not known yet.
    pub all_nodes: bool,
    /// Policy of the own node; 0 = none.
    pub policy: u32,
}

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Of the map `ipcache`.
    pub ipcache: HashMap<PrefixKey, Route>,
    /// Of the map `endpoints`: the node's own addresses.
    pub host_endpoints: HashMap<AddressKey, Endpoint>,
    /// Routes of the host's own stack towards Pods of other nodes.
    pub host_routes: BTreeMap<IpNet, HostRoute>,
}

/// A route of the host's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRoute {
    /// Device it leaves through.
    pub interface: u32,
    /// Next hop; none in the overlay.
    pub gateway: Option<IpAddr>,
    /// Source that the host uses.
    pub source: Option<IpAddr>,
}

/// What should be, from nodes and the own network.
///
/// Of two nodes that claim the same range, the one whose name comes first has it: both agents decide alike.
#[must_use]
pub fn desired(input: Input<'_>) -> Desired {
    let Input { own, facts, .. } = input;
    let mut out = Desired::default();
    let world = |next_hop: Option<IpAddr>| Route {
        next_hop: next_hop.map_or(Address::ZERO, Address::from_ip),
        identity: identity::WORLD,
        ifindex: facts.network.index,
        mtu: facts.network.mtu,
        kind: RouteKind::World as u8,
        ..Route::ZERO
    };
    for &gateway in &facts.gateways {
        let any: IpAddr = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        out.ipcache.insert(PrefixKey::from_ip(any, 0), world(Some(gateway)));
    }
    for prefix in &facts.addresses {
        out.ipcache.insert(key(prefix), world(None));
        let endpoint =
            Endpoint { identity: identity::HOST, policy_id: input.policy, flags: FLAG_HOST, ..Endpoint::ZERO };
        out.host_endpoints.insert(AddressKey::local(Address::from_ip(prefix.addr())), endpoint);
    }
    for range in input.service_ranges {
        out.ipcache
            .insert(key(range), Route { kind: RouteKind::Services as u8, identity: identity::WORLD, ..Route::ZERO });
    }
    let mut others: Vec<&Node> = input.nodes.iter().copied().filter(|n| n.name != own.name).collect();
    others.sort_unstable_by(|a, b| b.name.cmp(&a.name));
    for node in others {
        remote_node(input, node, &mut out);
    }
    for range in &own.pod_ranges {
        let route = Route { kind: RouteKind::LocalPods as u8, identity: identity::UNMANAGED, ..Route::ZERO };
        out.ipcache.insert(key(range), route);
        out.host_routes.remove(&range.trunc());
    }
    if input.all_nodes {
        api_servers(input, &mut out);
    }
    out
}

/// Where an API server is and no node of the cluster, there it is by itself: the way there stays what it is.
fn api_servers(input: Input<'_>, out: &mut Desired) {
    for &address in input.api_servers {
        let exact = PrefixKey::from_ip(address, Family::of(address).bits());
        if out.host_endpoints.contains_key(&AddressKey::local(Address::from_ip(address))) {
            continue;
        }
        let lengths = (0..=Family::of(address).bits()).rev();
        let prefixes = lengths.filter_map(|bits| IpNet::new(address, bits).ok());
        let around = prefixes.map(|prefix| key(&prefix.trunc())).find_map(|key| out.ipcache.get(&key));
        // A Pod, a Service, or a way that is not known is no API server.
        if let Some(route) = around.filter(|route| route.kind == RouteKind::World as u8) {
            let route = Route { identity: identity::KUBE_APISERVER, ..*route };
            out.ipcache.insert(exact, route);
        }
    }
}

fn remote_node(input: Input<'_>, node: &Node, out: &mut Desired) {
    let facts = input.facts;
    let Some(underlay) = node.underlay() else { return };
    let tunnel = Address::from_ip(underlay);
    let base = match input.routing {
        Routing::Overlay => {
            let mtu = facts.overlay_mtu(underlay);
            Route { tunnel, ifindex: facts.network.index, mtu, flags: FLAG_TUNNEL, ..Route::ZERO }
        }
        Routing::Native => Route { tunnel, ifindex: facts.network.index, mtu: facts.network.mtu, ..Route::ZERO },
    };
    let api_server = node.addresses.iter().any(|address| input.api_servers.contains(address));
    let who = if api_server { identity::NODE_OF_API_SERVER } else { identity::REMOTE_NODE };
    for &address in &node.addresses {
        let route = Route { identity: who, kind: RouteKind::RemoteNode as u8, ..base };
        out.ipcache.insert(PrefixKey::from_ip(address, Family::of(address).bits()), route);
    }
    for range in &node.pod_ranges {
        let family = Family::of(range.addr());
        let next_hop = match input.routing {
            Routing::Overlay => Address::ZERO,
            // A family in which the node has no address can't be reached natively.
            Routing::Native => node.address(family).map_or(Address::ZERO, Address::from_ip),
        };
        let ifindex = if input.routing == Routing::Native && next_hop.is_zero() { 0 } else { base.ifindex };
        let route =
            Route { identity: identity::UNMANAGED, kind: RouteKind::RemotePods as u8, next_hop, ifindex, ..base };
        out.ipcache.insert(key(range), route);
        if let Some(route) = host_route(input, node, family) {
            out.host_routes.insert(range.trunc(), route);
        }
    }
}

fn host_route(input: Input<'_>, node: &Node, family: Family) -> Option<HostRoute> {
    let source = input.own.address(family);
    let through = |device: &Device, gateway| Some(HostRoute { interface: device.index, gateway, source });
    match input.routing {
        Routing::Overlay => through(&input.facts.overlay, None),
        Routing::Native => through(&input.facts.network, Some(node.address(family)?)),
    }
}

fn key(range: &IpNet) -> PrefixKey {
    PrefixKey::from_ip(range.addr(), range.prefix_len())
}

/// Entries to write and keys to remove, to get from one table to another.
#[must_use]
pub fn difference<K: Hash + Eq + Clone, V: PartialEq + Clone>(
    desired: &HashMap<K, V>,
    observed: &HashMap<K, V>,
) -> (Vec<(K, V)>, Vec<K>) {
    let write =
        desired.iter().filter(|(k, v)| observed.get(k) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let remove = observed.keys().filter(|k| !desired.contains_key(k)).cloned().collect();
    (write, remove)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
