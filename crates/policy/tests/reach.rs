//! What `simulate` and `matrix` tell of groups and ranges holds for each Pod, each node and each port, and nothing is left out.

mod generate;

use generate::ends::{Flow, Told, flow, is_allowed, is_own, means, named, snapshot, what};
use policy::matrix::{Cell, matrix};
use policy::reach::{Group, Region, regions};
use policy::rule::{
    Action, Dialect, Direction, Entity, Origin, Peer, Peers, PerDirection, Policy, Ports, Rule, Scope, Subject, Tier,
};
use policy::selector::Selector;
use policy::simulate::{Change, after, enforced, simulate};
use policy::snapshot::Snapshot;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

fn told(change: &Change) -> Told<'_> {
    Told {
        names: [&change.from, &change.to],
        pods: [&change.from_pods, &change.to_pods],
        nodes: [&change.from_nodes, &change.to_nodes],
        families: &change.families,
    }
}

/// How often which kinds of ends had which answer.
#[derive(Default)]
struct Counted(RefCell<BTreeMap<String, u32>>);

impl Counted {
    fn count(&self, snapshot: &Snapshot, flow: &Flow, answer: bool) {
        let own = if is_own(snapshot, flow) { " of the same node" } else { "" };
        let kind = format!("{:?} to {:?}{own}: {answer}", what(flow.from), what(flow.to));
        *self.0.borrow_mut().entry(kind).or_default() += 1;
    }

    /// Each of Pod, node and outside with each, of which one at least is judged, and Pods with their own nodes: ten kinds.
    fn is_whole(&self, least: u32) {
        let counts = self.0.borrow();
        assert_eq!(counts.len(), 20, "{counts:#?}");
        assert!(counts.values().all(|count| *count >= least), "{counts:#?}");
    }
}

