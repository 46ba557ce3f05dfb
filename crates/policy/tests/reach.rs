//! What `simulate` and `matrix` tell of groups and ranges holds for each Pod and each port, and nothing is left out.

mod generate;

use policy::matrix::{NOTHING, matrix};
use policy::reach::{Group, Region, regions};
use policy::reference::{Packet, World, judge};
use policy::rule::{
    Action, Dialect, Direction, Entity, Origin, Peer, Peers, PerDirection, Policy, Ports, Rule, Subject, Tier,
};
use policy::selector::Selector;
use policy::simulate::{after, simulate};
use policy::snapshot::{PodFacts, Snapshot};
use policy::subject::Kind;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
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

fn snapshot(policies: Vec<Policy>) -> Snapshot {
    let identities = generate::everybody();
    let pods: Vec<PodFacts> = identities
        .iter()
        .filter(|facts| facts.kind == Kind::Pod)
        .zip(ADDRESSES)
        .map(|(facts, address)| PodFacts {
            namespace: facts.namespace.clone().unwrap(),
            name: format!("pod-{}", facts.number).into(),
            identity: facts.number,
            addresses: vec![address.parse().unwrap(), format!("fd00:10:244::{}", facts.number).parse().unwrap()],
            node: None,
        })
        .collect();
    Snapshot { policies, identities, nodes: generate::nodes(), pods, ..Snapshot::default() }
}

/// A flow between two Pods, by their places, or from outside to a Pod.
#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: usize,
    v4: bool,
    protocol: u8,
    port: u16,
}

fn flow() -> impl Strategy<Value = Flow> {
    let spoken = any::<bool>().prop_flat_map(|v4| {
        let icmp = if v4 { 1u8 } else { 58 };
        let ports = prop_oneof![select(generate::PORTS.to_vec()), any::<u16>()];
        let spoken = prop_oneof![
            6 => (select(vec![6u8, 17, 132]), ports),
            1 => (Just(icmp), select(vec![0u16, 8, 128])),
            1 => (select(vec![47u8, 99]), Just(0u16)),
        ];
        (Just(v4), spoken)
    });
    (0usize..9, 0usize..9, spoken).prop_map(|(from, to, (v4, (protocol, port)))| Flow { from, to, v4, protocol, port })
}

fn address(pod: &PodFacts, v4: bool) -> IpAddr {
    *pod.addresses.iter().find(|address| address.is_ipv4() == v4).unwrap()
}

fn is_allowed(snapshot: &Snapshot, policies: &[Policy], flow: &Flow) -> bool {
    let world = World { policies, ..snapshot.world() };
    let (from, to) = (&snapshot.pods[flow.from], &snapshot.pods[flow.to]);
    let at = |direction, here: &PodFacts, there: &PodFacts| {
        let packet = Packet {
            direction,
            subject: here.identity,
            peer: there.identity,
            address: address(there, flow.v4),
            protocol: flow.protocol,
            port: flow.port,
        };
        judge(&world, &packet, false).allowed
    };
    at(Direction::Egress, from, to) && at(Direction::Ingress, to, from)
}

