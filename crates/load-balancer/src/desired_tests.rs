use super::*;
use model::{Endpoint, EndpointState, Hints, Node, SlicePort};

fn node() -> Node {
    Node {
        name: "worker-1".into(),
        addresses: vec!["172.18.0.3".parse().unwrap()],
        pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
        zone: None,
        labels: Default::default(),
    }
}

fn service() -> Service {
    Service {
        cluster_addresses: vec!["10.96.244.84".parse().unwrap(), "fd00:10:96::84".parse().unwrap()],
        external_addresses: vec!["192.0.2.1".parse().unwrap()],
        families: vec![Family::V4, Family::V6],
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
        affinity: Affinity::ClientAddress { seconds: 60 },
        ..Service::new(ObjectName::new("default", "spink"))
    }
}

fn slice(endpoints: &[(&str, EndpointState, Option<&str>)]) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", "spink-1"),
        service: ObjectName::new("default", "spink"),
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints
            .iter()
            .map(|(address, state, node)| Endpoint {
                address: address.parse().unwrap(),
                state: *state,
                node: node.map(Into::into),
                zone: None,
                pod: None,
                hints: Hints::default(),
            })
            .collect(),
    }
}

fn plan(service: &Service, slices: &[EndpointSlice]) -> Wanted {
    let node = node();
    desired(service, slices.iter(), Locality { node: &node })
}

fn row(wanted: &Wanted, kind: RowKind) -> Option<Vec<(String, u8)>> {
    let row = wanted.ports[0].row(kind)?;
    Some(row.backends.iter().map(|t| (format!("{}:{}", t.address, t.port), t.flags)).collect())
}

/// Every frontend of the IPv4 half: what it is, flags, rows.
fn shown(wanted: &Wanted) -> Vec<(String, u32, RowKind, RowKind)> {
    let all = wanted.ports[0].frontends.iter();
    all.map(|f| (format!("{}:{}", f.key.address, f.key.port), f.flags, f.inside, f.outside)).collect()
}

const ONE_EACH: [(&str, EndpointState, Option<&str>); 2] =
    [("10.244.1.2", EndpointState::Ready, Some("worker-1")), ("10.244.2.2", EndpointState::Ready, Some("worker-2"))];

#[test]
fn every_address_and_the_node_port_share_a_row_per_family() {
    let all = plan(&service(), &[]);
    let shown: Vec<Vec<String>> = all
        .ports
        .iter()
        .map(|d| d.frontends.iter().map(|f| format!("{}:{}/{}", f.key.address, f.key.port, f.flags)).collect())
        .collect();
    assert_eq!(
        shown,
        [vec!["10.96.244.84:80/0", "192.0.2.1:80/32", "0.0.0.0:30080/33"], vec!["fd00:10:96::84:80/0", ":::30080/33"]]
    );
    assert!(all.ports.iter().all(|d| d.affinity_seconds == 60 && d.row(RowKind::Local).is_none()));
    assert!(all.ports.iter().all(|d| d.row(RowKind::Cluster).unwrap().backends.is_empty()));
    assert_eq!(all.addresses.len(), 3, "each is refused where no port serves it");
}

#[test]
fn direct_server_return_is_for_external_addresses_and_names_the_row_of_this_node() {
    let direct = Service { forwarding: Forwarding::Dsr, ..service() };
    let all = plan(&direct, &[slice(&ONE_EACH)]);
    let flags = FRONTEND_DSR | FRONTEND_MAGLEV_EXTERNAL;
    let both = (RowKind::Cluster, RowKind::Cluster);
    assert_eq!(
        shown(&all),
        [
            ("10.96.244.84:80".to_owned(), 0, both.0, both.1),
            ("192.0.2.1:80".to_owned(), flags, both.0, both.1),
            ("0.0.0.0:30080".to_owned(), flags | FRONTEND_NODE_PORT, both.0, both.1),
        ]
    );
    assert_eq!(row(&all, RowKind::Local), Some(vec![("10.244.1.2:8080".to_owned(), BACKEND_LOCAL)]));
    assert!(all.ports[0].row(RowKind::Local).unwrap().maglev, "an evicted flow finds its backend again");
    // Local keeps everything on this node: there is nobody to pass it on to.
    let local = Service { external_policy: TrafficPolicy::Local, ..direct };
    assert!(shown(&plan(&local, &[slice(&ONE_EACH)])).iter().all(|(_, flags, _, _)| flags & FRONTEND_DSR == 0));
}

