//! Tests of [`super`]: the specification's paragraphs, and that a change leaves nothing of what was before.

use hickory_proto::rr::{RData, RecordType};
use serde_json::{Value, json};

use super::*;

fn table() -> Table {
    Table::new(Name::from_ascii("cluster.local.").unwrap(), vec!["10.96.0.10".parse().unwrap()])
}

fn service(table: &mut Table, name: &str, spec: Value) {
    let object = json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec });
    table.set_service(Key::new("shop", name), service_facts(&serde_json::from_value(object).unwrap()));
}

fn slice(table: &mut Table, name: &str, service: &str, endpoints: Value, ports: Value) {
    let object = json!({
        "metadata": { "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    table.set_slice(Key::new("shop", name), slice_facts(&serde_json::from_value(object).unwrap()));
}

/// What is at a name of the zone, as text, sorted; `None` for no such name.
fn at(table: &Table, name: &str) -> Option<Vec<String>> {
    let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).collect();
    let mut texts: Vec<String> = match table.lookup(&labels) {
        Found::Nothing => return None,
        Found::Alias(name) => vec![format!("CNAME {name}")],
        Found::Here(records) | Found::Services { records, .. } => {
            records.iter().map(|record| format!("{} {record}", record.record_type())).collect()
        }
    };
    texts.sort();
    Some(texts)
}

fn names(table: &Table, address: &str) -> Vec<String> {
    table.names_of(address.parse().unwrap()).map(ToString::to_string).collect()
}

fn some(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn the_zones_own_names() {
    let table = table();
    assert_eq!(at(&table, "dns-version"), some(&["TXT 1.1.0"]));
    assert_eq!(at(&table, "ns.dns"), some(&["A 10.96.0.10"]));
    let types: Vec<RecordType> = table.apex().iter().map(RData::record_type).collect();
    assert_eq!(types, [RecordType::NS, RecordType::SOA]);
    assert_eq!(at(&table, "svc"), some(&[]));
    assert_eq!(at(&table, "elsewhere"), None);
}

#[test]
fn a_service_with_addresses() {
    let mut table = table();
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
    service(
        &mut table,
        "web",
        json!({ "clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1", "fd00::1"], "ports": ports }),
    );
    assert_eq!(at(&table, "web.shop.svc"), some(&["A 10.96.1.1", "AAAA fd00::1"]));
    assert_eq!(at(&table, "_http._tcp.web.shop.svc"), some(&["SRV 0 100 80 web.shop.svc.cluster.local."]));
    assert_eq!(at(&table, "_dns._udp.web.shop.svc"), some(&["SRV 0 100 53 web.shop.svc.cluster.local."]));
    assert_eq!(at(&table, "_udp.web.shop.svc"), some(&[]), "there is something below");
    assert_eq!(at(&table, "shop.svc"), some(&[]));
    for nothing in [
        "_dns._tcp.web.shop.svc",
        "_sctp.web.shop.svc",
        "http._tcp.web.shop.svc",
        "x.web.shop.svc",
        "a.b.c.web.shop.svc",
        "other.shop.svc",
        "elsewhere.svc",
        "web.sho.svc",
    ] {
        assert_eq!(at(&table, nothing), None, "{nothing}");
    }
    assert_eq!(names(&table, "fd00::1"), ["web.shop.svc.cluster.local."]);
}

#[test]
fn an_unnamed_port_has_no_srv_record() {
    let mut table = table();
    service(&mut table, "web", json!({ "clusterIP": "10.96.1.1", "ports": [{ "port": 80 }] }));
    assert_eq!(at(&table, "_tcp.web.shop.svc"), None);
    assert_eq!(at(&table, "_._tcp.web.shop.svc"), None);
}

#[test]
fn a_headless_service_is_its_ready_endpoints() {
    let mut table = table();
    // The slices first: their order is nobody's promise.
    let endpoints = json!([
        { "addresses": ["10.244.1.2"], "hostname": "web-0", "conditions": { "ready": true } },
        { "addresses": ["10.244.2.3"] },
        { "addresses": ["10.244.2.4"], "hostname": "web-1", "conditions": { "ready": false } },
    ]);
    slice(&mut table, "web-a", "web", endpoints, json!([{ "name": "http", "port": 8080 }]));
    assert_eq!(at(&table, "web.shop.svc"), None, "no Service yet");
    service(&mut table, "web", json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] }));
    assert_eq!(at(&table, "web.shop.svc"), some(&["A 10.244.1.2", "A 10.244.2.3"]));
    assert_eq!(at(&table, "web-0.web.shop.svc"), some(&["A 10.244.1.2"]));
    assert_eq!(at(&table, "10-244-2-3.web.shop.svc"), some(&["A 10.244.2.3"]));
    assert_eq!(at(&table, "web-1.web.shop.svc"), None, "not ready");
    assert_eq!(at(&table, "10-244-1-2.web.shop.svc"), None, "it has a hostname instead");
    assert_eq!(
        at(&table, "_http._tcp.web.shop.svc"),
        some(&[
            "SRV 0 50 8080 10-244-2-3.web.shop.svc.cluster.local.",
            "SRV 0 50 8080 web-0.web.shop.svc.cluster.local.",
        ])
    );
    assert_eq!(names(&table, "10.244.1.2"), ["web-0.web.shop.svc.cluster.local."]);
    assert!(names(&table, "10.244.2.4").is_empty());

    service(&mut table, "web", json!({ "clusterIP": "None", "publishNotReadyAddresses": true }));
    assert_eq!(at(&table, "web-1.web.shop.svc"), some(&["A 10.244.2.4"]));
    assert_eq!(names(&table, "10.244.2.4"), ["web-1.web.shop.svc.cluster.local."]);

    slice(&mut table, "web-a", "web", json!([]), json!([]));
    assert_eq!(at(&table, "web.shop.svc"), None, "NXDOMAIN without a ready endpoint (§2.4.1)");
    assert!(names(&table, "10.244.1.2").is_empty());
}

