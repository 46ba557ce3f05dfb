//! Flows between everybody of the small world: Pods on nodes, nodes, and who is outside; and what the slow judge says of them.

use super::{PORTS, everybody, nodes};
use ipnet::IpNet;
use policy::failsafe::Failsafe;
use policy::matrix::{Cell, NOTHING};
use policy::reach::prefixes;
use policy::reference::{Packet, World, judge};
use policy::rule::{Direction, Policy};
use policy::snapshot::{PodFacts, Snapshot};
use policy::subject::{IdentityFacts, Kind, NodeFacts};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use std::net::IpAddr;

const ADDRESSES: [&str; 9] = [
    "10.244.1.3",
    "10.244.1.9",
    "10.244.1.20",
    "10.244.2.7",
    "10.244.2.8",
    "10.9.9.9",
    "10.244.1.10",
    "10.244.1.200",
    "10.244.2.70",
];
/// The API server runs on node one, and once more outside.
const API_SERVERS: [&str; 2] = ["172.18.0.2", "203.0.113.250"];
/// Nobody of the cluster has these; the last one is an API server.
const OUTSIDE: [[&str; 2]; 5] = [
    ["203.0.113.2", "2001:db8:113::2"],
    ["203.0.113.9", "2001:db8:113::9"],
    ["8.8.8.8", "2001:4860::8"],
    ["10.99.0.1", "fd00:99::1"],
    ["203.0.113.250", "2001:db8::250"],
];
const PODS: usize = ADDRESSES.len();
const NODES: usize = 4;
/// How many ends there are.
pub const ENDS: usize = PODS + NODES + OUTSIDE.len();

/// Nine Pods on three of four nodes. No policy shuts the nodes' failsafe ports.
pub fn snapshot(mut policies: Vec<Policy>) -> Snapshot {
    policies.push(Failsafe::default().policy());
    let identities = everybody();
    let node = |name: &str, zone: &str, addresses: &[&str]| NodeFacts {
        name: name.into(),
        labels: [("k8s:zone", zone)].into_iter().collect(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    };
    let mut nodes = nodes();
    nodes.push(node("three", "b", &["172.18.0.4", "fc00::4"]));
    nodes.push(node("four", "a", &["198.51.100.4"]));
    let pods: Vec<PodFacts> = identities
        .iter()
        .filter(|facts| facts.kind == Kind::Pod)
        .zip(ADDRESSES)
        .enumerate()
        .map(|(place, (facts, address))| PodFacts {
            namespace: facts.namespace.clone().unwrap(),
            name: format!("pod-{}", facts.number).into(),
            identity: facts.number,
            addresses: vec![address.parse().unwrap(), format!("fd00:10:244::{}", facts.number).parse().unwrap()],
            node: Some(nodes[place % 3].name.clone()),
        })
        .collect();
    let api_servers = API_SERVERS.map(|address| address.parse().unwrap()).to_vec();
    Snapshot { node: "one".into(), policies, identities, nodes, pods, api_servers, ..Snapshot::default() }
}

/// Who sends what to whom, by their places.
#[derive(Clone, Debug)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    pub v4: bool,
    pub protocol: u8,
    pub port: u16,
}

pub fn flow() -> impl Strategy<Value = Flow> {
    let spoken = any::<bool>().prop_flat_map(|v4| {
        let icmp = if v4 { 1u8 } else { 58 };
        // Some are failsafe ports.
        let ports = prop_oneof![6 => select(PORTS.to_vec()), 1 => select(vec![22u16, 6443, 8472]), 6 => any::<u16>()];
        let spoken = prop_oneof![
            6 => (select(vec![6u8, 17, 132]), ports),
            1 => (Just(icmp), select(vec![0u16, 8, 128])),
            1 => (select(vec![47u8, 99]), Just(0u16)),
        ];
        (Just(v4), spoken)
    });
    let is_judged = |end: usize| end < PODS + NODES;
    let flow = (0..ENDS, 0..ENDS, spoken);
    let flow = flow.prop_map(|(from, to, (v4, (protocol, port)))| Flow { from, to, v4, protocol, port });
    flow.prop_filter("nobody judges it", move |flow| {
        flow.from != flow.to && (is_judged(flow.from) || is_judged(flow.to))
    })
}

