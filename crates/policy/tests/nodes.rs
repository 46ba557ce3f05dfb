//! Policies about nodes: what they shut, and what nothing shuts.

mod generate;

use datapath_layouts::PolicyKey;
use datapath_layouts::identity::HOST;
use datapath_layouts::policy::{Action, Direction};
use datapath_logic::policy::{Cause, Question, Verdict, judge_once};
use policy::dialect::cilium::clusterwide_policy;
use policy::dialect::references::References;
use policy::failsafe::Failsafe;
use policy::plan::{Capacity, Planner, Tables};
use policy::rule::{Dialect, Policy, PortMatch, PortSet, Ports, Subject, Tier};
use policy::subject::IdentityFacts;
use proptest::prelude::*;
use std::collections::HashMap;

fn ask(tables: &Tables, direction: Direction, peer: (u32, &str), protocol: u8, port: u16) -> Verdict {
    let question = Question {
        peer_address: peer.1.parse::<std::net::IpAddr>().unwrap().into(),
        policy_id: HOST,
        peer_identity: peer.0,
        port,
        protocol,
        direction: direction as u8,
    };
    judge_once(tables, &question)
}

fn passes(tables: &Tables, direction: Direction, peer: (u32, &str), protocol: u8, port: u16) -> bool {
    ask(tables, direction, peer, protocol, port).action == Action::Allow
}

const WORLD: (u32, &str) = (2, "203.0.113.2");
const REMOTE_NODE: (u32, &str) = (6, "172.18.0.3");
const POD: (u32, &str) = (300, "10.244.1.3");
const STRANGER: (u32, &str) = (4711, "10.244.1.9");

fn host() -> IdentityFacts {
    let mut facts = IdentityFacts::reserved(HOST).unwrap();
    facts.labels = facts.labels.iter().chain([("k8s:zone", "a")]).collect();
    facts
}

fn node(capacity: Capacity, policies: impl IntoIterator<Item = Policy>) -> Planner {
    let mut planner = Planner::new(capacity);
    planner.set_identity(host());
    planner.set_identity(generate::pod(300, "shop", "web", "front"));
    planner.set_policy(Failsafe::default().policy());
    policies.into_iter().for_each(|policy| planner.set_policy(policy));
    planner.add_subject(HOST);
    planner
}

fn clusterwide(spec: serde_json::Value) -> Policy {
    let object = serde_json::json!({"metadata": {"name": "nodes"}, "spec": spec});
    clusterwide_policy(&serde_json::from_value(object).unwrap(), &References::default()).unwrap().remove(0)
}

fn shut() -> Policy {
    clusterwide(serde_json::json!({
        "nodeSelector": {}, "ingressDeny": [{"fromEntities": ["all"]}], "egressDeny": [{"toEntities": ["all"]}]
    }))
}

/// Every failsafe port, as `(direction, protocol, port)`.
fn failsafe_ports() -> Vec<(Direction, u8, u16)> {
    let failsafe = Failsafe::default();
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let all = [(ingress, failsafe.ingress), (egress, failsafe.egress)];
    let each = all.into_iter().flat_map(|(direction, ranges)| ranges.into_iter().map(move |range| (direction, range)));
    each.flat_map(|(direction, range)| {
        let protocols = range.transport.numbers().iter();
        protocols.flat_map(move |protocol| (range.first..=range.last).map(move |port| (direction, *protocol, port)))
    })
    .collect()
}

fn keeps_failsafe(tables: &Tables) {
    for (direction, protocol, port) in failsafe_ports() {
        for peer in [WORLD, REMOTE_NODE, POD, STRANGER, (7, "198.51.100.1")] {
            let verdict = ask(tables, direction, peer, protocol, port);
            assert_eq!(verdict.action, Action::Allow, "{direction:?} {peer:?} {protocol} {port}: {verdict:?}");
        }
    }
}

#[test]
fn what_is_denied_to_everybody_leaves_the_failsafe_ports() {
    let mut planner = node(Capacity::node(), [shut()]);
    planner.plan();
    keeps_failsafe(planner.tables());
    for direction in [Direction::Ingress, Direction::Egress] {
        for peer in [WORLD, REMOTE_NODE, POD, STRANGER] {
            assert!(!passes(planner.tables(), direction, peer, 6, 8080), "{direction:?} {peer:?}");
            assert!(!passes(planner.tables(), direction, peer, 17, 22), "the protocol counts");
        }
    }
    assert!(!passes(planner.tables(), Direction::Egress, WORLD, 6, 22), "SSH comes in and does not go out");
}

#[test]
fn failsafe_ports_alone_are_no_policy() {
    let mut planner = node(Capacity::node(), []);
    assert!(!planner.is_governed(HOST));
    planner.plan();
    assert!(passes(planner.tables(), Direction::Ingress, WORLD, 6, 8080));
    planner.set_policy(shut());
    assert!(planner.is_governed(HOST) && !planner.is_governed(300));
    let other = clusterwide(serde_json::json!({
        "nodeSelector": {"matchLabels": {"zone": "b"}}, "ingressDeny": [{"fromEntities": ["all"]}]
    }));
    planner.set_policy(other.clone());
    assert!(!planner.is_governed(HOST), "it is about other nodes");
    planner.plan();
    assert!(passes(planner.tables(), Direction::Ingress, WORLD, 6, 8080));
    let mut audited = shut();
    audited.audit = true;
    planner.set_policy(audited);
    assert!(planner.is_governed(HOST));
    planner.plan();
    assert!(passes(planner.tables(), Direction::Ingress, WORLD, 6, 8080), "audit denies nothing");
}

