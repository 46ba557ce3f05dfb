//! Claims about policies: every "no" has a witness that the slow judge confirms, and no "yes" can be refuted by Pods that
//! somebody thinks of.

mod generate;

use datapath_layouts::identity;
use policy::prove::{Answer, Claim, Known, MOST_STEPS, Metadata, Question, Spec, Witness, prove};
use policy::reference::{Packet, World, judge};
use policy::rule::{Direction, Policy, Subject};
use policy::selector::{CLUSTER, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT};
use policy::subject::{IdentityFacts, Kind, NamedPort, NodeFacts};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An end that somebody thinks of.
#[derive(Clone, Debug)]
struct Somebody {
    /// As others see it.
    facts: IdentityFacts,
    /// As it sees itself, where it judges.
    itself: Option<IdentityFacts>,
    node: Option<NodeFacts>,
    address: IpAddr,
}

#[derive(Clone, Debug)]
struct Flow {
    from: Somebody,
    to: Somebody,
    protocol: u8,
    port: u16,
}

impl Flow {
    fn is_allowed(&self, policies: &[Policy]) -> bool {
        let nodes: Vec<NodeFacts> = [&self.from, &self.to].into_iter().filter_map(|end| end.node.clone()).collect();
        let at = |direction, here: &Somebody, there: &Somebody| {
            let Some(subject) = here.itself.clone() else { return true };
            let packet = Packet {
                direction,
                subject: 9_001,
                peer: 9_002,
                address: there.address,
                protocol: self.protocol,
                port: self.port,
            };
            let identities =
                [IdentityFacts { number: 9_001, ..subject }, IdentityFacts { number: 9_002, ..there.facts.clone() }];
            judge(&World { policies, identities: &identities, nodes: &nodes }, &packet, false).allowed
        };
        at(Direction::Egress, &self.from, &self.to) && at(Direction::Ingress, &self.to, &self.from)
    }
}

fn env_of(namespace: &str) -> Option<&'static str> {
    match namespace {
        "shop" => Some("prod"),
        "lab" => Some("test"),
        "tools" => Some("stage"),
        _ => None,
    }
}

fn pod_facts(
    namespace: &str,
    env: Option<&str>,
    labels: &[(&str, Option<&str>)],
    names: Vec<NamedPort>,
) -> IdentityFacts {
    let mut all = vec![
        (NAMESPACE.to_owned(), namespace.to_owned()),
        (format!("{NAMESPACE_LABELS}kubernetes.io/metadata.name"), namespace.to_owned()),
        (CLUSTER.to_owned(), "default".to_owned()),
        (SERVICE_ACCOUNT.to_owned(), "default".to_owned()),
    ];
    all.extend(env.map(|env| (format!("{NAMESPACE_LABELS}env"), env.to_owned())));
    all.extend(labels.iter().filter_map(|(key, value)| value.map(|value| ((*key).to_owned(), value.to_owned()))));
    IdentityFacts {
        number: 0,
        labels: all.into_iter().collect(),
        namespace: Some(namespace.into()),
        kind: Kind::Pod,
        named_ports: names,
    }
}

fn address(v4: bool) -> impl Strategy<Value = IpAddr> {
    let all = if v4 {
        vec![
            "10.244.1.3",
            "10.244.1.9",
            "10.244.1.20",
            "10.244.2.7",
            "203.0.113.2",
            "203.0.113.9",
            "172.18.0.3",
            "8.8.8.8",
        ]
    } else {
        vec!["fd00:10:244:1::9", "2001:db8:113::2", "2001:db8::7", "fc00::3", "fd00::1"]
    };
    select(all).prop_map(|address| address.parse().unwrap())
}