#[test]
fn ready_endpoints_only_and_none_twice() {
    use EndpointState::{Ready, ServingTerminating, Unavailable};
    let one = slice(&[
        ("10.244.1.2", Ready, Some("worker-1")),
        ("10.244.2.2", Ready, Some("worker-2")),
        ("10.244.2.3", ServingTerminating, Some("worker-2")),
        ("10.244.2.4", Unavailable, Some("worker-2")),
    ]);
    let expect = vec![("10.244.1.2:8080".to_owned(), BACKEND_LOCAL), ("10.244.2.2:8080".to_owned(), 0)];
    assert_eq!(row(&plan(&service(), &[one.clone(), one]), RowKind::Cluster), Some(expect));
}

#[test]
fn those_that_go_away_serve_while_nobody_else_does() {
    use EndpointState::{ServingTerminating, Unavailable};
    let one = slice(&[("10.244.1.2", ServingTerminating, None), ("10.244.2.4", Unavailable, None)]);
    let expect = vec![("10.244.1.2:8080".to_owned(), BACKEND_TERMINATING | BACKEND_LOCAL)];
    assert_eq!(row(&plan(&service(), &[one]), RowKind::Cluster), Some(expect));
}

#[test]
fn the_external_policy_is_for_what_comes_from_outside_alone() {
    let service = Service { external_policy: TrafficPolicy::Local, ..service() };
    let wanted = plan(&service, &[slice(&ONE_EACH)]);
    assert_eq!(row(&wanted, RowKind::Cluster).unwrap().len(), 2);
    assert_eq!(row(&wanted, RowKind::Local), Some(vec![("10.244.1.2:8080".to_owned(), BACKEND_LOCAL)]));
    let (cluster, local) = (RowKind::Cluster, RowKind::Local);
    assert_eq!(
        shown(&wanted),
        [
            ("10.96.244.84:80".to_owned(), 0, cluster, cluster),
            ("192.0.2.1:80".to_owned(), FRONTEND_LOCAL_EXTERNAL, cluster, local),
            ("0.0.0.0:30080".to_owned(), FRONTEND_LOCAL_EXTERNAL | FRONTEND_NODE_PORT, cluster, local),
        ]
    );
}

#[test]
fn the_internal_policy_is_for_cluster_addresses_alone() {
    let service = Service { internal_policy: TrafficPolicy::Local, ..service() };
    let wanted = plan(&service, &[slice(&ONE_EACH)]);
    let (cluster, local) = (RowKind::Cluster, RowKind::Local);
    assert_eq!(
        shown(&wanted)[0],
        ("10.96.244.84:80".to_owned(), FRONTEND_LOCAL_INTERNAL | FRONTEND_LOCAL_EXTERNAL, local, local)
    );
    assert_eq!(shown(&wanted)[2].2, cluster);
}

#[test]
fn nobody_anywhere_refuses_and_somebody_elsewhere_drops() {
    let service = Service { internal_policy: TrafficPolicy::Local, ..service() };
    let flags = |slices: &[EndpointSlice]| shown(&plan(&service, slices))[0].1 & FRONTEND_LOCAL_INTERNAL;
    assert_eq!(flags(&[]), 0);
    assert_eq!(flags(&[slice(&[("10.244.2.2", EndpointState::Unavailable, Some("worker-2"))])]), 0);
    assert_eq!(flags(&[slice(&ONE_EACH[..1])]), 0, "all there are are here");
    assert_eq!(flags(&[slice(&ONE_EACH[1..])]), FRONTEND_LOCAL_INTERNAL);
    let ending = [("10.244.2.2", EndpointState::ServingTerminating, Some("worker-2"))];
    assert_eq!(flags(&[slice(&ending)]), FRONTEND_LOCAL_INTERNAL, "it still serves there");
}

