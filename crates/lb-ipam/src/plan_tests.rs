//! One promise per test; the world is written as the API would have it.

use super::*;
use custom_resources::CiliumLoadBalancerIPPool;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

fn pool(name: &str, created: u8, spec: Value) -> Pool {
    let object: CiliumLoadBalancerIPPool = serde_json::from_value(json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool",
        "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
        "spec": spec,
    }))
    .unwrap();
    Pool::of(&object)
}

fn cidr(name: &str, created: u8, cidr: &str) -> Pool {
    pool(name, created, json!({"blocks": [{"cidr": cidr}]}))
}

/// A Service of both families with one port; `more` is merged over it.
fn service(name: &str, created: u8, more: Value) -> Service {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let mut object = json!({
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
        "spec": {
            "type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": name},
        },
    });
    merge(&mut object, more);
    serde_json::from_value(object).unwrap()
}

fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| merge(target.entry(key).or_insert(Value::Null), value));
        }
        (target, more) => *target = more,
    }
}

fn v4(name: &str, created: u8, more: Value) -> Service {
    let mut all = json!({"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}});
    merge(&mut all, more);
    service(name, created, all)
}

fn holding(addresses: &[&str]) -> Value {
    json!({"status": {"loadBalancer": {"ingress": addresses.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>()}}})
}

fn asking(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

fn planned(pools: &[Pool], services: &[Service]) -> Plan {
    plan(pools, &services.iter().filter_map(Request::of).collect::<Vec<_>>())
}

/// `10.0.0.1, fd00::1` or `reason` or both.
fn outcome(plan: &Plan, name: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let Some(grant) = plan.grants.get(&ObjectName::new(namespace, name)) else { return "not ours".to_owned() };
    let mut words: Vec<String> = grant.addresses.iter().map(ToString::to_string).collect();
    if let Verdict::Unsatisfied { reason, .. } = grant.verdict {
        words.push(reason.to_owned());
    }
    words.join(", ")
}

#[test]
fn the_lowest_free_of_both_families_oldest_first() {
    let pools =
        [pool("p", 0, json!({"blocks": [{"start": "10.0.0.5", "stop": "10.0.0.6"}, {"cidr": "fd00::10/126"}]}))];
    let plan = planned(
        &pools,
        &[service("late", 9, json!({})), service("early", 1, json!({})), service("third", 10, json!({}))],
    );
    assert_eq!(outcome(&plan, "early"), "10.0.0.5, fd00::10");
    assert_eq!(outcome(&plan, "late"), "10.0.0.6, fd00::11");
    assert_eq!(outcome(&plan, "third"), "fd00::12, out_of_ips");
    assert_eq!(plan.pools["p"], PoolReport { conflict: None, total: 6, used: 5 });
    assert_eq!(plan.pools["p"].available(), 1);
}

#[test]
fn what_is_held_stays_although_an_older_service_comes() {
    let pools = [cidr("p", 0, "10.0.0.0/24")];
    let plan = planned(&pools, &[v4("old", 1, json!({})), v4("holder", 2, holding(&["10.0.0.0"]))]);
    assert_eq!(outcome(&plan, "holder"), "10.0.0.0");
    assert_eq!(outcome(&plan, "old"), "10.0.0.1");
}

#[test]
fn first_and_last_are_given_unless_forbidden() {
    let spec = json!({"blocks": [{"cidr": "10.0.0.0/30"}], "allowFirstLastIPs": "No"});
    let plan = planned(&[pool("p", 0, spec)], &[v4("a", 0, json!({})), v4("b", 1, json!({})), v4("c", 2, json!({}))]);
    assert_eq!([outcome(&plan, "a"), outcome(&plan, "b"), outcome(&plan, "c")], ["10.0.0.1", "10.0.0.2", "out_of_ips"]);
}

#[test]
fn a_disabled_pool_keeps_what_it_gave_and_gives_nothing() {
    let pools = [pool("p", 0, json!({"blocks": [{"cidr": "10.0.0.0/24"}], "disabled": true}))];
    let services = [
        v4("holder", 1, holding(&["10.0.0.7"])),
        v4("new", 2, json!({})),
        v4("asking", 3, asking(json!({"lbipam.cilium.io/ips": "10.0.0.9"}))),
    ];
    let plan = planned(&pools, &services);
    assert_eq!(outcome(&plan, "holder"), "10.0.0.7");
    assert_eq!(outcome(&plan, "new"), "no_pool");
    assert_eq!(outcome(&plan, "asking"), "no_pool");
}

#[test]
fn the_younger_of_two_overlapping_pools_gives_nothing_new() {
    let pools = [cidr("a-young", 5, "10.0.0.0/24"), cidr("z-old", 1, "10.0.0.128/25"), cidr("free", 9, "10.0.1.0/24")];
    let services = [v4("holder", 1, holding(&["10.0.0.7"])), v4("new", 2, json!({}))];
    let plan = planned(&pools, &services);
    assert_eq!(outcome(&plan, "holder"), "10.0.0.7");
    assert_eq!(outcome(&plan, "new"), "10.0.1.0", "pools are asked by name, without the conflicting one");
    let why = plan.pools["a-young"].conflict.as_deref().unwrap();
    assert!(why.contains("z-old"), "{why}");
    assert_eq!((&plan.pools["z-old"].conflict, &plan.pools["free"].conflict), (&None, &None));
}

#[test]
fn a_pool_that_is_in_conflict_is_in_nobodys_way_and_one_with_itself_is_too() {
    let pools = [
        cidr("1", 1, "10.0.0.0/25"),
        cidr("2", 2, "10.0.0.0/23"),
        cidr("3", 3, "10.0.1.0/24"),
        pool("4", 4, json!({"blocks": [{"cidr": "10.9.0.0/24"}, {"start": "10.9.0.3"}]})),
        pool("5", 5, json!({"blocks": [{"cidr": "10.8.0.0/24"}, {"start": "nonsense"}]})),
        pool(
            "6",
            6,
            json!({"blocks": [{"cidr": "10.7.0.0/24"}],
            "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
        ),
    ];
    let plan = planned(&pools, &[]);
    let conflicts: Vec<&str> =
        plan.pools.iter().filter(|(_, report)| report.conflict.is_some()).map(|(name, _)| name.as_str()).collect();
    assert_eq!(conflicts, ["2", "4", "5", "6"]);
}

#[test]
fn selectors_choose_the_pool_and_take_away_what_they_no_longer_choose() {
    let blue = json!({"blocks": [{"cidr": "10.1.0.0/24"}], "serviceSelector": {"matchLabels": {"color": "blue"}}});
    let shop = json!({"blocks": [{"cidr": "10.2.0.0/24"}],
        "serviceSelector": {"matchLabels": {"io.kubernetes.service.namespace": "shop"}}});
    let pools = [pool("blue", 0, blue), pool("shop", 0, shop)];
    let mut was_blue = holding(&["10.1.0.9"]);
    merge(&mut was_blue, json!({"metadata": {"labels": {"color": "red"}}}));
    let services = [
        v4("one", 1, json!({"metadata": {"labels": {"color": "blue"}}})),
        v4("shop/two", 2, json!({})),
        v4("three", 3, json!({})),
        v4("four", 4, was_blue),
        v4("five", 5, asking(json!({"lbipam.cilium.io/ips": "10.1.0.200"}))),
    ];
    let plan = planned(&pools, &services);
    let all = ["one", "shop/two", "three", "four", "five"].map(|name| outcome(&plan, name));
    assert_eq!(all, ["10.1.0.0", "10.2.0.0", "no_pool", "no_pool", "pool_selector_mismatch"]);
}

#[test]
fn addresses_that_are_asked_for() {
    let pools = [pool("p", 0, json!({"blocks": [{"cidr": "10.0.0.0/24"}, {"cidr": "fd00::/120"}]}))];
    let ips = |list: &str| asking(json!({"lbipam.cilium.io/ips": list}));
    let services = [
        v4("generic", 0, json!({})),
        v4("zero", 1, ips("10.0.0.0")),
        v4("late", 2, ips("10.0.0.0")),
        v4("several", 3, ips(" 10.0.0.50,10.0.0.51, fd00::7 ,")),
        v4("elsewhere", 4, ips("192.0.2.1,10.0.0.60")),
        v4("legacy", 5, json!({"spec": {"loadBalancerIP": "10.0.0.70"}})),
        v4("rubbish", 6, ips("10.0.0.80,ten")),
        v4(
            "moved",
            7,
            json!({"metadata": {"annotations": {"lbipam.cilium.io/ips": "10.0.0.91"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.90"}]}}}),
        ),
        v4("old-name", 8, asking(json!({"io.cilium/lb-ipam-ips": "10.0.0.95"}))),
    ];
    let plan = planned(&pools, &services);
    assert_eq!(outcome(&plan, "zero"), "10.0.0.0", "before those who don't care");
    assert_eq!(outcome(&plan, "generic"), "10.0.0.1");
    assert_eq!(outcome(&plan, "late"), "already_allocated");
    assert_eq!(outcome(&plan, "several"), "10.0.0.50, 10.0.0.51, fd00::7");
    assert_eq!(outcome(&plan, "elsewhere"), "10.0.0.60, no_pool");
    assert_eq!(outcome(&plan, "legacy"), "10.0.0.70");
    assert_eq!(outcome(&plan, "rubbish"), "10.0.0.80, invalid_ip");
    assert_eq!(outcome(&plan, "moved"), "10.0.0.91");
    assert_eq!(outcome(&plan, "old-name"), "10.0.0.95");
}

#[test]
fn families_and_their_policy() {
    let only_v4 = [cidr("p", 0, "10.0.0.0/24")];
    let policy = |policy: &str, families: &[&str]| json!({"spec": {"ipFamilyPolicy": policy, "ipFamilies": families}});
    let services = [
        service("single", 1, policy("SingleStack", &["IPv4"])),
        service("single-v6", 2, policy("SingleStack", &["IPv6"])),
        service("prefer", 3, policy("PreferDualStack", &["IPv6", "IPv4"])),
        service("require", 4, policy("RequireDualStack", &["IPv4", "IPv6"])),
        service("nothing-said", 5, json!({"spec": {"ipFamilyPolicy": null, "ipFamilies": null}})),
        service(
            "single-again",
            6,
            json!({"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "fd00::1"}, {"ip": "10.0.0.99"}]}}}),
        ),
    ];
    let plan = planned(&only_v4, &services);
    let all =
        ["single", "single-v6", "prefer", "require", "nothing-said", "single-again"].map(|name| outcome(&plan, name));
    assert_eq!(all, ["10.0.0.0", "no_pool", "10.0.0.1", "10.0.0.2, no_pool", "10.0.0.3", "10.0.0.99"]);
}

#[test]
fn sharing_needs_the_key_free_ports_and_both_namespaces() {
    let pools = [cidr("p", 0, "10.0.0.0/24")];
    let sharing = |port: u16, protocol: &str, namespaces: &str| {
        json!({
            "metadata": {"annotations": {
                "lbipam.cilium.io/sharing-key": "k", "lbipam.cilium.io/sharing-cross-namespace": namespaces}},
            "spec": {"ports": [{"port": port, "protocol": protocol}]},
        })
    };
    let mut other_key = sharing(9, "TCP", "");
    other_key["metadata"]["annotations"]["lbipam.cilium.io/sharing-key"] = json!("other");
    let mut local = sharing(10, "TCP", "");
    local["spec"]["externalTrafficPolicy"] = json!("Local");
    let mut asks = sharing(80, "TCP", "");
    asks["metadata"]["annotations"]["lbipam.cilium.io/ips"] = json!("10.0.0.0");
    let services = [
        v4("first", 1, sharing(80, "TCP", "shop")),
        v4("other-port", 2, sharing(81, "TCP", "")),
        v4("other-protocol", 3, sharing(80, "UDP", "")),
        v4("same-port", 4, sharing(80, "TCP", "")),
        v4("shop/unwanted", 5, sharing(82, "TCP", "")),
        v4("with-another-key", 6, other_key),
        v4("local", 7, local),
        v4("asks", 8, asks),
        v4("no-key", 9, asking(json!({"lbipam.cilium.io/ips": "10.0.0.0"}))),
    ];
    let plan = planned(&pools, &services);
    let outcomes: Vec<String> = services
        .iter()
        .map(|s| {
            outcome(
                &plan,
                &format!("{}/{}", s.metadata.namespace.as_deref().unwrap(), s.metadata.name.as_deref().unwrap()),
            )
        })
        .collect();
    // `asks` and `no-key` ask for certain addresses and are served before the others: `asks` is the key's first.
    assert_eq!(outcomes[7], "10.0.0.0");
    assert_eq!(outcomes[8], "already_allocated");
    assert_eq!(&outcomes[..7], ["10.0.0.1", "10.0.0.0", "10.0.0.0", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);

    let both = [v4("one", 1, sharing(80, "TCP", "shop")), v4("shop/two", 2, sharing(81, "TCP", "*"))];
    let plan = planned(&pools, &both);
    assert_eq!([outcome(&plan, "one"), outcome(&plan, "shop/two")], ["10.0.0.0", "10.0.0.0"]);
    let one_sided = [v4("one", 1, sharing(80, "TCP", "")), v4("shop/two", 2, sharing(81, "TCP", "*"))];
    let plan = planned(&pools, &one_sided);
    assert_eq!([outcome(&plan, "one"), outcome(&plan, "shop/two")], ["10.0.0.0", "10.0.0.1"]);
}

#[test]
fn an_incompatible_sharer_is_told_with_whom_and_why() {
    let pools = [cidr("p", 0, "10.0.0.0/24")];
    let asks = asking(json!({"lbipam.cilium.io/ips": "10.0.0.9", "lbipam.cilium.io/sharing-key": "k"}));
    let plan = planned(&pools, &[v4("one", 1, asks.clone()), v4("two", 2, asks)]);
    let Verdict::Unsatisfied { reason, message } = &plan.grants[&ObjectName::new("default", "two")].verdict else {
        panic!("two Services with the same port share an address");
    };
    assert_eq!(*reason, "already_allocated_incompatible_service");
    assert!(message.contains("default/one") && message.contains("port"), "{message}");
}

#[test]
fn other_classes_and_types_are_not_ours() {
    let pools = [cidr("p", 0, "10.0.0.0/24")];
    let services = [
        v4("ours", 1, json!({"spec": {"loadBalancerClass": "io.cilium/l2-announcer"}})),
        v4("theirs", 2, json!({"spec": {"loadBalancerClass": "example.com/cloud"}})),
        v4("node-port", 3, json!({"spec": {"type": "NodePort"}})),
    ];
    let plan = planned(&pools, &services);
    let all = ["ours", "theirs", "node-port"].map(|name| outcome(&plan, name));
    assert_eq!(all, ["10.0.0.0", "not ours", "not ours"]);
}

#[test]
fn fifty_thousand_services_in_a_moment() {
    let pools = [cidr("p", 0, "10.0.0.0/15"), cidr("q", 0, "fd00::/64")];
    let requests: Vec<Request> =
        (0..50_000).filter_map(|n| Request::of(&service(&format!("s{n}"), 0, json!({})))).collect();
    let started = std::time::Instant::now();
    let first = plan(&pools, &requests);
    assert!(first.grants.values().all(|grant| grant.addresses.len() == 2 && grant.verdict == Verdict::Satisfied));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