/// Whether a text like `tcp/80-90 udp icmp/8 protocol 47` means the flow.
fn means(text: &str, flow: &Flow) -> bool {
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

fn names(snapshot: &Snapshot, place: usize) -> String {
    let pod = &snapshot.pods[place];
    format!("{}/{}", pod.namespace, pod.name)
}

fn family(v4: bool) -> String {
    if v4 { "IPv4" } else { "IPv6" }.to_owned()
}

#[test]
fn every_change_is_told_and_nothing_else() {
    let (told, quiet) = (Cell::new(0u32), Cell::new(0u32));
    let mut runner = TestRunner::new(Config { cases: 700, failure_persistence: None, ..Config::default() });
    let flows = prop::collection::vec(flow(), 60);
    let input = (generate::policies(), generate::policies(), flows);
    let result = runner.run(&input, |(now, written, flows)| {
        let snapshot = snapshot(now);
        let then = after(&snapshot.policies, &written, &[]);
        let simulation = simulate(&snapshot, &then);
        for flow in flows.iter().filter(|flow| flow.from != flow.to) {
            // Of protocols without a rule it stands for, 47 is one only where a rule names it.
            let [before, after] = [&snapshot.policies, &then].map(|policies| is_allowed(&snapshot, policies, flow));
            let found: Vec<_> = simulation
                .changes
                .iter()
                .filter(|change| {
                    change.from_pods.contains(&names(&snapshot, flow.from))
                        && change.to_pods.contains(&names(&snapshot, flow.to))
                        && change.families.contains(&family(flow.v4))
                        && (means(&change.ports, flow) || flow.protocol == 47 && change.ports.contains("other"))
                })
                .collect();
            if before == after {
                quiet.set(quiet.get() + 1);
                // A rule may name 47 in one place and not in another: then it is told by its number.
                if flow.protocol != 47 {
                    prop_assert!(found.is_empty(), "{flow:?} does not change\n{found:#?}");
                }
            } else {
                told.set(told.get() + 1);
                prop_assert!(!found.is_empty(), "{flow:?} changes to {after}\n{:#?}", simulation.changes);
                prop_assert!(found.iter().any(|change| change.now == before && change.then == after), "{flow:?}");
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(told.get() > 1_000 && quiet.get() > 1_000, "{} told, {} not", told.get(), quiet.get());
}

#[test]
fn the_matrix_holds_for_every_pod_and_port() {
    let (yes, no) = (Cell::new(0u32), Cell::new(0u32));
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let flows = prop::collection::vec(flow(), 60);
    let result = runner.run(&(generate::policies(), flows), |(policies, flows)| {
        let snapshot = snapshot(policies);
        let cells = matrix(&snapshot, |_| true);
        for flow in flows.iter().filter(|flow| flow.from != flow.to && flow.protocol != 47) {
            let found: Vec<_> = cells
                .iter()
                .filter(|cell| {
                    cell.from_pods.contains(&names(&snapshot, flow.from))
                        && cell.to_pods.contains(&names(&snapshot, flow.to))
                        && cell.families.contains(&family(flow.v4))
                })
                .collect();
            prop_assert_eq!(found.len(), 1, "one cell for each pair and family");
            let allowed = is_allowed(&snapshot, &snapshot.policies, flow);
            prop_assert_eq!(means(&found[0].allowed, flow), allowed, "{:?}\n{:#?}", flow, found[0]);
            prop_assert_eq!(found[0].denied.iter().any(|one| means(&one.ports, flow)), !allowed);
            let count = if allowed { &yes } else { &no };
            count.set(count.get() + 1);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(yes.get() > 1_000 && no.get() > 1_000, "{} yes, {} no", yes.get(), no.get());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Every address is in a region like it, and a region's addresses are in what it says.
    #[test]
    fn regions_are_all_there_is(bits in prop::collection::vec((any::<u32>(), 0u8..33), 0..8), address: u32) {
        let nets: BTreeSet<ipnet::IpNet> =
            bits.iter().map(|(ip, len)| ipnet::Ipv4Net::new((*ip).into(), *len).unwrap().trunc().into()).collect();
        let held = |address: &IpAddr| nets.iter().map(|net| net.contains(address)).collect::<Vec<_>>();
        let all = regions(&nets, true);
        let address = IpAddr::from(address.to_be_bytes());
        prop_assert_eq!(all.iter().filter(|region| held(&region.address) == held(&address)).count(), 1);
        for Region { address, another, .. } in all {
            if let Some(another) = another {
                prop_assert!(another != address && held(&another) == held(&address));
            }
        }
    }
}

/// A node that runs the API server is told apart from others, for policies tell them apart.
#[test]
fn a_node_of_the_api_server_is_one() {
    let rule = Rule {
        direction: Direction::Ingress,
        tier: Tier::Normal,
        order: 0,
        action: Action::Allow,
        peers: Peers::OneOf(vec![Peer::Entity(Entity::KubeApiserver)]),
        ports: Ports::Any,
        field: "spec.ingress[0]".into(),
    };
    let policy = Policy {
        origin: Origin {
            dialect: Dialect::Cilium,
            kind: "CiliumNetworkPolicy".into(),
            namespace: "shop".into(),
            name: "api".into(),
            uid: "".into(),
            part: 0,
        },
        subject: Subject::Endpoints(Selector::default()),
        default_deny: PerDirection { ingress: true, egress: false },
        rules: vec![rule],
        audit: false,
        log: None,
        gaps: Vec::new(),
    };
    let snapshot = Snapshot { api_servers: vec!["172.18.0.2".parse().unwrap()], ..snapshot(vec![policy]) };
    let cells = matrix(&snapshot, Group::is_pod);
    for (node, allowed) in [("node one from elsewhere", "everything"), ("node two from elsewhere", "nothing")] {
        let of_node: Vec<&str> =
            cells.iter().filter(|cell| cell.from == node).map(|cell| cell.allowed.as_str()).collect();
        assert!(!of_node.is_empty() && of_node.iter().all(|one| *one == allowed), "{node}: {of_node:?}");
    }
}
