use super::super::kinds::{self, Kind};
use super::*;
use agent::policies::pod_facts;
use flow_api::flow::layer4::Protocol;
use flow_api::flow::{CiliumEventType, DropReason, IcmPv4, Ip, Layer4, Tcp, Udp, Workload};
use flow_api::malla::Ended;
use flow_api::numbers::event::POLICY_VERDICT;
use policy::dialect::references::References;
use policy::explain::explain;
use policy::reference::{Packet, World};
use policy::rule::Policy;
use policy::subject::IdentityFacts;
use policy::told::Told;

/// Who there is: namespace, Pod, `app`, number.
const PODS: [(&str, &str, &str, u32); 5] = [
    ("shop", "web-1", "web", 301),
    ("shop", "web-2", "web", 301),
    ("shop", "db-1", "db", 302),
    ("shop", "cron-1", "on", 303),
    ("monitor", "scrape-1", "scrape", 304),
];

pub fn pod(name: &str) -> Endpoint {
    let (namespace, pod, app, number) = PODS.into_iter().find(|one| one.1 == name).unwrap();
    Endpoint {
        namespace: namespace.to_owned(),
        pod_name: pod.to_owned(),
        identity: number,
        labels: pairs(namespace, app).map(|(key, value)| format!("{key}={value}")).to_vec(),
        workloads: vec![Workload { name: app.to_owned(), kind: "Deployment".to_owned() }],
        ..Endpoint::default()
    }
}

fn learn(flows: &[Flow], namespace: &str) -> Learned {
    let mut learning = Learning::new(namespace);
    flows.iter().for_each(|flow| learning.add(flow));
    learning.end()
}