#[test]
fn one_hostname_may_have_several_addresses() {
    let mut table = table();
    service(&mut table, "db", json!({ "clusterIP": "None" }));
    let endpoint = |address: &str| json!([{ "addresses": [address], "hostname": "DB-0" }]);
    slice(&mut table, "db-4", "db", endpoint("10.244.1.2"), json!([]));
    slice(&mut table, "db-6", "db", endpoint("fd00::2"), json!([]));
    assert_eq!(at(&table, "db-0.db.shop.svc"), some(&["A 10.244.1.2", "AAAA fd00::2"]));
}

#[test]
fn a_slice_may_change_its_service_or_lose_it() {
    let mut table = table();
    service(&mut table, "a", json!({ "clusterIP": "None" }));
    service(&mut table, "b", json!({ "clusterIP": "None" }));
    let endpoints = || json!([{ "addresses": ["10.244.1.2"] }]);
    slice(&mut table, "s", "a", endpoints(), json!([]));
    slice(&mut table, "s", "b", endpoints(), json!([]));
    assert_eq!(at(&table, "a.shop.svc"), None);
    assert_eq!(at(&table, "b.shop.svc"), some(&["A 10.244.1.2"]));
    table.set_slice(Key::new("shop", "s"), None);
    assert_eq!(at(&table, "b.shop.svc"), None);
    table.set_service(Key::new("shop", "a"), None);
    table.set_service(Key::new("shop", "b"), None);
    assert!(table.services.is_empty() && table.slices.is_empty() && table.reverse.is_empty());
    assert_eq!(at(&table, "shop.svc"), None);
}

#[test]
fn external_names_and_pods() {
    let mut table = table();
    service(&mut table, "out", json!({ "type": "ExternalName", "externalName": "www.example.org" }));
    assert_eq!(at(&table, "out.shop.svc"), some(&["CNAME www.example.org."]));
    assert_eq!(at(&table, "x.out.shop.svc"), None);

    let pod = |name: &str| Key::new("shop", name);
    let addresses = || vec!["10.244.1.2".parse().unwrap(), "fd00:10:244::2".parse().unwrap()];
    table.set_pod(pod("a"), addresses());
    table.set_pod(pod("b"), addresses());
    assert_eq!(at(&table, "10-244-1-2.shop.pod"), some(&["A 10.244.1.2"]));
    assert_eq!(at(&table, "fd00-10-244--2.shop.pod"), some(&["AAAA fd00:10:244::2"]));
    assert_eq!(at(&table, "shop.pod"), some(&[]));
    for nothing in ["10-244-1-3.shop.pod", "10-244-1-2.other.pod", "other.pod", "x.shop.pod", "x.10-244-1-2.shop.pod"] {
        assert_eq!(at(&table, nothing), None, "{nothing}");
    }
    table.set_pod(pod("a"), vec![]);
    assert!(at(&table, "10-244-1-2.shop.pod").is_some(), "the other one has it too");
    table.set_pod(pod("b"), vec![]);
    assert!(table.pods.is_empty() && table.pod_addresses.is_empty());
    let ended =
        json!({ "status": { "phase": "Succeeded", "podIP": "10.244.1.2", "podIPs": [{ "ip": "10.244.1.2" }] } });
    assert!(pod_addresses(&serde_json::from_value(ended).unwrap()).is_empty());
}