fn somebody(v4: bool) -> impl Strategy<Value = (Somebody, bool)> {
    let names = (select(vec!["http", "dns", "sip"]), select(generate::PORTS.to_vec()), select(vec![6u8, 17, 132]));
    let names = prop::collection::vec(
        names.prop_map(|(name, port, protocol)| NamedPort { name: name.into(), protocol, port }),
        0..2,
    );
    let value = |all: &'static [&'static str]| prop::option::of(select(all));
    let pod = (
        select(vec!["shop", "lab", "tools", "new"]),
        value(&["web", "db", "api", "scan", "odd"]),
        value(&["front", "back", "odd"]),
        value(&["a", "b"]),
        names,
    );
    let pod = (pod, address(v4)).prop_map(|((namespace, app, tier, zone, names), address)| {
        let labels = [("k8s:app", app), ("k8s:tier", tier), ("k8s:zone", zone)];
        let facts = pod_facts(namespace, env_of(namespace), &labels, names);
        (Somebody { itself: Some(facts.clone()), facts, node: None, address }, false)
    });
    let node = (any::<bool>(), prop::option::of(select(vec!["a", "b"])), any::<bool>(), address(v4));
    let node = node.prop_map(|(own, zone, api, address)| {
        let labels: Vec<(&str, &str)> = zone.map(|zone| ("k8s:zone", zone)).into_iter().collect();
        let api = api.then_some(("reserved:kube-apiserver", ""));
        let host = labels.iter().copied().chain([("reserved:host", "")]).chain(api);
        let itself =
            IdentityFacts { number: 0, labels: host.collect(), namespace: None, kind: Kind::Host, named_ports: vec![] };
        let remote = [("reserved:remote-node", "")].into_iter().chain(api).collect();
        let remote = IdentityFacts { labels: remote, kind: Kind::RemoteNode, ..itself.clone() };
        let node = NodeFacts { name: "n".into(), labels: labels.into_iter().collect(), addresses: vec![address] };
        let facts = if own { itself.clone() } else { remote };
        (Somebody { facts, itself: Some(itself), node: Some(node), address }, own)
    });
    let world = if v4 { identity::WORLD_IPV4 } else { identity::WORLD_IPV6 };
    let numbers =
        vec![world, world, world, identity::KUBE_APISERVER, identity::UNMANAGED, identity::INIT, identity::HEALTH];
    let other = (select(numbers), address(v4)).prop_map(|(number, address)| {
        (Somebody { facts: IdentityFacts::reserved(number).unwrap(), itself: None, node: None, address }, false)
    });
    prop_oneof![6 => pod, 1 => node, 2 => other]
}

fn flow() -> impl Strategy<Value = Flow> {
    let spoken = |v4: bool| {
        let icmp = if v4 { 1u8 } else { 58 };
        prop_oneof![
            6 => (select(vec![6u8, 17, 132]), select(generate::PORTS.to_vec())),
            1 => (Just(icmp), select(vec![0u16, 8, 128])),
            1 => (Just(47u8), Just(0u16)),
        ]
    };
    any::<bool>().prop_flat_map(move |v4| (somebody(v4), somebody(v4), spoken(v4))).prop_filter_map(
        "can't be",
        |((from, from_own), (to, to_own), (protocol, port))| {
            let is_pod = |end: &Somebody| end.facts.kind == Kind::Pod;
            let odd = from_own && !is_pod(&to) || to_own && !is_pod(&from) || from.address == to.address;
            (!odd).then_some(Flow { from, to, protocol, port })
        },
    )
}

/// A party in JSON, and the same by hand.
fn party() -> impl Strategy<Value = serde_json::Value> {
    let pods = prop_oneof![
        Just(json!({})),
        select(vec!["web", "db", "api"]).prop_map(|app| json!({"matchLabels": {"app": app}})),
        Just(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web", "scan"]}]})),
        Just(json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]})),
    ];
    prop_oneof![
        6 => pods.clone().prop_map(|pods| json!({"pods": pods})),
        3 => (pods.clone(), select(vec!["shop", "lab"])).prop_map(|(pods, name)| json!({"pods": pods, "namespace": name})),
        2 => pods.prop_map(|pods| json!({"pods": pods, "namespaces": {"matchLabels": {"env": "prod"}}})),
        1 => Just(json!({})),
        2 => select(vec!["world", "host", "remote-node", "cluster", "kube-apiserver", "pod"]).prop_map(|e| json!({"entity": e})),
        1 => Just(json!({"cidr": "203.0.113.0/24"})),
        1 => Just(json!({"cidr": "10.244.1.0/24", "pods": {}})),
    ]
}

fn meant(party: &serde_json::Value, end: &Somebody) -> bool {
    let facts = &end.facts;
    let label = |key: &str| facts.labels.get(key);
    let is_pod = facts.kind == Kind::Pod;
    let labelled = |selector: &serde_json::Value, prefix: &str| {
        let exact = selector["matchLabels"].as_object().into_iter().flatten();
        let exact = exact.into_iter().all(|(key, value)| label(&format!("{prefix}{key}")) == value.as_str());
        let more = selector["matchExpressions"].as_array().into_iter().flatten().all(|one| {
            let found = label(&format!("{prefix}{}", one["key"].as_str().unwrap()));
            match one["operator"].as_str().unwrap() {
                "NotIn" => {
                    !one["values"].as_array().unwrap().iter().any(|value| value.as_str() == found && found.is_some())
                }
                _ => found.is_some(),
            }
        });
        is_pod && exact && more
    };
    let reserved = |name: &str| facts.labels.has(&format!("reserved:{name}"));
    party.as_object().unwrap().iter().all(|(key, value)| match key.as_str() {
        "pods" => labelled(value, "k8s:"),
        "namespaces" => labelled(value, NAMESPACE_LABELS),
        "namespace" => is_pod && label(NAMESPACE) == value.as_str(),
        "cidr" => value.as_str().unwrap().parse::<ipnet::IpNet>().unwrap().contains(&end.address),
        "entity" => match value.as_str().unwrap() {
            "pod" => is_pod,
            "cluster" => is_pod || !(reserved("world")),
            name => reserved(name),
        },
        other => panic!("{other}"),
    })
}

