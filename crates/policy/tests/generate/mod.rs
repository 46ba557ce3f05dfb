//! A small world with something of everything in it, and policies and packets for it.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod coverage;
pub mod ends;

use datapath_layouts::identity::NODE_OF_API_SERVER;
use ipnet::IpNet;
use policy::reference::Packet;
use policy::rule::{
    Action, Dialect, Direction, Entity, Origin, Peer, Peers, PerDirection, Policy, PortMatch, PortSet, Ports, Priority,
    Rule, Scope, Subject, Tier, Transport,
};
use policy::selector::{Labels, NAMESPACE, NAMESPACE_LABELS, Selector, Test};
use policy::subject::{IdentityFacts, Kind, NamedPort, NodeFacts};
use proptest::prelude::*;
use proptest::sample::select;
use std::net::IpAddr;

/// Identities of Pods: number, namespace, app, tier.
const PODS: [(u32, &str, &str, &str); 9] = [
    (300, "shop", "web", "front"),
    (301, "shop", "db", "back"),
    (302, "shop", "api", "front"),
    (303, "lab", "web", "front"),
    (304, "lab", "db", "back"),
    (305, "lab", "db", "front"),
    (306, "tools", "scan", "back"),
    (307, "tools", "web", "back"),
    (308, "shop", "web", "back"),
];
/// A Pod of another cluster.
pub const REMOTE_POD: u32 = 70_000;
/// Nobody knows it.
pub const UNKNOWN: u32 = 4711;

pub fn pod(number: u32, namespace: &str, app: &str, tier: &str) -> IdentityFacts {
    let env = format!("{NAMESPACE_LABELS}env");
    let env_of = if namespace == "shop" { "prod" } else { "test" };
    let labels: Labels =
        [(NAMESPACE, namespace), (env.as_str(), env_of), ("k8s:app", app), ("k8s:tier", tier)].into_iter().collect();
    let named = |name: &str, protocol, port| NamedPort { name: name.into(), protocol, port };
    let named_ports = match app {
        "web" => vec![named("http", 6, 8080), named("dns", 17, 53)],
        "db" => vec![named("http", 6, 80), named("sip", 132, 5060)],
        "api" => vec![named("http", 6, 443), named("http", 17, 443)],
        _ => Vec::new(),
    };
    IdentityFacts { number, labels, namespace: Some(namespace.into()), kind: Kind::Pod, named_ports }
}

/// Every identity that can be known.
pub fn everybody() -> Vec<IdentityFacts> {
    let numbers = (0..20).chain([NODE_OF_API_SERVER]);
    let mut all: Vec<IdentityFacts> = numbers.filter_map(IdentityFacts::reserved).collect();
    let host = all.iter_mut().find(|facts| facts.kind == Kind::Host).unwrap();
    host.labels = host.labels.iter().chain([("k8s:zone", "a"), ("reserved:kube-apiserver", "")]).collect();
    all.extend(PODS.map(|(number, namespace, app, tier)| pod(number, namespace, app, tier)));
    all.push(IdentityFacts { number: REMOTE_POD, kind: Kind::RemotePod, ..pod(0, "shop", "web", "front") });
    all
}

/// Whoever can be judged.
pub const SUBJECTS: [u32; 6] = [300, 301, 303, 306, 308, 1];

pub fn nodes() -> Vec<NodeFacts> {
    let node = |name: &str, zone: &str, addresses: [&str; 2]| NodeFacts {
        name: name.into(),
        labels: [("k8s:zone", zone)].into_iter().collect(),
        addresses: addresses.map(|a| a.parse().unwrap()).to_vec(),
    };
    vec![node("one", "a", ["172.18.0.2", "fc00::2"]), node("two", "b", ["172.18.0.3", "fc00::3"])]
}

