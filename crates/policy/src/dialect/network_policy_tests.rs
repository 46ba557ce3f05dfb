use super::*;
use crate::reference::{Packet, World, judge};
use crate::selector::NAMESPACE_LABELS;
use crate::subject::{IdentityFacts, Kind, NamedPort};
use serde_json::{Value, json};

fn policy(spec: Value) -> Result<Policy, Vec<Mistake>> {
    let object = json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u"}, "spec": spec});
    convert(&serde_json::from_value(object).unwrap())
}

fn pod(number: u32, namespace: &str, app: &str) -> IdentityFacts {
    let env = format!("{NAMESPACE_LABELS}env");
    let env_of = if namespace == "shop" { "prod" } else { "test" };
    IdentityFacts {
        number,
        labels: [(NAMESPACE, namespace), ("k8s:app", app), (env.as_str(), env_of)].into_iter().collect(),
        namespace: Some(namespace.into()),
        kind: Kind::Pod,
        named_ports: vec![NamedPort { name: "http".into(), protocol: 6, port: if app == "web" { 8080 } else { 80 } }],
    }
}

const SUBJECT: u32 = 300;
const WEB: u32 = 301;
const DB: u32 = 302;
const OTHER_WEB: u32 = 303;
const HOST: u32 = datapath_layouts::identity::HOST;
const REMOTE_NODE: u32 = datapath_layouts::identity::REMOTE_NODE;
const WORLD: u32 = datapath_layouts::identity::WORLD;

/// Whether the subject may speak with each: `(direction, peer, address, protocol, port, allowed)`.
fn check(spec: Value, expected: &[(Direction, u32, &str, u8, u16, bool)]) {
    let policies = [policy(spec.clone()).unwrap_or_else(|mistakes| panic!("{spec}: {mistakes:?}"))];
    let mut identities: Vec<_> = (0..20).filter_map(IdentityFacts::reserved).collect();
    identities.extend([pod(SUBJECT, "shop", "api"), pod(WEB, "shop", "web"), pod(DB, "shop", "db")]);
    identities.push(pod(OTHER_WEB, "lab", "web"));
    let world = World { policies: &policies, identities: &identities, nodes: &[] };
    for &(direction, peer, address, protocol, port, allowed) in expected {
        let packet = Packet { direction, subject: SUBJECT, peer, address: address.parse().unwrap(), protocol, port };
        assert_eq!(judge(&world, &packet, false).allowed, allowed, "{spec}\n{packet:?}");
    }
}

use Direction::{Egress, Ingress};
const POD: &str = "10.244.1.9";
const NODE: &str = "172.18.0.3";
const FAR: &str = "203.0.113.2";

#[test]
fn missing_and_empty_are_not_the_same_everywhere() {
    let any =
        [(Ingress, WEB, POD, 6, 80, true), (Ingress, WORLD, FAR, 17, 53, true), (Egress, WORLD, FAR, 6, 80, true)];
    let none =
        [(Ingress, WEB, POD, 6, 80, false), (Ingress, WORLD, FAR, 17, 53, false), (Egress, WORLD, FAR, 6, 80, true)];
    check(json!({"podSelector": {}}), &none);
    check(json!({"podSelector": {}, "ingress": []}), &none);
    check(json!({"podSelector": {}, "ingress": [{}]}), &any);
    check(json!({"podSelector": {}, "ingress": [{"from": [], "ports": []}]}), &any);
    check(json!({"podSelector": {"matchLabels": {"app": "else"}}}), &any);
}

#[test]
fn policy_types_say_what_is_governed() {
    let (inward, outward) = ((Ingress, WEB, POD, 6, 80), (Egress, WEB, POD, 6, 80));
    for (spec, ingress, egress) in [
        (json!({"podSelector": {}}), false, true),
        (json!({"podSelector": {}, "egress": []}), false, false),
        (json!({"podSelector": {}, "policyTypes": []}), false, true),
        (json!({"podSelector": {}, "policyTypes": ["Egress"]}), true, false),
        (json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]}), false, true),
        (json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}], "egress": [{}]}), true, true),
        (json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}), false, false),
    ] {
        let (i, e) = (inward, outward);
        check(spec, &[(i.0, i.1, i.2, i.3, i.4, ingress), (e.0, e.1, e.2, e.3, e.4, egress)]);
    }
}

