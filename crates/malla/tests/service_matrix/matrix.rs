//! The matrix. Pairs of axes would do; the whole product costs a few seconds more, so that is what is asked, and that
//! every pair is in it is checked all the same.

use std::collections::BTreeMap;

use crate::{
    api::{Api, SERVICES, SLICES},
    clients::{Clients, Probe},
    cluster::{Cluster, From, text},
    manifests,
    maps::Kernel,
    model::{
        BALANCER_ENTRY, Client, EXTERNAL_ENTRY, Entry, Kind, NODE_ADDRESSES, Path, Policy, Ranges, SERVERS, Service,
        Slices, State,
    },
    pairs::{Cell, uncovered},
};

/// Endpoints are on worker-1 and worker-2.
const ENDPOINTS: [usize; 2] = [1, 3];

/// Who asks, as the table names them; Pods with the socket hook, and without.
pub const POSITIONS: [(&str, Client); 5] = [
    ("Pod beside an endpoint", Client::Socket(1)),
    ("Pod of another node", Client::Socket(0)),
    ("process beside an endpoint", Client::Process(1)),
    ("process of another node", Client::Process(0)),
    ("outside", Client::Outside),
];
pub const ROWS: [(&str, Entry); 6] = [
    ("ClusterIP", Entry::ClusterIp),
    ("NodePort of an endpoint's node", Entry::NodePort(1)),
    ("NodePort of another node", Entry::NodePort(0)),
    ("load balancer's address, led to an endpoint's node", Entry::Balancer),
    ("external IP, led to another node", Entry::External),
    ("a port that the Service has not", Entry::Unused),
];
const AXES: [(&str, &[&str]); 7] = [
    ("routing", &["vxlan", "native"]),
    ("socket hook", &["on", "off"]),
    ("policy", &["Cluster", "Local"]),
    ("family", &["IPv4", "IPv6"]),
    ("protocol", &["TCP", "UDP"]),
    ("client", &[POSITIONS[0].0, POSITIONS[1].0, POSITIONS[2].0, POSITIONS[3].0, POSITIONS[4].0]),
    ("address", &[ROWS[0].0, ROWS[1].0, ROWS[2].0, ROWS[3].0, ROWS[4].0, ROWS[5].0]),
];

/// A Service with every kind of address. Both of its policies are this one.
pub fn service(policy: Policy) -> Service {
    Service {
        slot: usize::from(policy == Policy::Local),
        kind: Kind::LoadBalancer,
        families: [true, true],
        port: 80,
        internal: policy,
        external: policy,
        affinity: false,
        algorithm: None,
        external_ip: true,
        ranges: Ranges::Everybody,
        endpoints: BTreeMap::from(ENDPOINTS.map(|server| (server, State::Ready))),
        slices: Slices::ByHand,
    }
}

/// All cells of one routing mode, with the way to ask for each.
fn cells(routing: &'static str) -> Vec<(Cell<'static>, Service, Path)> {
    let mut all = Vec::new();
    for policy in [Policy::Cluster, Policy::Local] {
        for (position, with_hook) in POSITIONS {
            for (row, entry) in ROWS {
                if impossible(position, row) {
                    continue;
                }
                let without = match with_hook {
                    Client::Socket(node) => Some(("off", Client::Packet(node))),
                    // What comes from outside meets no socket hook of ours.
                    Client::Outside => Some(("off", Client::Outside)),
                    _ => None,
                };
                let with = (with_hook != Client::Outside).then_some(("on", with_hook));
                for (hook, client) in with.into_iter().chain(without) {
                    for family in 0..2 {
                        for datagram in [false, true] {
                            let policy_name = if policy == Policy::Cluster { "Cluster" } else { "Local" };
                            let (family_name, protocol) = (AXES[3].1[family], AXES[4].1[usize::from(datagram)]);
                            let cell = vec![routing, hook, policy_name, family_name, protocol, position, row];
                            all.push((cell, service(policy), Path { client, entry, family, datagram }));
                        }
                    }
                }
            }
        }
    }
    all
}

/// The fabric has no way to ClusterIPs; a process of a node has no network of its own that a service's address could cross
/// untranslated; and outside there is no hook.
fn impossible(one: &str, other: &str) -> bool {
    let outside = |value: &str| value == POSITIONS[4].0;
    let process = |value: &str| value == POSITIONS[2].0 || value == POSITIONS[3].0;
    let inner = |value: &str| value == ROWS[0].0 || value == ROWS[5].0;
    (outside(one) && inner(other)) || (one == "on" && outside(other)) || (one == "off" && process(other))
}

#[test]
fn every_pair_is_covered() {
    let all: Vec<Cell<'_>> = AXES[0].1.iter().flat_map(|routing| cells(routing)).map(|(cell, _, _)| cell).collect();
    assert_eq!(uncovered(&AXES, &all, impossible), Vec::<String>::new());
}

#[test]
fn over_vxlan() {
    every_cell("vxlan");
}

#[test]
fn routed_natively() {
    every_cell("native");
}

fn every_cell(routing: &'static str) {
    let cluster = Cluster::up(&["--routing", routing]);
    cluster.apply(include_str!("../chaos/pods.yaml"));
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s"]);
    lead_to_nodes(&cluster);
    let api = Api::of(&cluster);
    let clients = Clients::new(&cluster);
    let addresses: Vec<_> = SERVERS[..5].iter().map(|(pod, _)| cluster.pod_addresses(pod)).collect();
    for policy in [Policy::Cluster, Policy::Local] {
        let service = service(policy);
        api.apply(SERVICES, &service.name(), &manifests::service(&service));
        api.write_status(SERVICES, &service.name(), &manifests::status(&service));
        for (name, slice) in manifests::slices(&service, &addresses) {
            api.apply(SLICES, &name, &slice);
        }
    }
    Kernel::of(&cluster).settle(&api, 1, &addresses[0][0]);
    let all = cells(routing);
    let probes: Vec<Probe> = all.iter().map(|(_, service, path)| Probe::new(service, *path)).collect();
    let wrong = clients.compare(&probes);
    assert!(wrong.is_empty(), "{routing}: of {} cells these are wrong:\n{}", all.len(), wrong.join("\n"));
    println!("{routing}: {} cells", all.len());
}

/// Nobody announces the addresses that the test gives: the fabric gets routes, as a router in front of the nodes has them.
pub fn lead_to_nodes(cluster: &Cluster) {
    for (prefixes, node) in [
        (["192.0.2.0/24", "2001:db8:2::/64"], BALANCER_ENTRY),
        (["198.51.100.0/24", "2001:db8:51::/64"], EXTERNAL_ENTRY),
    ] {
        for (prefix, via) in prefixes.iter().zip(NODE_ADDRESSES[node]) {
            let arguments = ["route", "add", prefix, "via", via];
            let output = cluster.command(From::Node("fabric"), "/usr/sbin/ip".as_ref(), &arguments).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
    }
}