pub fn selector() -> impl Strategy<Value = Selector> {
    let list = |values: &[&str]| values.iter().map(|v| Box::from(*v)).collect::<Vec<Box<str>>>();
    let one = prop_oneof![
        select(vec!["web", "db", "api", "scan"]).prop_map(|app| ("k8s:app", Test::In(vec![app.into()]))),
        select(vec!["front", "back"]).prop_map(|tier| ("any:tier", Test::In(vec![tier.into()]))),
        select(vec!["shop", "lab", "tools"]).prop_map(|ns| (NAMESPACE, Test::In(vec![ns.into()]))),
        Just((NAMESPACE, Test::Exists)),
        Just(("k8s:app", Test::NotIn(list(&["web", "scan"])))),
        Just((NAMESPACE, Test::NotIn(list(&["lab"])))),
        Just(("k8s:app", Test::In(list(&["web", "db"])))),
        Just(("k8s:app", Test::DoesNotExist)),
        Just(("k8s:io.cilium.k8s.namespace.labels.env", Test::In(list(&["prod"])))),
        Just(("k8s:io.cilium.k8s.namespace.labels.env", Test::NotIn(list(&["prod"])))),
        Just(("reserved:kube-apiserver", Test::Exists)),
        Just(("k8s:zone", Test::In(list(&["a"])))),
    ];
    prop::collection::vec(one, 0..3)
        .prop_map(|all| all.into_iter().fold(Selector::default(), |selector, (key, test)| selector.and(key, test)))
}

fn entity() -> impl Strategy<Value = Entity> {
    use Entity::*;
    select(vec![
        All,
        World,
        WorldIpv4,
        WorldIpv6,
        Cluster,
        Host,
        Init,
        Ingress,
        Unmanaged,
        RemoteNode,
        Health,
        None,
        KubeApiserver,
    ])
}

fn cidr() -> impl Strategy<Value = Peer> {
    let nets = vec![
        ("10.0.0.0/8", vec![]),
        ("10.0.0.0/8", vec!["10.244.1.0/24"]),
        ("10.244.1.0/24", vec!["10.244.1.8/29", "10.244.1.3/32"]),
        ("10.244.2.0/24", vec![]),
        ("203.0.113.0/24", vec![]),
        ("203.0.113.0/24", vec!["203.0.113.2/32"]),
        ("203.0.113.2/32", vec![]),
        ("0.0.0.0/0", vec![]),
        ("0.0.0.0/0", vec!["10.0.0.0/8", "172.16.0.0/12"]),
        ("172.18.0.0/16", vec![]),
        ("::/0", vec![]),
        ("::/0", vec!["fd00::/8"]),
        ("fd00:10:244::/48", vec![]),
        ("2001:db8::/32", vec!["2001:db8:113::2/128"]),
    ];
    (select(nets), select(vec![Scope::Outside, Scope::Everyone])).prop_map(|((net, except), scope)| {
        let except = except.iter().map(|e| e.parse::<IpNet>().unwrap()).collect();
        Peer::Cidr { net: net.parse().unwrap(), except, scope }
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        4 => selector().prop_map(Peer::Endpoints),
        1 => selector().prop_map(Peer::OtherEndpoints),
        2 => entity().prop_map(Peer::Entity),
        4 => cidr(),
        1 => selector().prop_map(Peer::Nodes),
        1 => Just(Peer::Nodes(Selector::label("k8s:zone", "a"))),
    ]
}

fn port() -> impl Strategy<Value = PortMatch> {
    let transport = select(vec![Transport::Tcp, Transport::Tcp, Transport::Udp, Transport::Sctp, Transport::Any]);
    let set = prop_oneof![
        1 => Just(PortSet::All),
        4 => select(PORTS.to_vec()).prop_map(|port| PortSet::Range(port, port)),
        3 => select(vec![(1, 1023), (80, 81), (1000, 9000), (8080, 8089), (0, u16::MAX), (60000, u16::MAX)])
            .prop_map(|(first, last)| PortSet::Range(first, last)),
        2 => select(vec!["http", "dns", "sip", "none"]).prop_map(|name| PortSet::Named(name.into())),
    ];
    prop_oneof![
        8 => (transport, set).prop_map(|(transport, set)| PortMatch::Port(transport, set)),
        1 => select(vec![1, 6, 47, 58]).prop_map(PortMatch::Protocol),
        1 => (any::<bool>(), select(vec![0, 8, 128])).prop_map(|(v6, kind)| PortMatch::Icmp { v6, kind }),
    ]
}

pub const PORTS: [u16; 8] = [53, 80, 443, 5060, 8080, 8085, 9001, 65535];

fn rule() -> impl Strategy<Value = Rule> {
    let priority = (0u16..3).prop_map(|n| Priority::new(n * 500).unwrap());
    let tier = prop_oneof![
        1 => Just(Tier::Failsafe),
        6 => priority.clone().prop_map(Tier::Admin),
        14 => Just(Tier::Normal),
        5 => priority.prop_map(Tier::Baseline),
    ];
    let action = select(vec![Action::Allow, Action::Allow, Action::Deny, Action::Pass]);
    let peers = prop_oneof![
        1 => Just(Peers::Any),
        5 => prop::collection::vec(peer(), 0..3).prop_map(Peers::OneOf),
    ];
    let ports = prop_oneof![
        2 => Just(Ports::Any),
        5 => prop::collection::vec(port(), 0..4).prop_map(Ports::OneOf),
    ];
    let direction = select(vec![Direction::Ingress, Direction::Egress]);
    (direction, tier, 0u16..3, action, peers, ports).prop_map(|(direction, tier, order, action, peers, ports)| {
        let action = match (tier, action) {
            (Tier::Failsafe, _) | (Tier::Normal, Action::Pass) => Action::Allow,
            (_, action) => action,
        };
        Rule { direction, tier, order, action, peers, ports, field: "".into() }
    })
}

/// A policy by this name.
pub fn policy(name: usize) -> impl Strategy<Value = Policy> {
    let subject = prop_oneof![
        6 => selector().prop_map(Subject::Endpoints),
        2 => Just(Subject::Endpoints(Selector::default())),
        1 => selector().prop_map(Subject::Nodes),
        1 => Just(Subject::Nodes(Selector::default())),
    ];
    let rules = prop::collection::vec(rule(), 0..5);
    let deny = (prop::bool::weighted(0.4), prop::bool::weighted(0.4));
    (subject, deny, rules, prop::bool::weighted(0.1)).prop_map(move |(subject, (ingress, egress), mut rules, audit)| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.field = format!("rules[{at}]").into();
        }
        let name = format!("p{name}");
        let origin = Origin {
            dialect: Dialect::Kubernetes,
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            uid: name.as_str().into(),
            name: name.into(),
            part: 0,
        };
        let default_deny = PerDirection { ingress, egress };
        Policy { origin, subject, default_deny, rules, audit, log: None, gaps: Vec::new() }
    })
}

