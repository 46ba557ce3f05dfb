//! `explain` and `matrix` say the same of everybody, and both what the slow judge says.

use super::*;
use crate::policy::cluster::Node;
use crate::policy::port::Port;
use generate::ends::{Flow as Asked, Told as Group, What, address, flow, is_allowed, is_own, means, named, what};
use policy::matrix::{Cell, matrix};
use policy::subject::IdentityFacts;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[path = "../../../policy/tests/generate/mod.rs"]
mod generate;

/// What the agents say: each has its own node as host. That of node two can't be asked.
fn cluster(told: &Snapshot) -> Cluster {
    let of = |node: &policy::subject::NodeFacts| {
        let host = told.host(node);
        let identities = told.identities.iter().map(|facts| if facts.number == host.number { &host } else { facts });
        let said = Snapshot {
            node: node.name.clone(),
            identities: identities.cloned().collect::<Vec<IdentityFacts>>(),
            ..told.clone()
        };
        let said = if &*node.name == "two" { Err("it stands still".to_owned()) } else { Ok(said) };
        Node { name: node.name.to_string(), said, maps: None }
    };
    Cluster { nodes: told.nodes.iter().map(of).collect() }
}

#[test]
fn explain_and_matrix_agree() {
    let counted: RefCell<BTreeMap<String, u32>> = RefCell::default();
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let flows = prop::collection::vec(flow(), 60);
    let result = runner.run(&(generate::policies(), flows), |(policies, flows)| {
        let snapshot = generate::ends::snapshot(policies);
        let (nets, cluster) = (named(&[&snapshot.policies]), cluster(&snapshot));
        let cells = matrix(&snapshot, |_| true);
        let names = Names { snapshot: &snapshot, namespace: None };
        for asked in flows.iter().filter(|asked| ![47, 99].contains(&asked.protocol)) {
            let Some(expected) = is_allowed(&snapshot, &snapshot.policies, asked) else { continue };
            let place = |end| names.by_address(address(&snapshot, end, asked.v4).unwrap());
            let wanted = Wanted { protocol: asked.protocol, port: Port::Number(asked.port) };
            let mut answer = Answer { allowed: true, drift: false, flows: Vec::new(), warnings: Vec::new() };
            super::flows(&cluster, &place(asked.from), &place(asked.to), &wanted, &mut answer).unwrap();
            prop_assert_eq!(answer.flows.len(), 1);
            let said = &answer.flows[0];
            prop_assert_eq!(said.allowed, expected, "{:?}\n{:#?}", asked, said);
            let found: Vec<&Cell> =
                cells.iter().filter(|cell| Group::cell(cell).is_about(&snapshot, &nets, asked)).collect();
            prop_assert!(found.len() <= 1, "{asked:?}");
            match found.first() {
                Some(cell) => {
                    prop_assert_eq!(means(&cell.allowed, asked), expected, "{:?}\n{:#?}", asked, cell);
                    // Who denies, and why, is the same too.
                    let denied = said.ends.iter().find(|end| !end.rules.allowed);
                    let because = denied.map(|end| format!("{}: {}", direction::name(end.direction), end.rules));
                    let theirs = cell.denied.iter().find(|one| means(&one.ports, asked)).map(|one| one.because.clone());
                    prop_assert_eq!(because, theirs, "{:?}", asked);
                }
                None => prop_assert!(said.ends.is_empty(), "{asked:?}: nobody judges it\n{said:#?}"),
            }
            count(&counted, &snapshot, asked, expected);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let counted = counted.into_inner();
    assert_eq!(counted.len(), 20, "{counted:#?}");
    assert!(counted.values().all(|count| *count >= 20), "{counted:#?}");
}

fn count(counted: &RefCell<BTreeMap<String, u32>>, snapshot: &Snapshot, asked: &Asked, allowed: bool) {
    let own = if is_own(snapshot, asked) { " of the same node" } else { "" };
    let kind: (What, What) = (what(asked.from), what(asked.to));
    *counted.borrow_mut().entry(format!("{kind:?}{own}: {allowed}")).or_default() += 1;
}

/// Nobody judges what a node says to itself, whatever policies say.
#[test]
fn a_node_with_itself_is_nobodys() {
    let snapshot = generate::ends::snapshot(Vec::new());
    let names = Names { snapshot: &snapshot, namespace: None };
    let shut = policy::rule::Policy {
        subject: policy::rule::Subject::Nodes(Default::default()),
        default_deny: policy::rule::PerDirection { ingress: true, egress: true },
        rules: Vec::new(),
        origin: policy::rule::Origin { dialect: policy::rule::Dialect::Cilium, ..snapshot.policies[0].origin.clone() },
        ..snapshot.policies[0].clone()
    };
    let policies = [snapshot.policies.clone(), vec![shut]].concat();
    let cluster = cluster(&Snapshot { policies, ..snapshot.clone() });
    let ask = |from: &str, to: &str| {
        let place = |name: &str| names.find(name).unwrap().unwrap().remove(0);
        let wanted = "8080".parse().unwrap();
        let mut answer = Answer { allowed: true, drift: false, flows: Vec::new(), warnings: Vec::new() };
        super::flows(&cluster, &place(from), &place(to), &wanted, &mut answer).unwrap();
        answer.flows.iter().map(|flow| (flow.allowed, flow.ends.len())).collect::<Vec<_>>()
    };
    assert_eq!(ask("node:one", "node:one"), [(true, 0)]);
    assert_eq!(ask("node:one", "node:three"), [(false, 2)]);
}