#[test]
fn selectors_in_one_peer_are_anded_and_peers_are_ored() {
    let web = json!({"matchLabels": {"app": "web"}});
    let prod = json!({"matchLabels": {"env": "prod"}});
    for (from, from_web, from_db, from_other_web, from_world) in [
        (json!([{"podSelector": web}]), true, false, false, false),
        (json!([{"namespaceSelector": {}}]), true, true, true, false),
        (json!([{"namespaceSelector": prod}]), true, true, false, false),
        (json!([{"namespaceSelector": prod, "podSelector": web}]), true, false, false, false),
        (json!([{"namespaceSelector": {}, "podSelector": web}]), true, false, true, false),
        (json!([{"namespaceSelector": prod}, {"podSelector": web}]), true, true, false, false),
        (json!([{"podSelector": {}}]), true, true, false, false),
        (json!([{"ipBlock": {"cidr": "203.0.113.0/24"}}]), false, false, false, true),
    ] {
        check(
            json!({"podSelector": {"matchLabels": {"app": "api"}}, "ingress": [{"from": from}]}),
            &[
                (Ingress, WEB, POD, 6, 80, from_web),
                (Ingress, DB, POD, 6, 80, from_db),
                (Ingress, OTHER_WEB, POD, 6, 80, from_other_web),
                (Ingress, WORLD, FAR, 6, 80, from_world),
                (Ingress, REMOTE_NODE, NODE, 6, 80, false),
                (Ingress, 4000, POD, 6, 80, false),
            ],
        );
    }
}

#[test]
fn an_ip_block_holds_pods_and_nodes_too() {
    let block = json!({"cidr": "10.0.0.0/8", "except": ["10.244.2.0/24"]});
    check(
        json!({"podSelector": {}, "egress": [{"to": [{"ipBlock": block}, {"ipBlock": {"cidr": "172.18.0.0/16"}}]}]}),
        &[
            (Egress, WEB, POD, 6, 80, true),
            (Egress, WEB, "10.244.2.9", 6, 80, false),
            (Egress, WORLD, "10.9.9.9", 1, 8, true),
            (Egress, REMOTE_NODE, NODE, 6, 80, true),
            (Egress, WORLD, FAR, 6, 80, false),
        ],
    );
}

#[test]
fn the_own_node_always_may() {
    check(
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        &[
            (Ingress, HOST, NODE, 6, 80, true),
            (Egress, HOST, NODE, 17, 53, true),
            (Ingress, REMOTE_NODE, NODE, 6, 80, false),
            (Egress, REMOTE_NODE, NODE, 6, 80, false),
        ],
    );
}

#[test]
fn ports_by_number_range_and_name() {
    let rule = |ports: Value| json!({"podSelector": {}, "ingress": [{"ports": ports}], "egress": [{"ports": ports}]});
    check(
        rule(json!([{"port": 80}, {"port": 1000, "endPort": 2000, "protocol": "UDP"}, {"protocol": "SCTP"}])),
        &[
            (Ingress, WEB, POD, 6, 80, true),
            (Ingress, WEB, POD, 17, 80, false),
            (Ingress, WEB, POD, 6, 81, false),
            (Ingress, WEB, POD, 17, 999, false),
            (Ingress, WEB, POD, 17, 1000, true),
            (Ingress, WEB, POD, 17, 2000, true),
            (Ingress, WEB, POD, 17, 2001, false),
            (Ingress, WEB, POD, 132, 7, true),
            (Ingress, WEB, POD, 1, 8, false),
        ],
    );
    check(
        rule(json!([{"port": "http"}])),
        &[
            (Ingress, WEB, POD, 6, 80, true),
            (Ingress, WEB, POD, 6, 8080, false),
            (Egress, WEB, POD, 6, 8080, true),
            (Egress, WEB, POD, 6, 80, false),
            (Egress, DB, POD, 6, 80, true),
            (Egress, DB, POD, 17, 80, false),
            (Egress, WORLD, FAR, 6, 80, false),
        ],
    );
}

#[test]
fn a_named_port_of_an_address_is_told() {
    let to = json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]);
    let found = policy(json!({"podSelector": {}, "egress": [{"to": to, "ports": [{"port": "http"}]}]})).unwrap();
    assert_eq!(found.gaps.len(), 1);
    assert_eq!(found.gaps[0].field, "spec.egress[0].ports");
}

