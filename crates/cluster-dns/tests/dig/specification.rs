//! Kubernetes' DNS specification against objects of a real API.

use std::net::IpAddr;

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::processes::{ApiServer, Dns};

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

async fn service(client: &Client, name: &str, spec: Value) {
    let api: Api<Service> = Api::namespaced(client.clone(), "default");
    let service = object(json!({ "metadata": { "name": name }, "spec": spec }));
    api.create(&PostParams::default(), &service).await.unwrap();
}

async fn slice(client: &Client, service: &str, family: &str, endpoints: Value) {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let name = format!("{service}-{}", family.to_lowercase());
    let slice = object(json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
        "addressType": family, "endpoints": endpoints, "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    }));
    api.create(&PostParams::default(), &slice).await.unwrap();
}

async fn start() -> (ApiServer, Client, Dns) {
    let api = ApiServer::start().await;
    let client = api.client().await;
    let dns = Dns::start(&[
        "--kubeconfig",
        api.kubeconfig().to_str().unwrap(),
        "--server-address",
        "10.96.0.10,fd00:10:96::a",
        "--reverse-range",
        "10.96.0.0/12,fd00:10:96::/112,10.244.0.0/16,fd00:10:244::/56",
    ]);
    (api, client, dns)
}

fn reverse(address: &str) -> String {
    hickory_proto::rr::Name::from(address.parse::<IpAddr>().unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_paragraph_in_both_families_over_udp_and_tcp() {
    let (_api, client, dns) = start().await;
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
    let dual = ["10.96.3.3", "fd00:10:96::33"];
    service(
        &client,
        "web",
        json!({
            "clusterIP": dual[0], "clusterIPs": dual, "ipFamilyPolicy": "RequireDualStack", "ports": ports
        }),
    )
    .await;
    service(
        &client,
        "pets",
        json!({ "clusterIP": "None", "ipFamilyPolicy": "RequireDualStack", "ports": [{ "name": "http", "port": 80 }] }),
    )
    .await;
    slice(
        &client,
        "pets",
        "IPv4",
        json!([
            { "addresses": ["10.244.1.2"], "hostname": "my-pet", "conditions": { "ready": true } },
            { "addresses": ["10.244.1.3"], "conditions": { "ready": true } },
            { "addresses": ["10.244.1.4"], "hostname": "ill-pet", "conditions": { "ready": false } },
        ]),
    )
    .await;
    slice(
        &client,
        "pets",
        "IPv6",
        json!([{ "addresses": ["fd00:10:244:1::2"], "hostname": "my-pet", "conditions": { "ready": true } }]),
    )
    .await;
    service(&client, "early", json!({ "clusterIP": "None", "publishNotReadyAddresses": true })).await;
    slice(&client, "early", "IPv4", json!([{ "addresses": ["10.244.1.5"], "conditions": { "ready": false } }])).await;
    service(&client, "empty", json!({ "clusterIP": "None", "selector": { "app": "none" } })).await;
    service(&client, "inner", json!({ "type": "ExternalName", "externalName": "web.default.svc.cluster.local" })).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let pod = object(json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } }));
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let ips = json!([{ "ip": "10.244.1.9" }, { "ip": "fd00:10:244:1::9" }]);
    let status = json!({ "status": { "podIP": "10.244.1.9", "podIPs": ips, "phase": "Running" } });
    pods.patch_status("p", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();

    // What was made last is there: then everything is.
    dns.until("the Pod's name", &["10-244-1-9.default.pod.cluster.local", "A"], |answer| answer.records.len() == 1);
    dns.until("the last Service", &["inner.default.svc.cluster.local", "CNAME"], |answer| answer.records.len() == 1);
    let full = |name: &str| format!("{name}.cluster.local.");
    let web = full("web.default.svc");
    let pets = full("pets.default.svc");
    let (my_pet, other_pet) = (format!("my-pet.{pets}"), format!("10-244-1-3.{pets}"));
    let (my_v6, web_v6) = (reverse("fd00:10:244:1::2"), reverse("fd00:10:96::33"));
    let line = |name: &str, kind: &str, data: &str| format!("{name} IN {kind} {data}");
    // Name, type, and the answer section; `None` for no such name.
    let table: Vec<(String, &str, Option<Vec<String>>)> = vec![
        // §2.2
        (full("dns-version"), "TXT", Some(vec![line(&full("dns-version"), "TXT", "\"1.1.0\"")])),
        // §2.3.1
        (web.clone(), "A", Some(vec![line(&web, "A", "10.96.3.3")])),
        (web.clone(), "AAAA", Some(vec![line(&web, "AAAA", "fd00:10:96::33")])),
        (web.clone(), "MX", Some(vec![])),
        (full("kubernetes.default.svc"), "A", Some(vec![line(&full("kubernetes.default.svc"), "A", "10.96.0.1")])),
        (full("kubernetes.default.svc"), "AAAA", Some(vec![])),
        // §2.3.2
        (
            format!("_http._tcp.{web}"),
            "SRV",
            Some(vec![line(&format!("_http._tcp.{web}"), "SRV", &format!("0 100 80 {web}"))]),
        ),
        (
            format!("_dns._udp.{web}"),
            "SRV",
            Some(vec![line(&format!("_dns._udp.{web}"), "SRV", &format!("0 100 53 {web}"))]),
        ),
        (format!("_dns._tcp.{web}"), "SRV", None),
        // §2.3.3
        (reverse("10.96.3.3"), "PTR", Some(vec![line(&reverse("10.96.3.3"), "PTR", &web)])),
        (web_v6.clone(), "PTR", Some(vec![line(&web_v6, "PTR", &web)])),
        (reverse("10.96.3.4"), "PTR", None),
        // §2.4.1
        (pets.clone(), "A", Some(vec![line(&pets, "A", "10.244.1.2"), line(&pets, "A", "10.244.1.3")])),
        (pets.clone(), "AAAA", Some(vec![line(&pets, "AAAA", "fd00:10:244:1::2")])),
        (my_pet.clone(), "A", Some(vec![line(&my_pet, "A", "10.244.1.2")])),
        (my_pet.clone(), "AAAA", Some(vec![line(&my_pet, "AAAA", "fd00:10:244:1::2")])),
        (other_pet.clone(), "A", Some(vec![line(&other_pet, "A", "10.244.1.3")])),
        (format!("ill-pet.{pets}"), "A", None),
        (full("empty.default.svc"), "A", None),
        (full("early.default.svc"), "A", Some(vec![line(&full("early.default.svc"), "A", "10.244.1.5")])),
        // §2.4.2
        (
            format!("_http._tcp.{pets}"),
            "SRV",
            Some(vec![
                line(&format!("_http._tcp.{pets}"), "SRV", &format!("0 50 8080 {other_pet}")),
                line(&format!("_http._tcp.{pets}"), "SRV", &format!("0 50 8080 {my_pet}")),
            ]),
        ),
        // §2.4.3
        (reverse("10.244.1.2"), "PTR", Some(vec![line(&reverse("10.244.1.2"), "PTR", &my_pet)])),
        (my_v6.clone(), "PTR", Some(vec![line(&my_v6, "PTR", &my_pet)])),
        (reverse("10.244.1.4"), "PTR", None),
        // §2.5
        (
            full("inner.default.svc"),
            "A",
            Some(vec![line(&full("inner.default.svc"), "CNAME", &web), line(&web, "A", "10.96.3.3")]),
        ),
        // §2.6
        (full("10-244-1-9.default.pod"), "A", Some(vec![line(&full("10-244-1-9.default.pod"), "A", "10.244.1.9")])),
        (full("10-244-1-8.default.pod"), "A", None),
        // Between the names: there, and nothing.
        (full("default.svc"), "A", Some(vec![])),
        (full("svc"), "A", Some(vec![])),
        (full("nowhere.svc"), "A", None),
        (full("nobody.default.svc"), "A", None),
        (full("web.default.svc.cluster.local.default.svc"), "A", None),
        (full("ns.dns"), "AAAA", Some(vec![line(&full("ns.dns"), "AAAA", "fd00:10:96::a")])),
    ];
    for (name, kind, expected) in &table {
        for (address, transport) in [("127.0.0.1", "+notcp"), ("::1", "+notcp"), ("127.0.0.1", "+tcp"), ("::1", "+tcp")]
        {
            let answer = dns.dig_at(address, &[transport, name, kind]);
            let status = if expected.is_some() { "NOERROR" } else { "NXDOMAIN" };
            assert_eq!(answer.status, status, "{name} {kind}\n{}", answer.whole);
            let mut wanted = expected.clone().unwrap_or_default();
            wanted.sort();
            assert_eq!(answer.records, wanted, "{name} {kind}\n{}", answer.whole);
            assert!(answer.has("aa") && !answer.has("tc"), "{}", answer.whole);
            let soa = answer.whole.contains("\tSOA\t");
            assert_eq!(soa, wanted.is_empty(), "{name} {kind}: SOA where there is nothing\n{}", answer.whole);
        }
    }
    let mixed = dns.dig(&["wEb.DeFaUlT.sVc.CLUSTER.local", "A"]);
    assert_eq!(mixed.records, ["wEb.DeFaUlT.sVc.CLUSTER.local. IN A 10.96.3.3"]);
    let target = dns.dig(&[&format!("_http._tcp.{web}"), "SRV"]);
    assert!(target.whole.contains("ADDITIONAL SECTION") && target.whole.contains("fd00:10:96::33"), "{}", target.whole);
    let outside = dns.dig(&["www.example.org", "A"]);
    assert_eq!(outside.status, "REFUSED", "nobody to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_told_at_once_and_what_is_gone_no_more() {
    let (_api, client, dns) = start().await;
    service(&client, "web", json!({ "clusterIP": "None" })).await;
    slice(&client, "web", "IPv4", json!([{ "addresses": ["10.244.1.2"] }])).await;
    let name = "web.default.svc.cluster.local";
    dns.until("an endpoint", &[name, "A"], |answer| answer.records.len() == 1);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let more: Vec<Value> = (1..=200).map(|n| json!({ "addresses": [format!("10.244.2.{n}")] })).collect();
    let patch = Patch::Merge(json!({ "endpoints": more }));
    slices.patch("web-ipv4", &PatchParams::default(), &patch).await.unwrap();

    let whole = dns.until("200 endpoints", &["+tcp", name, "A"], |answer| answer.records.len() == 200);
    assert!(!whole.has("tc"));
    let cut = dns.dig(&["+noedns", "+ignore", name, "A"]);
    assert!(cut.has("tc") && (20..200).contains(&cut.records.len()), "{}", cut.whole);
    let larger = dns.dig(&["+bufsize=1232", "+ignore", name, "A"]);
    assert!(larger.has("tc") && larger.records.len() > cut.records.len(), "{}", larger.whole);
    let by_itself = dns.dig(&[name, "A"]);
    assert_eq!(by_itself.records.len(), 200, "dig asks again over TCP: {}", by_itself.whole);

    slices.delete("web-ipv4", &DeleteParams::default()).await.unwrap();
    dns.until("nobody", &[name, "A"], |answer| answer.status == "NXDOMAIN");
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    services.delete("web", &DeleteParams::default()).await.unwrap();
    service(&client, "web", json!({ "clusterIP": "10.96.7.7", "ports": [{ "port": 80 }] })).await;
    dns.until("the new one", &[name, "A"], |answer| answer.records == [format!("{name}. IN A 10.96.7.7")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_what_was_known_is_told_and_nothing_is_denied_before_it_was_reached() {
    let (api, client, dns) = start().await;
    service(&client, "web", json!({ "clusterIP": "10.96.3.3", "ports": [{ "port": 80 }] })).await;
    let name = "web.default.svc.cluster.local";
    dns.until("the Service", &[name, "A"], |answer| answer.records.len() == 1);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("kubeconfig");
    std::fs::copy(api.kubeconfig(), &copy).unwrap();
    drop(api);
    assert_eq!(dns.dig(&[name, "A"]).records.len(), 1);
    let other = Dns::start(&["--kubeconfig", copy.to_str().unwrap()]);
    assert_eq!(other.dig(&[name, "A"]).status, "SERVFAIL");
    assert_eq!(other.dig(&["nobody.default.svc.cluster.local", "A"]).status, "SERVFAIL");
}