/// What an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Pod,
    Node,
    Outside,
}

pub fn what(end: usize) -> What {
    match end {
        end if end < PODS => What::Pod,
        end if end < PODS + NODES => What::Node,
        _ => What::Outside,
    }
}

/// Its address in a family, if it has one.
pub fn address(snapshot: &Snapshot, end: usize, v4: bool) -> Option<IpAddr> {
    let of = |all: &[IpAddr]| all.iter().find(|address| address.is_ipv4() == v4).copied();
    match what(end) {
        What::Pod => of(&snapshot.pods[end].addresses),
        What::Node => of(&snapshot.nodes[end - PODS].addresses),
        What::Outside => OUTSIDE[end - PODS - NODES][usize::from(!v4)].parse().ok(),
    }
}

/// A Pod and its own node.
pub fn is_own(snapshot: &Snapshot, flow: &Flow) -> bool {
    let node_of = |end: usize| match what(end) {
        What::Pod => snapshot.pods[end].node.clone(),
        What::Node => Some(snapshot.nodes[end - PODS].name.clone()),
        What::Outside => None,
    };
    let kinds = BTreeSet::from([what(flow.from), what(flow.to)]);
    kinds == BTreeSet::from([What::Pod, What::Node]) && node_of(flow.from) == node_of(flow.to)
}

fn reserved(labels: &[&str], kind: Kind, number: u32) -> IdentityFacts {
    let labels = labels.iter().map(|label| (format!("reserved:{label}"), "")).collect();
    IdentityFacts { number, labels, namespace: None, kind, named_ports: Vec::new() }
}

/// An end where it judges: Pods and nodes do.
fn itself(snapshot: &Snapshot, end: usize) -> Option<IdentityFacts> {
    match what(end) {
        What::Pod => snapshot.identity(snapshot.pods[end].identity).cloned(),
        What::Node => {
            let mut facts = reserved(if end == PODS { &["host", "kube-apiserver"] } else { &["host"] }, Kind::Host, 1);
            facts.labels = facts.labels.iter().chain(snapshot.nodes[end - PODS].labels.iter()).collect();
            Some(facts)
        }
        What::Outside => None,
    }
}

/// An end as the other one sees it.
fn seen(snapshot: &Snapshot, end: usize, own: bool, v4: bool) -> IdentityFacts {
    match what(end) {
        What::Node if !own && end == PODS => reserved(&["remote-node", "kube-apiserver"], Kind::RemoteNode, 6),
        What::Node if !own => reserved(&["remote-node"], Kind::RemoteNode, 6),
        What::Pod | What::Node => itself(snapshot, end).unwrap(),
        What::Outside if v4 && end == ENDS - 1 => reserved(&["kube-apiserver"], Kind::ApiServer, 7),
        What::Outside if v4 => reserved(&["world", "world-ipv4"], Kind::WorldIpv4, 9),
        What::Outside => reserved(&["world", "world-ipv6"], Kind::WorldIpv6, 10),
    }
}

/// What the slow judge says, at both ends; `None` where they have no address of this family.
pub fn is_allowed(snapshot: &Snapshot, policies: &[Policy], flow: &Flow) -> Option<bool> {
    let own = is_own(snapshot, flow);
    let at = |direction, here: usize, there: usize| {
        address(snapshot, here, flow.v4)?;
        let address = address(snapshot, there, flow.v4)?;
        let Some(subject) = itself(snapshot, here) else { return Some(true) };
        let peer = seen(snapshot, there, own, flow.v4);
        let packet = Packet {
            direction,
            subject: subject.number,
            peer: peer.number,
            address,
            protocol: flow.protocol,
            port: flow.port,
        };
        let world = World { policies, identities: &[subject, peer], nodes: &snapshot.nodes };
        Some(judge(&world, &packet, false).allowed)
    };
    let (egress, ingress) = (at(Direction::Egress, flow.from, flow.to)?, at(Direction::Ingress, flow.to, flow.from)?);
    Some(egress && ingress)
}