/// A policy by this name, about every Pod and enforced: two of them in a row meet in every packet.
pub fn policy_for_all(name: usize) -> impl Strategy<Value = Policy> {
    policy(name).prop_map(|policy| Policy { subject: Subject::Endpoints(Selector::default()), audit: false, ..policy })
}

/// Up to five policies.
pub fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let some = (0usize..6).prop_flat_map(|count| (0..count).map(policy).collect::<Vec<_>>());
    some.boxed()
}

/// Identity and address of a peer, as the datapath would find them.
fn place() -> impl Strategy<Value = (u32, IpAddr)> {
    let pods = || select(vec!["10.244.1.3", "10.244.1.9", "10.244.1.20", "10.244.2.7", "fd00:10:244:1::9"]);
    let world = || select(vec!["203.0.113.2", "203.0.113.9", "10.9.9.9", "8.8.8.8", "2001:db8:113::2", "2001:db8::7"]);
    let node = || select(vec!["172.18.0.2", "172.18.0.3", "fc00::2", "fc00::3"]);
    prop_oneof![
        10 => (select(PODS.map(|pod| pod.0).to_vec()), pods()),
        5 => (select(vec![UNKNOWN, REMOTE_POD, 3, 4, 5, 8]), pods()),
        1 => (Just(UNKNOWN), world()),
        4 => (Just(2u32), world()),
        1 => (Just(7u32), world()),
        3 => (select(vec![1u32, 6, NODE_OF_API_SERVER]), node()),
    ]
    .prop_map(|(identity, address)| (identity, address.parse().unwrap()))
}

pub fn packet() -> impl Strategy<Value = Packet> {
    let spoken = prop_oneof![
        6 => (Just(6u8), select(PORTS.to_vec())),
        4 => (Just(17u8), select(PORTS.to_vec())),
        2 => (Just(132u8), select(PORTS.to_vec())),
        1 => (select(vec![1u8, 58]), select(vec![0u16, 8, 128])),
        1 => (Just(47u8), Just(0u16)),
    ];
    let direction = select(vec![Direction::Ingress, Direction::Egress]);
    (direction, select(SUBJECTS.to_vec()), place(), spoken).prop_map(
        |(direction, subject, (peer, address), (protocol, port))| Packet {
            direction,
            subject,
            peer,
            address,
            protocol,
            port,
        },
    )
}
