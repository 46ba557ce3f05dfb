use super::*;
use crate::facts::{Device, Facts};
use crate::topology;
use datapath_layouts::Routing;
use model::{Node, ObjectName};

fn node(n: u8) -> Node {
    Node {
        name: format!("worker-{n}").as_str().into(),
        addresses: vec![format!("172.18.0.{}", n + 2).parse().unwrap(), format!("fc00::{}", n + 2).parse().unwrap()],
        pod_ranges: vec![format!("10.244.{n}.0/24").parse().unwrap(), format!("fd00:10:244:{n}::/64").parse().unwrap()],
        zone: None,
        labels: Default::default(),
    }
}

fn ranges(nodes: &[Node], routing: Routing) -> Ranges {
    let device = |index| Device { name: "eth0".into(), index, mac: [2; 6], mtu: 1500 };
    let facts = Facts { network: device(2), overlay: device(3), addresses: vec![], gateways: vec![] };
    let all: Vec<&Node> = nodes.iter().collect();
    let desired = topology::desired(topology::Input {
        own: &nodes[0],
        nodes: &all,
        facts: &facts,
        service_ranges: &[],
        routing,
        api_servers: &std::collections::BTreeSet::new(),
        all_nodes: true,
        policy: 0,
    });
    Ranges::new(&desired, &nodes[0], &all)
}

fn peers() -> Peers {
    let mut peers = Peers::default();
    peers.set_ranges(ranges(&[node(1), node(2), node(3)], Routing::Overlay));
    peers.all_are_told();
    peers
}

fn pod(name: &str, identity: u32, address: &str, node: &str) -> Arc<Published> {
    Arc::new(Published {
        pod: ObjectName::new("default", name),
        identity,
        addresses: vec![address.parse().unwrap()],
        node: Some(node.parse().unwrap()),
        workload: None,
    })
}

/// Plans and does it; answers with `address identity`, or `-address`.
fn step(peers: &mut Peers, room: usize) -> Vec<String> {
    let text = |change: &Change| match change.entry {
        Some(route) => format!("{} {}", change.key.to_ip().0, route.identity),
        None => format!("-{}", change.key.to_ip().0),
    };
    let changes = peers.plan(room, true);
    changes.iter().for_each(|change| peers.done(change));
    changes.iter().map(text).collect()
}

#[test]
fn an_entry_is_its_nodes_range_with_another_identity() {
    for routing in [Routing::Overlay, Routing::Native] {
        let ranges = ranges(&[node(1), node(2)], routing);
        for (address, range) in [("10.244.2.9", "10.244.2.0/24"), ("fd00:10:244:2::9", "fd00:10:244:2::/64")] {
            let range: ipnet::IpNet = range.parse().unwrap();
            let expected = ranges.entry(range.addr(), Some("172.18.0.4".parse().unwrap()), 3).unwrap().unwrap();
            for of in ["172.18.0.4", "fc00::4"] {
                let entry = ranges.entry(address.parse().unwrap(), Some(of.parse().unwrap()), 300).unwrap().unwrap();
                assert_eq!(entry, Route { identity: 300, ..expected });
                assert_eq!(entry.kind, RouteKind::RemotePods as u8);
            }
        }
    }
}

#[test]
fn pods_come_change_and_go() {
    let mut peers = peers();
    let first = [pod("a", 300, "10.244.2.9", "172.18.0.4"), pod("b", 301, "10.244.3.9", "172.18.0.5")];
    peers.claim(&[], &first);
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 300", "10.244.3.9 301"]);
    let second = [pod("a", 302, "10.244.2.9", "172.18.0.4"), first[1].clone()];
    peers.claim(&first, &second);
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 302"], "the other is not touched");
    peers.claim(&second, &second[..1]);
    assert_eq!(step(&mut peers, 9), ["-10.244.3.9"]);
    assert_eq!((step(&mut peers, 9), peers.count()), (vec![], 1));
}

#[test]
fn a_pod_of_this_node_is_an_endpoint_and_no_peer() {
    let mut peers = peers();
    peers.claim(&[], &[pod("a", 300, "10.244.1.9", "172.18.0.3")]);
    assert_eq!((step(&mut peers, 9), peers.problems()), (vec![], vec![]));
}