fn question() -> impl Strategy<Value = serde_json::Value> {
    let parties = || prop::option::of(prop::collection::vec(party(), 1..3));
    let ports = prop_oneof![
        Just(json!(null)),
        Just(json!([{"port": 80}])),
        Just(json!([{"port": 53, "protocol": "UDP"}, {"port": 1000, "endPort": 9000}])),
        Just(json!([{"protocol": "ANY"}])),
        Just(json!([{"protocol": "ICMP", "port": 8}, {"protocol": "ICMPv6"}])),
    ];
    (select(vec!["Only", "Never", "Always"]), parties(), parties(), ports).prop_map(|(claim, from, to, ports)| {
        let mut spec = json!({"claim": claim});
        let from = if claim == "Only" { Some(from.unwrap_or_else(|| vec![json!({"pods": {}})])) } else { from };
        for (name, value) in [("from", json!(from)), ("to", json!(to)), ("ports", ports)] {
            if !value.is_null() {
                spec[name] = value;
            }
        }
        json!({"apiVersion": "malla.dev/v1alpha1", "kind": "PolicyQuestion", "metadata": {"name": "q"}, "spec": spec})
    })
}

fn speaks(ports: &serde_json::Value, flow: &Flow) -> bool {
    let Some(ports) = ports.as_array() else { return true };
    ports.iter().any(|port| {
        let protocols: &[u8] = match port["protocol"].as_str().unwrap_or("TCP") {
            "TCP" => &[6],
            "UDP" => &[17],
            "ANY" => &[6, 17, 132],
            "ICMP" => &[1],
            _ => &[58],
        };
        let first = port["port"].as_u64();
        let last = port["endPort"].as_u64().or(first);
        protocols.contains(&flow.protocol)
            && first.is_none_or(|first| first <= u64::from(flow.port))
            && last.is_none_or(|last| u64::from(flow.port) <= last)
    })
}

/// Whether a flow refutes the claim.
fn refutes(question: &serde_json::Value, flow: &Flow, policies: &[Policy]) -> bool {
    // What no policy can be about is nobody's claim.
    let has_node_policies = policies.iter().any(|policy| matches!(policy.subject, Subject::Nodes(_)));
    let is_judged = |end: &Somebody| end.itself.is_some() && (end.node.is_none() || has_node_policies);
    if !is_judged(&flow.from) && !is_judged(&flow.to) {
        return false;
    }
    let spec = &question["spec"];
    let one_of =
        |parties: &serde_json::Value, end| parties.as_array().is_none_or(|all| all.iter().any(|one| meant(one, end)));
    if !speaks(&spec["ports"], flow) || !one_of(&spec["to"], &flow.to) {
        return false;
    }
    let from = one_of(&spec["from"], &flow.from);
    match spec["claim"].as_str().unwrap() {
        "Only" => !from && flow.is_allowed(policies),
        "Never" => from && flow.is_allowed(policies),
        _ => from && !flow.is_allowed(policies),
    }
}