#[test]
fn a_node_is_no_pod_and_its_own_deny_holds_for_no_pod() {
    let mut planner = node(Capacity::node(), [shut()]);
    planner.add_subject(300);
    planner.plan();
    let question = Question {
        peer_address: "203.0.113.2".parse::<std::net::IpAddr>().unwrap().into(),
        policy_id: 300,
        peer_identity: 2,
        port: 8080,
        protocol: 6,
        direction: Direction::Ingress as u8,
    };
    assert_eq!(judge_once(planner.tables(), &question).action, Action::Allow);
}

/// However little room there is: where the node has a policy, its failsafe ports are open.
#[test]
fn a_map_that_is_full_never_shuts_a_failsafe_port() {
    let many = |n: u32| {
        clusterwide(serde_json::json!({"nodeSelector": {}, "ingress": [
            {"fromCIDR": (0..n).map(|i| format!("198.51.{i}.0/24")).collect::<Vec<_>>(),
             "toPorts": [{"ports": (0..n).map(|i| serde_json::json!({"port": format!("{}", 7000 + i * 3), "protocol": "TCP"}))
                .collect::<Vec<_>>()}]},
            {"fromEntities": ["remote-node"]}]}))
    };
    let (mut whole, mut reduced, mut open) = (0, 0, 0);
    for which in 0..5 {
        for room in 0..70 {
            let mut capacity = Capacity::each(100_000);
            *[
                &mut capacity.policies,
                &mut capacity.peers,
                &mut capacity.cidrs,
                &mut capacity.rows,
                &mut capacity.ranges,
            ][which] = room;
            let mut planner = node(capacity, [many(10)]);
            planner.plan();
            let tables = planner.tables();
            let told = planner.problems().any(|(key, _)| *key == PolicyKey::new(HOST, Direction::Ingress));
            if ask(tables, Direction::Ingress, WORLD, 6, 22).cause == Cause::NotThere {
                open += 1;
                assert!(told, "nobody tells");
                continue;
            }
            keeps_failsafe(&Tables { policies: both(tables), ..tables.clone() });
            assert!(!passes(tables, Direction::Ingress, WORLD, 6, 8080), "which {which} room {room}");
            if passes(tables, Direction::Ingress, REMOTE_NODE, 6, 8080) {
                whole += 1;
                assert!(!told, "nothing is wrong here");
            } else {
                reduced += 1;
                assert!(told, "nobody tells");
            }
        }
    }
    assert!(whole > 50 && reduced > 20 && open > 0, "{whole} whole, {reduced} reduced, {open} open");
}

/// Egress may be missing where the map of policies has a single entry: then the kernel lets a node's packets pass.
fn both(tables: &Tables) -> HashMap<PolicyKey, datapath_layouts::Policy> {
    let mut policies = tables.policies.clone();
    let egress = PolicyKey::new(HOST, Direction::Egress);
    policies.entry(egress).or_insert(datapath_layouts::Policy::ZERO);
    policies
}

/// Pods whose policies fill the maps leave the node the room that its failsafe ports need.
#[test]
fn pods_leave_room_for_the_failsafe_ports() {
    let capacity = Capacity { rows: 50, ..Capacity::each(100_000) };
    let mut planner = node(capacity, []);
    planner.remove_subject(HOST);
    for n in 0..20u32 {
        planner.set_identity(generate::pod(1000 + n, "shop", &format!("a{n}"), "front"));
        planner.add_subject(1000 + n);
        let object = serde_json::json!({
            "metadata": {"name": format!("p{n}"), "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": format!("a{n}")}},
                "ingress": [{"ports": [{"port": 8000 + n}, {"port": 9000 + n}]}]}
        });
        planner.set_policy(policy::dialect::network_policy::convert(&serde_json::from_value(object).unwrap()).unwrap());
    }
    planner.plan();
    assert!(planner.problems().count() > 0, "the map is full of Pods' rows");
    planner.set_policy(shut());
    planner.add_subject(HOST);
    planner.plan();
    keeps_failsafe(planner.tables());
    assert!(!passes(planner.tables(), Direction::Ingress, WORLD, 6, 8080));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever people write about nodes.
    #[test]
    fn no_policy_shuts_a_failsafe_port(policies in prop::collection::vec(generate::policy(0), 1..5)) {
        let policies = policies.into_iter().enumerate().map(|(at, policy)| Policy {
            subject: Subject::Nodes(Default::default()),
            origin: policy::rule::Origin { name: format!("p{at}").into(), ..policy.origin },
            ..policy
        });
        let mut planner = node(Capacity::each(100_000), policies);
        planner.plan();
        keeps_failsafe(planner.tables());
    }
}

#[test]
fn the_default_set_is_what_the_documents_say() {
    let failsafe = Failsafe::default();
    let text =
        |ports: &[policy::failsafe::PortRange]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let all = "179/tcp,2379-2380/tcp,6443/tcp,10250/tcp,8472/udp";
    assert_eq!(text(&failsafe.ingress), format!("22/tcp,68/udp,546/udp,{all}"));
    assert_eq!(text(&failsafe.egress), format!("53/udp,53/tcp,67/udp,547/udp,{all}"));
    let policy = failsafe.policy();
    assert_eq!(policy.origin.dialect, Dialect::Malla);
    assert!(policy.rules.iter().all(|rule| rule.tier == Tier::Failsafe));
    let Ports::OneOf(ports) = &policy.rules[0].ports else { panic!("named ports") };
    assert!(ports.contains(&PortMatch::Port(policy::rule::Transport::Tcp, PortSet::Range(22, 22))));
}
