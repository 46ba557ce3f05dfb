//! What hangs on other objects: Services and groups of prefixes.

use super::*;
use crate::events::Names;
use policy::rule::{Peer, Peers, Scope};
use policy::selector::Labels as Known;
use policy::selector::NAMESPACE;

fn policies() -> Policies {
    Policies::new(Tables::default(), Capacity::each(10_000), &Failsafe::default())
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn cilium(spec: serde_json::Value) -> Input {
    let object = serde_json::json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
    Input::Cilium(Told::Set(name("p"), Some(Arc::new(serde_json::from_value(object).unwrap()))))
}

fn service(policies: &mut Policies, called: &str, labels: &[(&str, &str)], selector: &[(&str, &str)], at: &[&str]) {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let facts = ServiceFacts { labels: map(labels), selector: map(selector), addresses: Vec::new() };
    let named = name(called);
    assert!(policies.take_service(Told::Set(named.clone(), Some(facts))).len() <= 1);
    policies.refer(&named, at.iter().map(|address| address.parse().unwrap()));
}

/// The peers of the only rule, after a plan.
fn peers(policies: &mut Policies) -> Vec<Peer> {
    policies.plan();
    let mut written = policies.planner.policies().filter(|policy| &*policy.origin.name == "p");
    let policy = written.next().expect("the policy");
    policy
        .rules
        .iter()
        .flat_map(|rule| match &rule.peers {
            Peers::OneOf(peers) => peers.clone(),
            Peers::Any => panic!("everybody"),
        })
        .collect()
}

fn addresses(peers: &[Peer]) -> Vec<String> {
    peers
        .iter()
        .map(|peer| match peer {
            Peer::Cidr { net, except, scope: Scope::Everyone } if except.is_empty() => net.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn to_services(rule: serde_json::Value) -> Input {
    cilium(serde_json::json!({"endpointSelector": {}, "egress": [{"toServices": [rule]}]}))
}

#[test]
fn a_service_with_a_selector_stands_for_its_pods() {
    let mut policies = policies();
    policies.take(to_services(serde_json::json!({"k8sService": {"serviceName": "db"}})));
    assert_eq!(peers(&mut policies), [], "there is none yet");
    assert!(policies.problems().iter().any(|text| text.contains("no such Service")), "{:?}", policies.problems());
    service(&mut policies, "db", &[], &[("app", "db")], &["10.244.1.7"]);
    let found = peers(&mut policies);
    let [Peer::Endpoints(selector)] = &*found else { panic!("{found:?}") };
    let who = |namespace, app| Known::from_iter([(NAMESPACE, namespace), ("k8s:app", app)]);
    assert!(selector.matches(&who("default", "db")));
    assert!(!selector.matches(&who("other", "db")) && !selector.matches(&who("default", "web")));
    assert_eq!(policies.problems(), Vec::<String>::new());
    // It selects others now; its Pods' addresses are no matter.
    service(&mut policies, "db", &[], &[("app", "web")], &["10.244.1.7", "10.244.1.8"]);
    let found = peers(&mut policies);
    let [Peer::Endpoints(selector)] = &*found else { panic!("{found:?}") };
    assert!(selector.matches(&who("default", "web")));
    // It goes.
    let gone = policies.take_service(Told::Gone(name("db")));
    gone.iter().for_each(|name| policies.refer(name, std::iter::empty()));
    assert_eq!(peers(&mut policies), []);
}

#[test]
fn a_service_without_a_selector_stands_for_its_addresses_as_they_are() {
    let mut policies = policies();
    policies
        .take(to_services(serde_json::json!({"k8sServiceSelector": {"selector": {"matchLabels": {"tier": "old"}}}})));
    service(&mut policies, "mainframe", &[("tier", "old")], &[], &["203.0.113.9"]);
    assert_eq!(addresses(&peers(&mut policies)), ["203.0.113.9/32"]);
    service(&mut policies, "other", &[("tier", "new")], &[], &["203.0.113.10"]);
    assert_eq!(addresses(&peers(&mut policies)), ["203.0.113.9/32"]);
    policies.refer(&name("mainframe"), ["2001:db8::9", "203.0.113.8"].map(|a| a.parse().unwrap()).into_iter());
    assert_eq!(addresses(&peers(&mut policies)), ["203.0.113.8/32", "2001:db8::9/128"]);
    // A label makes another Service one of them.
    service(&mut policies, "other", &[("tier", "old")], &[], &["203.0.113.10"]);
    assert_eq!(addresses(&peers(&mut policies)).len(), 3);
    policies.refer(&name("mainframe"), std::iter::empty());
    assert_eq!(addresses(&peers(&mut policies)), ["203.0.113.10/32"]);
}

/// A Service's Pods come and go all the time.
#[test]
fn what_changes_nothing_reads_nothing_again() {
    let mut policies = policies();
    policies.take(to_services(serde_json::json!({"k8sService": {"serviceName": "db"}})));
    service(&mut policies, "db", &[], &[("app", "db")], &["10.244.1.7"]);
    peers(&mut policies);
    policies.refer(&name("db"), ["10.244.1.8"].map(|a| a.parse().unwrap()).into_iter());
    policies.services.follow(&mut policies.references.services);
    assert!(policies.services.take_changed().is_empty());
    assert_eq!(policies.references.services.len(), 1);
    // Nobody names any: nothing is kept twice, and it is all there when somebody does again.
    policies.take(cilium(serde_json::json!({"endpointSelector": {}, "egress": [{"toEntities": ["world"]}]})));
    service(&mut policies, "mainframe", &[], &[], &["203.0.113.9"]);
    policies.plan();
    assert!(policies.references.services.is_empty());
    policies.take(to_services(serde_json::json!({"k8sService": {"serviceName": "mainframe"}})));
    assert_eq!(addresses(&peers(&mut policies)), ["203.0.113.9/32"]);
}

#[test]
fn groups_of_prefixes_are_read_as_they_are_now() {
    let mut policies = policies();
    policies.take(cilium(serde_json::json!({"endpointSelector": {}, "egress": [
        {"toCIDRSet": [{"cidrGroupSelector": {"matchLabels": {"site": "north"}}, "except": ["198.51.100.128/25"]}]}
    ]})));
    let group = |site: &str, prefixes: &[&str]| CidrGroup {
        labels: [("site".to_owned(), site.to_owned())].into(),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
    };
    let nets = |policies: &mut Policies| -> Vec<String> {
        let all = peers(policies);
        all.iter()
            .map(|peer| match peer {
                Peer::Cidr { net, scope: Scope::Outside, .. } => net.to_string(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let set = |one: CidrGroup| Input::Group(Told::Set(ObjectName::new("", "g"), Some(one)));
    policies.take(set(group("north", &["198.51.100.0/24"])));
    assert_eq!(nets(&mut policies), ["198.51.100.0/24"]);
    policies.take(set(group("north", &["198.51.100.0/24", "203.0.113.0/24"])));
    assert_eq!(nets(&mut policies).len(), 2);
    policies.take(set(group("south", &["198.51.100.0/24"])));
    assert_eq!(nets(&mut policies), Vec::<String>::new());
}

#[test]
fn an_object_about_whom_there_is_no_room_for_is_news_when_it_is_in_force() {
    let room = Capacity { policies: 0, ..Capacity::each(10_000) };
    let mut policies = Policies::new(Tables::default(), room, &Failsafe::default());
    let labels = [("k8s:app", "web"), (NAMESPACE, "default")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    policies.take_identity(300, Some(&Labels::from_map(&labels.into()).unwrap()));
    policies.set_subjects([300].into());
    policies.take(cilium(serde_json::json!({"endpointSelector": {}, "ingress": [{"fromEntities": ["all"]}]})));
    policies.plan();
    assert!(policies.no_room().is_some() && policies.news().is_empty());
    // It is about nobody here.
    policies.set_subjects(BTreeSet::new());
    policies.plan();
    let news = policies.news();
    assert!(news.len() == 1 && news.values().all(|news| news.rules.is_some()), "{news:?}");
    assert!(policies.news().is_empty());
}

#[test]
fn names_tell_of_which_object_a_policy_is_and_whether_the_plan_stands() {
    let mut policies = policies();
    let labels = [("k8s:app", "web"), (NAMESPACE, "default")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    policies.take_identity(300, Some(&Labels::from_map(&labels.into()).unwrap()));
    policies.set_subjects([300].into());
    let object = serde_json::json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "17-4"},
        "spec": {"endpointSelector": {}, "ingress": [{"fromEntities": ["world"]}]},
    });
    policies.take(Input::Cilium(Told::Set(name("p"), Some(Arc::new(serde_json::from_value(object).unwrap())))));
    policies.plan();
    let told = |policies: &Policies| {
        let mut names = Names::default();
        policies.name_rules(&mut names);
        names
    };
    let names = told(&policies);
    let rules: Vec<_> = names.rules.values().filter(|rule| rule.name.name == "p").collect();
    assert!(!rules.is_empty() && rules.iter().all(|rule| rule.uid.as_deref() == Some("17-4")), "{rules:?}");
    let denying = &names.default_deny[&(300, policy::rule::Direction::Ingress)];
    let uids: Vec<Option<&str>> = denying.uids.iter().map(Option::as_deref).collect();
    assert_eq!((denying.policies.len(), uids), (1, vec![Some("17-4")]));
    policies.plan();
    assert!(names.revision.stands(), "nothing was different");
    policies.take(Input::Cilium(Told::Gone(name("p"))));
    assert!(names.revision.stands(), "nothing is written yet");
    policies.plan();
    assert!(!names.revision.stands() && told(&policies).revision.stands());
}

#[test]
fn nodes_have_their_labels_and_the_own_one_its_roles() {
    let node = Node {
        name: "worker-1".into(),
        addresses: vec!["172.18.0.3".parse().unwrap()],
        pod_ranges: Vec::new(),
        zone: None,
        labels: [("rack".into(), "7".into())].into(),
    };
    assert!(node_facts(&node).labels.has("k8s:rack"));
    let facts = host_facts(&node, true);
    assert!(["k8s:rack", "reserved:host", "reserved:kube-apiserver"].iter().all(|label| facts.labels.has(label)));
    let facts = host_facts(&node, false);
    assert!(facts.labels.has("reserved:host") && !facts.labels.has("reserved:kube-apiserver"));
}