/// A witness, put together of what it says.
fn flow_of(witness: &Witness) -> Flow {
    let end = |one: &policy::prove::Somebody| {
        let names = one.port_names.iter();
        let port =
            |name: &String| NamedPort { name: name.as_str().into(), protocol: witness.protocol, port: witness.port };
        let labels: Vec<(String, String)> = one.labels.iter().map(|(k, v)| (format!("k8s:{k}"), v.clone())).collect();
        match one.what.as_str() {
            "Pod" => {
                let mut facts = pod_facts(one.namespace.as_ref().unwrap(), None, &[], names.map(port).collect());
                let more = one.namespace_labels.iter().map(|(k, v)| (format!("{NAMESPACE_LABELS}{k}"), v.clone()));
                let all = facts.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).chain(labels).chain(more);
                facts.labels = all.collect();
                Somebody { itself: Some(facts.clone()), facts, node: None, address: one.address }
            }
            what @ ("host" | "remote-node") => {
                let api = one.runs_api_server.then(|| ("reserved:kube-apiserver".to_owned(), String::new()));
                let host =
                    labels.iter().cloned().chain([("reserved:host".to_owned(), String::new())]).chain(api.clone());
                let itself = IdentityFacts {
                    number: 0,
                    labels: host.collect(),
                    namespace: None,
                    kind: Kind::Host,
                    named_ports: vec![],
                };
                let remote = [("reserved:remote-node".to_owned(), String::new())].into_iter().chain(api).collect();
                let remote = IdentityFacts { labels: remote, kind: Kind::RemoteNode, ..itself.clone() };
                let node =
                    NodeFacts { name: "n".into(), labels: labels.into_iter().collect(), addresses: vec![one.address] };
                let facts = if what == "host" { itself.clone() } else { remote };
                Somebody { facts, itself: Some(itself), node: Some(node), address: one.address }
            }
            what => {
                let number = match what {
                    "world" if one.address.is_ipv4() => identity::WORLD_IPV4,
                    "world" => identity::WORLD_IPV6,
                    what => (1..20).find(|number| identity::reserved_name(*number) == Some(what)).unwrap(),
                };
                Somebody {
                    facts: IdentityFacts::reserved(number).unwrap(),
                    itself: None,
                    node: None,
                    address: one.address,
                }
            }
        }
    };
    Flow { from: end(&witness.from), to: end(&witness.to), protocol: witness.protocol, port: witness.port }
}

fn known(policies: &[Policy]) -> Known {
    let namespaces = ["shop", "lab", "tools"].map(|name| {
        let labels = BTreeMap::from([("env".to_owned(), env_of(name).unwrap().to_owned())]);
        (name.to_owned(), labels)
    });
    // Of "new" nobody knows anything.
    Known {
        policies: policies.to_vec(),
        namespaces: namespaces.into(),
        cluster: "default".into(),
        pod_ranges: Vec::new(),
    }
}

fn ask(policies: &[Policy], question: &serde_json::Value) -> Answer {
    let question: Question = serde_json::from_value(question.clone()).unwrap();
    prove(&known(policies), &question, MOST_STEPS)
        .unwrap_or_else(|error| panic!("{error}\n{question:?}\n{policies:#?}"))
}

/// A namespace has the same labels for all of its Pods, and those that are known.
fn can_be(witness: &Witness) -> Result<(), TestCaseError> {
    let (from, to) = (&witness.from, &witness.to);
    if from.namespace.is_some() && from.namespace == to.namespace {
        prop_assert_eq!(&from.namespace_labels, &to.namespace_labels, "{:#?}", witness);
    }
    for end in [from, to] {
        // Where no selector asks about it, nothing is said of it.
        if let (Some(env), Some(said)) = (end.namespace.as_deref().and_then(env_of), end.namespace_labels.get("env")) {
            prop_assert_eq!(env, said);
        }
    }
    Ok(())
}

const CASES: u32 = 1_500;
const FLOWS: usize = 400;