#[test]
fn an_address_outside_of_its_nodes_ranges_is_refused_and_told() {
    for (address, node, why) in [
        ("10.244.3.9", "172.18.0.4", "it lies in no Pod range of node 172.18.0.4"),
        ("10.244.1.9", "172.18.0.4", "it lies in no Pod range of node 172.18.0.4"),
        ("10.244.2.9", "172.18.0.3", "it lies in no Pod range of node 172.18.0.3"),
        ("8.8.8.8", "172.18.0.4", "it lies in no Pod range of node 172.18.0.4"),
        ("172.18.0.4", "172.18.0.4", "it lies in no Pod range of node 172.18.0.4"),
        ("10.244.2.9", "172.18.0.99", "no node has the address 172.18.0.99"),
    ] {
        let mut peers = peers();
        peers.claim(&[], &[pod("liar", 300, address, node)]);
        assert_eq!(step(&mut peers, 9), [""; 0], "{address} of {node}");
        assert_eq!(peers.problems(), [format!("the address {address} of Pod default/liar is refused: {why}")]);
    }
    let mut peers = peers();
    let homeless = Arc::new(Published { node: None, ..(*pod("liar", 300, "10.244.2.9", "172.18.0.4")).clone() });
    peers.claim(&[], &[homeless]);
    assert_eq!(step(&mut peers, 9), [""; 0]);
    // Who has the right to it is not kept from it by who has not.
    peers.claim(&[], &[pod("honest", 301, "10.244.2.9", "172.18.0.4"), pod("liar", 302, "10.244.2.9", "172.18.0.5")]);
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 301"]);
    assert!(peers.problems()[0].contains("default/liar"), "{:?}", peers.problems());
}

#[test]
fn of_two_the_one_told_last_has_the_address() {
    let mut peers = peers();
    let (old, new) = (pod("old", 300, "10.244.2.9", "172.18.0.4"), pod("new", 301, "10.244.2.9", "172.18.0.4"));
    let others = [old.clone(), pod("c", 303, "10.244.2.10", "172.18.0.4")];
    peers.claim(&[], &others);
    peers.claim(&[], std::slice::from_ref(&new));
    // The old one's slice is told again, with a change of another.
    let again = [old, pod("c", 304, "10.244.2.10", "172.18.0.4")];
    peers.claim(&others, &again);
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 301", "10.244.2.10 304"]);
    peers.claim(&again, &again[1..]);
    assert_eq!(step(&mut peers, 9), [""; 0]);
    peers.claim(std::slice::from_ref(&new), &[]);
    assert_eq!(step(&mut peers, 9), ["-10.244.2.9"]);
}

#[test]
fn a_pod_in_two_slices_stays_when_one_of_them_forgets_it() {
    let mut peers = peers();
    let (first, second) = ([pod("a", 300, "10.244.2.9", "172.18.0.4")], [pod("a", 300, "10.244.2.9", "172.18.0.4")]);
    peers.claim(&[], &first);
    peers.claim(&[], &second);
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 300"]);
    peers.claim(&first, &[]);
    assert_eq!(step(&mut peers, 9), [""; 0]);
    peers.claim(&second, &[]);
    assert_eq!(step(&mut peers, 9), ["-10.244.2.9"]);
}

#[test]
fn what_was_there_before_stays_until_everything_is_told() {
    let entry = |address: &str| {
        let range = ranges(&[node(1), node(2)], Routing::Overlay);
        let address: IpAddr = address.parse().unwrap();
        let route = range.entry(address, Some("172.18.0.4".parse().unwrap()), 300).unwrap().unwrap();
        (PrefixKey::lookup(Address::from_ip(address)), route)
    };
    let mut peers = Peers::default();
    let of_topology = (PrefixKey::from_ip("10.244.2.0".parse().unwrap(), 24), entry("10.244.2.9").1);
    peers.adopt([entry("10.244.2.9"), entry("10.244.2.10"), of_topology]);
    assert_eq!(peers.plan(9, true), []);
    peers.claim(&[], &[pod("a", 300, "10.244.2.9", "172.18.0.4")]);
    assert_eq!(peers.plan(9, true), [], "no ranges are known: neither refused for good nor removed");
    peers.set_ranges(ranges(&[node(1), node(2)], Routing::Overlay));
    peers.all_are_told();
    assert_eq!(peers.plan(9, false), [], "not all nodes are known");
    assert_eq!(step(&mut peers, 9), ["-10.244.2.10"]);
    assert_eq!(peers.count(), 1);
}

#[test]
fn what_finds_no_room_is_told_and_written_when_there_is_some() {
    let mut peers = peers();
    let three: Vec<_> =
        (1..=3_u32).map(|n| pod(&format!("p{n}"), 300 + n, &format!("10.244.2.{n}"), "172.18.0.4")).collect();
    peers.claim(&[], &three);
    assert_eq!(step(&mut peers, 2), ["10.244.2.1 301", "10.244.2.2 302"]);
    assert!(peers.problems()[0].contains("10.244.2.3"), "{:?}", peers.problems());
    peers.claim(&three, &three[1..]);
    assert_eq!(step(&mut peers, 2), ["-10.244.2.1", "10.244.2.3 303"]);
    assert_eq!(peers.problems(), [""; 0]);
}

#[test]
fn a_node_that_loses_a_range_takes_its_pods_along() {
    let mut peers = peers();
    peers.claim(&[], &[pod("a", 300, "10.244.2.9", "172.18.0.4")]);
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 300"]);
    peers.set_ranges(ranges(&[node(1), node(3)], Routing::Overlay));
    assert_eq!(step(&mut peers, 9), ["-10.244.2.9"]);
    peers.set_ranges(ranges(&[node(1), node(2)], Routing::Overlay));
    assert_eq!(step(&mut peers, 9), ["10.244.2.9 300"]);
}