#[test]
fn mistakes_name_the_field() {
    let ingress = |rule: Value| json!({"podSelector": {}, "ingress": [{}, rule]});
    for (spec, field) in [
        (json!({"podSelector": {}, "policyTypes": ["Sideways"]}), "spec.policyTypes[0]"),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "spec.podSelector.matchExpressions[0].values",
        ),
        (
            ingress(json!({"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}]})),
            "spec.ingress[1].from[0].podSelector.matchExpressions[0].operator",
        ),
        (ingress(json!({"from": [{}]})), "spec.ingress[1].from[0]"),
        (ingress(json!({"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]})), "spec.ingress[1].from[0]"),
        (ingress(json!({"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]})), "spec.ingress[1].from[0].ipBlock.cidr"),
        (
            ingress(json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "11.0.0.0/8"]}}]})),
            "spec.ingress[1].from[0].ipBlock.except[1]",
        ),
        (ingress(json!({"ports": [{"port": 0}]})), "spec.ingress[1].ports[0].port"),
        (ingress(json!({"ports": [{"port": 65536}]})), "spec.ingress[1].ports[0].port"),
        (ingress(json!({"ports": [{"port": "NOT A NAME"}]})), "spec.ingress[1].ports[0].port"),
        (ingress(json!({"ports": [{"port": 80, "endPort": 79}]})), "spec.ingress[1].ports[0].endPort"),
        (ingress(json!({"ports": [{"port": "http", "endPort": 99}]})), "spec.ingress[1].ports[0].endPort"),
        (ingress(json!({"ports": [{"endPort": 99}]})), "spec.ingress[1].ports[0].endPort"),
        (ingress(json!({"ports": [{"protocol": "ICMP"}]})), "spec.ingress[1].ports[0].protocol"),
    ] {
        let mistakes = policy(spec.clone()).expect_err(&spec.to_string());
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].field, field);
    }
}

/// Whether anything passes, into the subject and out of it, of an object with a mistake.
#[track_caller]
fn check_closed(spec: Value, ingress: bool, egress: bool) {
    policy(spec.clone()).expect_err("a mistake");
    let object = json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u"}, "spec": spec});
    let policies = [closed(&serde_json::from_value(object).unwrap()).expect("whom it selects can be read")];
    let mut identities: Vec<_> = (0..20).filter_map(IdentityFacts::reserved).collect();
    identities.extend([pod(SUBJECT, "shop", "api"), pod(WEB, "shop", "web"), pod(DB, "shop", "db")]);
    let world = World { policies: &policies, identities: &identities, nodes: &[] };
    let passes = |subject, direction, peer| {
        let address = "10.0.0.9".parse().unwrap();
        let packet = Packet { direction, subject, peer, address, protocol: 6, port: 80 };
        judge(&world, &packet, false).allowed
    };
    for peer in [DB, REMOTE_NODE, datapath_layouts::identity::WORLD_IPV4] {
        assert_eq!(passes(SUBJECT, Direction::Ingress, peer), ingress, "{spec} from {peer}");
        assert_eq!(passes(SUBJECT, Direction::Egress, peer), egress, "{spec} to {peer}");
    }
    // The own node always, and nobody else is governed.
    for (subject, peer) in [(SUBJECT, HOST), (WEB, DB)] {
        assert!(passes(subject, Direction::Ingress, peer) && passes(subject, Direction::Egress, peer), "{spec}");
    }
}

#[test]
fn what_has_a_mistake_denies_whom_it_selects_where_it_governs() {
    let pods = json!({"matchLabels": {"app": "api"}});
    let bad = json!({"ports": [{"port": 0}]});
    check_closed(json!({"podSelector": pods, "ingress": [{}, bad]}), false, true);
    check_closed(json!({"podSelector": pods, "ingress": [{}], "egress": [{}, bad]}), false, false);
    check_closed(json!({"podSelector": pods, "policyTypes": ["Egress"], "egress": [bad]}), true, false);
    check_closed(json!({"podSelector": pods, "policyTypes": ["Ingres"], "ingress": [{}]}), false, false);
    for object in [
        json!({"metadata": {"name": "p", "namespace": "shop"},
            "spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}}),
        json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}}}),
        json!({"metadata": {"name": "p", "namespace": "shop"}}),
    ] {
        let object = serde_json::from_value(object).unwrap();
        assert!(convert(&object).is_err() && closed(&object).is_none(), "{object:?}");
    }
}

#[test]
fn audit_is_an_annotation() {
    let with = |value: &str| {
        let meta = json!({"name": "p", "namespace": "shop", "annotations": {AUDIT: value}});
        convert(&serde_json::from_value(json!({"metadata": meta, "spec": {"podSelector": {}}})).unwrap()).unwrap().audit
    };
    assert!(with("true") && !with("false"));
}

proptest::proptest! {
    /// Whatever is written, there is an answer.
    #[test]
    fn hostile_objects_get_an_answer(
        text in proptest::collection::vec(".{0,20}", 6), port: i32, end: Option<i32>, byte in 0u8..33,
    ) {
        let cidrs = [text[0].clone(), format!("10.0.0.0/{byte}"), format!("::ffff:10.0.0.0/{}", 96 + byte)];
        for cidr in cidrs {
            let _ = policy(json!({
                "podSelector": {"matchLabels": {&text[1]: text[2]}},
                "policyTypes": [text[3], "Ingress"],
                "ingress": [{
                    "from": [
                        {"ipBlock": {"cidr": cidr, "except": [text[4], "10.1.0.0/16"]}},
                        {"namespaceSelector": {"matchExpressions": [{"key": text[1], "operator": text[5]}]}}
                    ],
                    "ports": [{"port": port, "endPort": end}, {"port": text[4], "protocol": text[5]}]
                }]
            }));
        }
    }
}