#[test]
fn every_change_is_told_and_nothing_else() {
    let counted = Counted::default();
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    let flows = prop::collection::vec(flow(), 100);
    let input = (generate::policies(), generate::policies(), any::<bool>(), flows);
    let result = runner.run(&input, |(now, written, as_enforced, flows)| {
        let snapshot = snapshot(now);
        let then = after(&snapshot.policies, &written, &[]);
        let then = if as_enforced { enforced(then) } else { then };
        let nets = named(&[&snapshot.policies, &then]);
        let simulation = simulate(&snapshot, &then);
        for flow in &flows {
            let [before, after] = [&snapshot.policies, &then].map(|policies| is_allowed(&snapshot, policies, flow));
            let (Some(before), Some(after)) = (before, after) else { continue };
            let found: Vec<_> = simulation
                .changes
                .iter()
                .filter(|change| {
                    told(change).is_about(&snapshot, &nets, flow)
                        && (means(&change.ports, flow) || flow.protocol == 47 && change.ports.contains("other"))
                })
                .collect();
            counted.count(&snapshot, flow, before == after);
            if before == after {
                // A rule may name 47 in one place and not in another: then it is told by its number.
                if flow.protocol != 47 {
                    prop_assert!(found.is_empty(), "{flow:?} does not change\n{found:#?}");
                }
            } else {
                prop_assert!(!found.is_empty(), "{flow:?} changes to {after}\n{:#?}", simulation.changes);
                prop_assert!(found.iter().any(|change| change.now == before && change.then == after), "{flow:?}");
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    counted.is_whole(60);
}

#[test]
fn the_matrix_holds_for_every_end_and_port() {
    let counted = Counted::default();
    let mut runner = TestRunner::new(Config { cases: 250, failure_persistence: None, ..Config::default() });
    let flows = prop::collection::vec(flow(), 100);
    let result = runner.run(&(generate::policies(), flows), |(policies, flows)| {
        let snapshot = snapshot(policies);
        let nets = named(&[&snapshot.policies]);
        let cells = matrix(&snapshot, |_| true);
        for flow in flows.iter().filter(|flow| flow.protocol != 47) {
            let Some(allowed) = is_allowed(&snapshot, &snapshot.policies, flow) else { continue };
            let found: Vec<&Cell> =
                cells.iter().filter(|cell| Told::cell(cell).is_about(&snapshot, &nets, flow)).collect();
            counted.count(&snapshot, flow, allowed);
            if found.is_empty() {
                // Nodes that no policy is about, with each other or with the world.
                prop_assert!(allowed, "{flow:?}\n{cells:#?}");
                continue;
            }
            prop_assert_eq!(found.len(), 1, "one cell for each pair and family: {:?}\n{:#?}", flow, found);
            prop_assert_eq!(means(&found[0].allowed, flow), allowed, "{:?}\n{:#?}", flow, found[0]);
            prop_assert_eq!(found[0].denied.iter().any(|one| means(&one.ports, flow)), !allowed);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    counted.is_whole(60);
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

/// Allows the API server to speak to whom the subject selects, and nobody else.
fn for_api_servers(subject: Subject) -> Policy {
    only_from(subject, Peer::Entity(Entity::KubeApiserver))
}

fn only_from(subject: Subject, peer: Peer) -> Policy {
    let rule = Rule {
        direction: Direction::Ingress,
        tier: Tier::Normal,
        order: 0,
        action: Action::Allow,
        peers: Peers::OneOf(vec![peer]),
        ports: Ports::Any,
        field: "spec.ingress[0]".into(),
    };
    Policy {
        origin: Origin {
            dialect: Dialect::Cilium,
            kind: "CiliumNetworkPolicy".into(),
            namespace: "shop".into(),
            name: "api".into(),
            uid: "".into(),
            part: 0,
        },
        subject,
        default_deny: PerDirection { ingress: true, egress: false },
        rules: vec![rule],
        audit: false,
        log: None,
        gaps: Vec::new(),
    }
}

/// A node that runs the API server is told apart from others where policies tell them apart, and is what it is to each.
#[test]
fn a_node_of_the_api_server_is_one() {
    let of_pods = snapshot(vec![for_api_servers(Subject::Endpoints(Selector::default()))]);
    let cells = matrix(&of_pods, Group::is_pod);
    let from = |name: &str| {
        let found: Vec<&str> = cells.iter().filter(|cell| cell.from == name).map(|cell| &*cell.allowed).collect();
        assert!(!found.is_empty(), "{name} in {cells:#?}");
        found
    };
    for (node, allowed) in [
        ("node one (remote-node, kube-apiserver)", "everything"),
        ("node two and 1 more (remote-node)", "nothing"),
        ("kube-apiserver 203.0.113.250", "everything"),
        ("its own node one (host, kube-apiserver)", "everything"),
        ("its own node two and 1 more (host)", "everything"),
        ("world IPv4", "nothing"),
    ] {
        assert!(from(node).iter().all(|one| *one == allowed), "{node}: {cells:#?}");
    }
    assert!(
        cells.iter().all(|cell| cell.from_nodes.is_empty() || cell.to_nodes.is_empty()),
        "no policy is about nodes"
    );
    let silent = snapshot(Vec::new());
    let names: BTreeSet<String> = matrix(&silent, |_| true)
        .into_iter()
        .filter(|cell| !cell.from_nodes.is_empty())
        .map(|cell| cell.from)
        .collect();
    let expected = ["its own node one and 2 more (host)", "its own node four (host)"];
    assert!(expected.iter().all(|name| names.contains(*name)) && names.len() == 4, "by their families only: {names:?}");
}

/// Nodes with each other: never one with itself, and failsafe ports stay open whatever a policy says.
#[test]
fn nodes_are_judged_at_both_ends_but_for_their_failsafe_ports() {
    let of_nodes = snapshot(vec![for_api_servers(Subject::Nodes(Selector::label("k8s:zone", "b")))]);
    let cells = matrix(&of_nodes, |group| group.judged);
    let cell = |from: &str, to: &str| {
        let found: Vec<&Cell> = cells.iter().filter(|cell| cell.from == from && cell.to == to).collect();
        assert_eq!(found.len(), 1, "{from} to {to}: {cells:#?}");
        found[0]
    };
    let (one, others) = ("node one (remote-node, kube-apiserver)", "node two and 1 more (remote-node)");
    assert_eq!(cell(one, others).allowed, "everything");
    assert_eq!(cell(others, one).allowed, "everything", "nothing is said of egress");
    let failsafe = "tcp/22 tcp/179 tcp/2379-2380 tcp/6443 tcp/10250 udp/68 udp/546 udp/8472";
    let among = cell(others, others);
    assert_eq!((&*among.allowed, &among.from_nodes), (failsafe, &vec!["two".to_owned(), "three".to_owned()]));
    assert_eq!(among.denied[0].because, "ingress: default deny of CiliumNetworkPolicy shop/api");
    assert_eq!(cell("world IPv4", "node two and 1 more").allowed, failsafe);
    let of_all = matrix(&snapshot(vec![for_api_servers(Subject::Nodes(Selector::default()))]), |_| true);
    assert!(of_all.iter().any(|cell| cell.from == others && cell.to == one), "it is judged: {of_all:#?}");
    assert!(of_all.iter().all(|cell| cell.from != one || cell.to != one), "one with itself: {of_all:#?}");
    assert!(
        cells.iter().all(|cell| cell.from_pods.is_empty() || cell.to_pods.is_empty() || cell.allowed == "everything")
    );
}

/// A prefix may begin with a range of Pods; the rest of it is the world's.
#[test]
fn a_prefix_is_told_but_for_the_pods_in_it() {
    let net = "10.0.0.0/8".parse().unwrap();
    let peer = Peer::Cidr { net, except: Vec::new(), scope: Scope::Outside };
    let snapshot = Snapshot {
        pod_ranges: vec!["10.0.0.0/24".parse().unwrap()],
        ..snapshot(vec![only_from(Subject::Endpoints(Selector::default()), peer)])
    };
    let cells = matrix(&snapshot, Group::is_pod);
    let of =
        |name: &str| cells.iter().filter(|cell| cell.from == name).map(|cell| &*cell.allowed).collect::<BTreeSet<_>>();
    assert_eq!(of("world 10.0.0.0/8"), BTreeSet::from(["everything"]), "{cells:#?}");
    assert_eq!(of("world IPv4"), BTreeSet::from(["nothing"]));
    assert!(of("world 10.0.0.0/24").is_empty(), "these are Pods");
}

/// Nobody who is in files is left out because the addresses that are assumed are of another family.
#[test]
fn pods_without_addresses_have_those_of_the_families_that_there_are() {
    let mut snapshot = snapshot(vec![for_api_servers(Subject::Nodes(Selector::default()))]);
    snapshot.pods.clear();
    snapshot.nodes.iter_mut().for_each(|node| node.addresses.retain(IpAddr::is_ipv6));
    snapshot.nodes.retain(|node| !node.addresses.is_empty());
    let cells = matrix(&snapshot, Group::is_pod);
    assert!(cells.iter().any(|cell| !cell.to_nodes.is_empty() && cell.families == ["IPv6"]), "{cells:#?}");
    assert!(cells.iter().all(|cell| cell.families == ["IPv6"]), "there is no other family");
}