fn pairs(namespace: &str, app: &str) -> [(String, String); 4] {
    [
        ("k8s:app", app),
        ("k8s:io.kubernetes.pod.namespace", namespace),
        ("k8s:io.cilium.k8s.policy.cluster", "default"),
        ("k8s:io.cilium.k8s.policy.serviceaccount", "default"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

fn reserved(name: &str, identity: u32) -> Endpoint {
    Endpoint { identity, labels: vec![format!("reserved:{name}")], ..Endpoint::default() }
}

pub fn flow(from: Endpoint, to: Endpoint, protocol: Protocol, direction: TrafficDirection) -> Flow {
    Flow {
        verdict: Verdict::Forwarded as i32,
        trace_reason: TraceReason::New as i32,
        time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ip: Some(Ip { source: "10.0.0.1".to_owned(), destination: "192.0.2.7".to_owned(), ..Ip::default() }),
        source: Some(from),
        destination: Some(to),
        l4: Some(Layer4 { protocol: Some(protocol) }),
        traffic_direction: direction as i32,
        ..Flow::default()
    }
}

/// What policy said of it, as it is told beside it.
pub fn said_of(flow: &Flow) -> Flow {
    Flow { event_type: Some(CiliumEventType { r#type: POLICY_VERDICT, sub_type: 0 }), ..flow.clone() }
}

pub fn tcp(destination_port: u32) -> Protocol {
    Protocol::Tcp(Tcp { source_port: 40_000, destination_port, ..Tcp::default() })
}

fn seen() -> Vec<Flow> {
    let (out, into) = (TrafficDirection::Egress, TrafficDirection::Ingress);
    let udp = Protocol::Udp(Udp { source_port: 40_000, destination_port: 53 });
    let ping = Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 });
    let dropped = Flow {
        verdict: Verdict::Dropped as i32,
        drop_reason_desc: DropReason::PolicyDenied as i32,
        ..flow(pod("cron-1"), pod("db-1"), tcp(5432), into)
    };
    // The end of one whose beginning nobody remembers, told by its last answer.
    let answered = Protocol::Tcp(Tcp { source_port: 9090, destination_port: 40_000, ..Tcp::default() });
    let ended = Flow {
        trace_reason: 0,
        is_reply: Some(true),
        extensions: Some(extension::pack(&Ended::default())),
        ..flow(pod("db-1"), pod("scrape-1"), answered, into)
    };
    vec![
        flow(pod("web-1"), pod("db-1"), tcp(5432), out),
        flow(pod("web-1"), pod("db-1"), tcp(5432), into),
        flow(pod("web-2"), pod("db-1"), ping, out),
        flow(pod("web-2"), pod("db-1"), udp, out),
        flow(pod("web-1"), reserved("world", 2), tcp(443), out),
        flow(reserved("host", 1), pod("web-1"), tcp(8080), into),
        dropped,
        ended,
    ]
}

pub fn policies(yaml: &str) -> Vec<Policy> {
    let documents = yaml.split("---\n").filter(|one| !one.trim().is_empty());
    documents
        .flat_map(|one| {
            let object: serde_json::Value = serde_saphyr::from_str(one).unwrap();
            kinds::policies(Kind::Cilium, object, &References::default()).unwrap()
        })
        .collect()
}

fn passes(policies: &[Policy], direction: Direction, (subject, peer): (u32, u32), on: (u8, u16)) -> bool {
    let pods = PODS.map(|(namespace, _, app, number)| {
        pod_facts(number, &model::Labels::from_map(&pairs(namespace, app).into_iter().collect()).unwrap())
    });
    let identities: Vec<IdentityFacts> = pods.into_iter().chain((0..11).filter_map(IdentityFacts::reserved)).collect();
    let world = World { policies, identities: &identities, nodes: &[] };
    let address = if peer == WORLD { "192.0.2.7" } else { "10.0.0.9" }.parse().unwrap();
    let packet = Packet { direction, subject, peer, address, protocol: on.0, port: on.1 };
    Told::of(&explain(&world, &packet, false), direction).allowed
}

const WORLD: u32 = datapath_layouts::identity::WORLD_IPV4;

#[test]
fn what_was_seen_passes_and_nothing_else() {
    let learned = learn(&seen(), "shop");
    assert_eq!((learned.policies, learned.flows, learned.dropped), (2, 7, 1), "{}", learned.yaml);
    let policies = policies(&learned.yaml);
    let (out, into) = (Direction::Egress, Direction::Ingress);
    let (web, db, cron, scrape, host) = (301, 302, 303, 304, 1);
    for (direction, ends, on, expected) in [
        (out, (web, db), (6, 5432), true),
        (into, (db, web), (6, 5432), true),
        (out, (web, db), (1, 8), true),
        (out, (web, db), (17, 53), true),
        (out, (web, WORLD), (6, 443), true),
        (into, (web, host), (6, 8080), true),
        (into, (db, scrape), (6, 9090), true),
        // And not:
        (out, (web, db), (6, 5433), false),
        (out, (web, db), (6, 53), false),
        (out, (web, db), (1, 0), false),
        (out, (web, WORLD), (6, 80), false),
        (out, (web, cron), (6, 5432), false),
        (into, (web, db), (6, 8080), false),
        (into, (db, cron), (6, 5432), false),
        (into, (db, scrape), (6, 5432), false),
        (into, (db, WORLD), (6, 5432), false),
        (out, (db, web), (6, 5432), false),
    ] {
        // The node itself reaches its Pods whatever policies say.
        assert_eq!(passes(&policies, direction, ends, on), expected, "{direction:?} {ends:?} {on:?}\n{}", learned.yaml);
    }
    // Of whom nothing was seen there is no policy.
    assert!(passes(&policies, out, (cron, db), (6, 1)));
}

#[test]
fn what_policy_said_beside_a_flow_is_no_flow_more() {
    let flows = seen();
    let beside: Vec<Flow> = flows.iter().flat_map(|flow| [said_of(flow), flow.clone()]).collect();
    let (learned, expected) = (learn(&beside, "shop"), learn(&flows, "shop"));
    assert_eq!((learned.flows, learned.dropped, learned.yaml), (expected.flows, expected.dropped, expected.yaml));
    // An audit is all that is told of it.
    let audit = Flow { verdict: Verdict::Audit as i32, trace_reason: 0, ..said_of(&flows[0]) };
    assert_eq!(learn(&[audit], "shop").flows, 1);
}

#[test]
fn each_rule_says_what_it_is_for() {
    let yaml = learn(&seen(), "shop").yaml;
    for part in [
        "name: \"learned-db\"",
        "name: \"learned-web\"",
        "# For web-1, web-2.",
        "# 1 flow, the last at 2023-11-14T22:13:20Z; from shop/web-1.",
        "# 3 flows, the last at 2023-11-14T22:13:20Z; to shop/db-1.",
        "toCIDR: [\"192.0.2.7/32\"]",
        "\"k8s:io.kubernetes.pod.namespace\": \"monitor\"",
        "# Nothing was seen: nothing is allowed.",
    ] {
        assert!(yaml.contains(part), "{part}\n{yaml}");
    }
}

#[test]
fn a_rule_says_for_how_many_it_stands() {
    let comment = |number: usize| {
        let peer = |number| Endpoint { pod_name: format!("db-{number:04}"), ..pod("db-1") };
        let to = |number| flow(pod("web-1"), peer(number), tcp(5432), TrafficDirection::Egress);
        let yaml = learn(&(0..number).map(to).collect::<Vec<_>>(), "shop").yaml;
        let line = yaml.lines().find(|line| line.contains("; to ")).unwrap();
        line.split_once("; to shop/db-0000, shop/db-0001, shop/db-0002").unwrap().1.to_owned()
    };
    assert_eq!(comment(3), ".");
    assert_eq!(comment(4), ", 1 more.");
    assert_eq!(comment(1200), ", at least 997 more.");
}

#[test]
fn another_namespace_and_hostile_names_are_nobodys_rules() {
    assert_eq!(learn(&seen(), "other").yaml, "");
    let evil = Endpoint { pod_name: "x\n  - fromEntities: [all]".to_owned(), ..pod("web-1") };
    let labels = vec!["k8s:app=\"\n: [".to_owned(), "k8s:io.kubernetes.pod.namespace=shop".to_owned()];
    let evil = Endpoint { labels, workloads: Vec::new(), ..evil };
    let learned = learn(&[flow(evil, pod("db-1"), tcp(1), TrafficDirection::Egress)], "shop");
    assert!(!learned.yaml.lines().any(|line| line.trim_start().starts_with("- fromEntities")), "{}", learned.yaml);
    let object: serde_json::Value = serde_saphyr::from_str(learned.yaml.trim_start_matches("---\n")).unwrap();
    assert_eq!(object["spec"]["endpointSelector"]["matchLabels"]["app"], "\"\n: [");
}