/// What is told of two groups.
pub struct Told<'a> {
    pub names: [&'a str; 2],
    pub pods: [&'a [String]; 2],
    pub nodes: [&'a [String]; 2],
    pub families: &'a [String],
}

impl<'a> Told<'a> {
    pub fn cell(cell: &'a Cell) -> Self {
        Self {
            names: [&cell.from, &cell.to],
            pods: [&cell.from_pods, &cell.to_pods],
            nodes: [&cell.from_nodes, &cell.to_nodes],
            families: &cell.families,
        }
    }

    /// Whether these are the groups of the flow's ends; `nets`: every prefix that is named.
    pub fn is_about(&self, snapshot: &Snapshot, nets: &BTreeSet<IpNet>, flow: &Flow) -> bool {
        let own = is_own(snapshot, flow);
        let is_end = |side: usize, end: usize| match what(end) {
            What::Pod => {
                let pod = &snapshot.pods[end];
                self.pods[side].contains(&format!("{}/{}", pod.namespace, pod.name))
            }
            What::Node => {
                let name = self.names[side];
                let is_mine = self.nodes[side].iter().any(|name| **name == *snapshot.nodes[end - PODS].name);
                is_mine && name.starts_with("its own node") == own && (!own || name.contains("(host"))
            }
            What::Outside => {
                let address = address(snapshot, end, flow.v4).unwrap();
                let longest = nets.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
                let family = if flow.v4 { "IPv4" } else { "IPv6" };
                let world = longest.map_or_else(|| format!("world {family}"), |net| format!("world {net}"));
                let is_api_server = snapshot.api_servers.contains(&address);
                self.names[side] == if is_api_server { format!("kube-apiserver {address}") } else { world }
            }
        };
        let family = if flow.v4 { "IPv4" } else { "IPv6" };
        self.families.iter().any(|one| one == family) && is_end(0, flow.from) && is_end(1, flow.to)
    }
}

/// Every prefix that some of these policies name.
pub fn named(policies: &[&[Policy]]) -> BTreeSet<IpNet> {
    prefixes(policies.iter().copied().flatten())
}

/// Whether a text like `tcp/80-90 udp icmp/8 protocol 47` means the flow.
pub fn means(text: &str, flow: &Flow) -> bool {
    if text == "everything" {
        return true;
    }
    if text == NOTHING {
        return false;
    }
    let text = text.replace("other protocols", "others").replace("protocol ", "protocol/");
    let named: BTreeSet<u8> = text.split(' ').filter_map(|one| one.strip_prefix("protocol/")?.parse().ok()).collect();
    text.split(' ').any(|one| {
        let (name, ports) = one.split_once('/').map_or((one, None), |(name, ports)| (name, Some(ports)));
        let number = match name {
            "tcp" => 6,
            "udp" => 17,
            "sctp" => 132,
            "icmp" => 1,
            "icmpv6" => 58,
            "protocol" => return ports.unwrap().parse() == Ok(flow.protocol),
            // Those that some rule names are told apart, and stand for themselves.
            "others" => {
                return ![6, 17, 132, 1, 58].contains(&flow.protocol)
                    && flow.protocol != 47
                    && !named.contains(&flow.protocol);
            }
            other => panic!("{other} in {text}"),
        };
        let in_range = |ports: &str| {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            first.parse::<u16>().unwrap() <= flow.port && flow.port <= last.parse::<u16>().unwrap()
        };
        number == flow.protocol && ports.is_none_or(in_range)
    })
}