#[test]
fn source_ranges_guard_the_load_balancers_addresses() {
    let service = Service {
        balancer_addresses: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
        source_ranges: vec!["203.0.113.0/24".parse().unwrap()],
        ..service()
    };
    let wanted = plan(&service, &[]);
    let guarded = |d: &Desired| {
        let guarded = d.frontends.iter().filter(|f| f.flags & FRONTEND_SOURCE_RANGES != 0);
        guarded.map(|f| f.key.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((guarded(&wanted.ports[0]), wanted.ports[0].source_ranges.len()), (vec!["192.0.2.10".to_owned()], 1));
    // Ranges of one family let nobody of the other in.
    assert_eq!((guarded(&wanted.ports[1]), wanted.ports[1].source_ranges.len()), (vec!["2001:db8::10".to_owned()], 0));
}

#[test]
fn the_algorithm_decides_about_tables() {
    let flags = |algorithm| {
        let wanted = plan(&Service { algorithm, ..service() }, &[slice(&ONE_EACH)]);
        let maglev = FRONTEND_MAGLEV | FRONTEND_MAGLEV_EXTERNAL;
        let flags: Vec<u32> = shown(&wanted).iter().map(|f| f.1 & maglev).collect();
        (flags, wanted.ports[0].row(RowKind::Cluster).unwrap().maglev)
    };
    assert_eq!(flags(Algorithm::Default), (vec![0, 32, 32], true));
    assert_eq!(flags(Algorithm::Random), (vec![0, 0, 0], false));
    assert_eq!(flags(Algorithm::Maglev), (vec![48, 48, 48], true));
}

#[test]
fn a_port_of_another_name_or_protocol_is_not_a_backend() {
    let mut other = slice(&[("10.244.1.2", EndpointState::Ready, None)]);
    other.ports[0].protocol = Protocol::Udp;
    assert_eq!(row(&plan(&service(), &[other.clone()]), RowKind::Cluster), Some(vec![]));
    other.ports[0] = SlicePort { name: "metrics".into(), protocol: Protocol::Tcp, port: 9 };
    assert_eq!(row(&plan(&service(), &[other]), RowKind::Cluster), Some(vec![]));
}

#[test]
fn sctp_is_served_where_its_port_stays_and_nothing_is_half_done() {
    let mut service = service();
    service.ports[0].protocol = Protocol::Sctp;
    service.ports[0].port = 8080;
    let mut slice = slice(&ONE_EACH);
    slice.ports[0].protocol = Protocol::Sctp;
    let wanted = plan(&service, &[slice.clone()]);
    let keys: Vec<u16> = wanted.ports[0].frontends.iter().map(|f| f.key.port).collect();
    assert_eq!(keys, [8080, 8080], "not by the NodePort");
    assert_eq!(wanted.problems.len(), 1, "{:?}", wanted.problems);
    // One endpoint of two has another port: the frontend is not there at all.
    let mut second = slice.clone();
    second.endpoints.remove(0);
    slice.endpoints.remove(1);
    second.ports[0].port = 9090;
    let wanted = plan(&service, &[slice, second]);
    assert!(wanted.ports.iter().all(|d| d.port.family == Family::V6), "{:?}", wanted.ports);
    assert!(wanted.problems.iter().any(|p| p.contains("9090")), "{:?}", wanted.problems);
}

#[test]
fn different_weights_make_every_side_choose_by_the_table() {
    let slices = [slice(&ONE_EACH)];
    let weighted = |text: &str| {
        let service = Service { weights: crate::weights::parse(text).unwrap(), ..service() };
        plan(&service, &slices)
    };
    let flags = |wanted: &Wanted| -> Vec<u32> { wanted.ports[0].frontends.iter().map(|f| f.flags).collect() };
    let both = FRONTEND_MAGLEV | FRONTEND_MAGLEV_EXTERNAL;
    let wanted = weighted("node/worker-1=3");
    assert_eq!(flags(&wanted), [both, both, both | FRONTEND_NODE_PORT]);
    let row = |wanted: &Wanted| -> Vec<(String, u8)> {
        let row = wanted.ports[0].row(RowKind::Cluster).unwrap();
        row.backends.iter().map(|t| (t.address.to_string(), t.weight)).collect()
    };
    assert_eq!(row(&wanted), [("10.244.1.2".to_owned(), 3), ("10.244.2.2".to_owned(), 1)]);
    // Nothing to weigh: as if there were no annotation, but for who has none.
    assert_eq!(flags(&weighted("*=7")), flags(&plan(&service(), &slices)));
    let drained = weighted("node/worker-1=0");
    assert_eq!(flags(&drained), flags(&plan(&service(), &slices)));
    assert_eq!(row(&drained), [("10.244.2.2".to_owned(), 1)]);
    assert!(row(&weighted("*=0")).is_empty());
}

#[test]
fn weights_of_more_endpoints_than_a_table_has_entries_are_a_problem() {
    let mut slice = slice(&[]);
    slice.endpoints = (0..=MAGLEV_SIZE as u32)
        .map(|n| Endpoint {
            address: std::net::Ipv4Addr::from(0x0af4_0000 + n).into(),
            state: EndpointState::Ready,
            node: None,
            zone: None,
            pod: None,
            hints: Hints::default(),
        })
        .collect();
    let service = Service { weights: crate::weights::parse("address/10.244.0.1=3").unwrap(), ..service() };
    let problems = plan(&service, &[slice.clone()]).problems;
    assert!(problems.len() == 1 && problems[0].contains("1022 endpoints"), "{problems:?}");
    slice.endpoints.pop();
    assert!(plan(&service, &[slice]).problems.is_empty());
}