#[test]
fn no_has_a_witness_and_yes_can_not_be_refuted() {
    let (yes, no, tries) = (Cell::new(0u32), Cell::new(0u32), Cell::new(0u64));
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 300,
        max_local_rejects: u32::MAX,
        ..Config::default()
    });
    let flows = prop::collection::vec(flow(), FLOWS);
    let result = runner.run(&(generate::policies(), question(), flows), |(policies, question, flows)| {
        let answer = ask(&policies, &question);
        match &answer.witness {
            Some(witness) => {
                no.set(no.get() + 1);
                prop_assert!(!answer.holds);
                can_be(witness)?;
                let flow = flow_of(witness);
                prop_assert!(
                    refutes(&question, &flow, &policies),
                    "{witness:#?} refutes nothing\n{question}\n{policies:#?}"
                );
            }
            None => {
                yes.set(yes.get() + 1);
                prop_assert!(answer.holds);
                for flow in &flows {
                    tries.set(tries.get() + 1);
                    prop_assert!(
                        !refutes(&question, flow, &policies),
                        "{flow:#?} refutes it\n{question}\n{policies:#?}"
                    );
                }
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let (yes, no) = (yes.get(), no.get());
    assert!(yes >= 100 && no >= 100, "{yes} yes, {no} no: one of them is hardly tested");
    println!("{yes} yes, which {} flows did not refute; {no} no", tries.get());
}

/// What the issue asks for: whatever Pods come.
#[test]
fn a_label_that_nobody_has_yet_is_found() {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "db"}},
        "ingress": [
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "backend"}}}], "ports": [{"port": 5432}]},
            {"from": [{"podSelector": {"matchLabels": {"debug": "yes"}}}]},
        ],
    });
    let object = |spec: &serde_json::Value| {
        let object = json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": spec});
        policy::dialect::network_policy::convert(&serde_json::from_value(object).unwrap()).unwrap()
    };
    let question = json!({
        "apiVersion": "malla.dev/v1alpha1", "kind": "PolicyQuestion", "metadata": {"name": "only-backend"},
        "spec": {
            "claim": "Only",
            "from": [{"pods": {"matchLabels": {"app": "backend"}}}, {"entity": "host"}],
            "to": [{"pods": {"matchLabels": {"app": "db"}}, "namespace": "shop"}],
            "ports": [{"port": 5432}],
        },
    });
    let answer = ask(&[object(&spec)], &question);
    let witness = answer.witness.expect("debug=yes gets in");
    assert_eq!(witness.from.labels, BTreeMap::from([("debug".to_owned(), "yes".to_owned())]));
    assert_eq!((witness.from.namespace.as_deref(), witness.port), (Some("shop"), 5432));
    let rule = witness.ingress.unwrap().decided_by.remove(0).rule.to_string();
    assert_eq!(rule, "NetworkPolicy shop/db spec.ingress[1]");
    let mut better = spec;
    better["ingress"].as_array_mut().unwrap().pop();
    assert!(ask(&[object(&better)], &question).holds);
}

/// Many policies about many labels: what can't be true is left out, not tried.
#[test]
fn a_thousand_policies_are_no_product() {
    let policies: Vec<Policy> = (0..1_000)
        .map(|n| {
            let object = json!({
                "metadata": {"name": format!("p{n}"), "namespace": format!("ns{}", n % 50)},
                "spec": {
                    "podSelector": {"matchLabels": {"app": format!("app{n}"), format!("key{}", n % 20): "on"}},
                    "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": format!("app{}", n + 50)}}}], "ports": [{"port": 80 + n % 7}]}],
                    "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"team": format!("t{}", n % 9)}}}]}],
                },
            });
            policy::dialect::network_policy::convert(&serde_json::from_value(object).unwrap()).unwrap()
        })
        .collect();
    let question = |from: &str| {
        json!({
            "apiVersion": "malla.dev/v1alpha1", "kind": "PolicyQuestion", "metadata": {"name": "q"},
            "spec": {
                "claim": "Only",
                "from": [{"pods": {"matchLabels": {"app": from}}, "namespace": "ns7"}, {"entity": "host"}],
                "to": [{"pods": {"matchLabels": {"app": "app57", "key17": "on"}}, "namespace": "ns7"}],
                "ports": [{"port": 81}],
            },
        })
    };
    let started = std::time::Instant::now();
    assert!(ask(&policies, &question("app107")).holds, "nobody else");
    assert!(!ask(&policies, &question("app108")).holds);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn questions_that_mean_nothing_name_their_field() {
    let check = |spec: serde_json::Value, expected: &str| {
        let question = json!({"apiVersion": "malla.dev/v1alpha1", "kind": "PolicyQuestion", "metadata": {"name": "q"}, "spec": spec});
        let question: Question = serde_json::from_value(question).unwrap();
        let fields: Vec<String> = question.mistakes().into_iter().map(|one| one.field).collect();
        assert_eq!(fields, [expected]);
        assert!(prove(&Known::default(), &question, MOST_STEPS).is_err());
    };
    check(json!({"claim": "Only"}), "spec.from");
    check(json!({"claim": "Never", "ports": [{"endPort": 5}]}), "spec.ports[0].port");
    check(json!({"claim": "Never", "ports": [{"port": 9, "endPort": 5}]}), "spec.ports[0].endPort");
    check(json!({"claim": "Never", "ports": [{"protocol": "ICMP", "port": 300}]}), "spec.ports[0].port");
    let bad = json!({"claim": "Never", "to": [{"pods": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}]});
    check(bad, "spec.to[0].pods.matchExpressions[0].operator");
    let question = Question {
        api_version: "v1".into(),
        kind: "Question".into(),
        metadata: Metadata { name: "q".into() },
        spec: Spec {
            description: None,
            claim: Claim::Never,
            from: None,
            to: None,
            ports: None,
            assume: Default::default(),
        },
    };
    assert_eq!(question.mistakes().len(), 2);
}
