//! Policies of every dialect in this API: kubectl applies them, they come back as they were written, and what has no
//! meaning is refused by the field.

mod support;

use custom_resources::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, ClusterNetworkPolicy};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use std::path::Path;
use support::{Kubectl, Server};

#[test]
fn server_process() {
    support::server_process();
}

const EXAMPLES: [&str; 5] =
    ["secure-access-to-mainframe.yaml", "deny-all.yaml", "selectors.yaml", "layer-7.yaml", "tiers.yaml"];

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policies").join(name);
    std::fs::read_to_string(path).expect("an example")
}

async fn server() -> (Server, kube::Client) {
    let server = Server::start();
    let client = server.client().await;
    custom_resources::install(&client).await.expect("the definitions");
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_1_20_applies_every_example_and_gets_it_back() {
    let (server, client) = server().await;
    let kubectl = Kubectl::new(support::kubectl_1_20(), &server);
    kubectl.ok("create namespace shop");
    for name in EXAMPLES {
        let text = example(name);
        assert!(kubectl.apply(&text).contains("created"), "{name}");
        let again = kubectl.apply(&text);
        assert!(!again.contains("created") && !again.contains("configured"), "{name} is what it was: {again}");
        for document in serde_saphyr::from_multiple::<Value>(&text).expect("YAML") {
            let (kind, meta) = (document["kind"].as_str().unwrap(), &document["metadata"]);
            let namespace = meta["namespace"].as_str().unwrap_or("default");
            let got = kubectl.ok(&format!("get {kind} {} -n {namespace} -o json", meta["name"].as_str().unwrap()));
            let got: Value = serde_json::from_str(&got).unwrap();
            // Others get defaults.
            if kind != "Service" && kind != "NetworkPolicy" {
                assert_eq!(got["spec"], document["spec"], "{name}");
            }
        }
    }
    // By their short names, with the columns, and as types.
    assert!(
        kubectl.ok("get cnp -n shop").contains("VALID")
            && kubectl.ok("get cnp -A").contains("secure-access-to-mainframe")
    );
    assert!(kubectl.ok("get ccnp").contains("deny-all"));
    assert!(kubectl.ok("get ccg").contains("known-bad"));
    let tiers = kubectl.ok("get clusternetworkpolicies");
    assert!(tiers.contains("TIER") && tiers.contains("Baseline") && tiers.contains("100"), "{tiers}");
    let typed: Api<CiliumNetworkPolicy> = Api::namespaced(client.clone(), "shop");
    let typed = typed.get("selectors").await.expect("a typed policy");
    assert_eq!(typed.spec.unwrap().egress.unwrap()[1].to_services.as_ref().unwrap().len(), 2);
    let all: Api<CiliumClusterwideNetworkPolicy> = Api::all(client.clone());
    assert_eq!(all.list(&Default::default()).await.unwrap().items[0].name_any(), "deny-all");
    let clusters: Api<ClusterNetworkPolicy> = Api::all(client);
    assert_eq!(clusters.get("guard-rails").await.unwrap().spec.ingress.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_does_not_allow_is_refused_by_its_field() {
    let (server, _client) = server().await;
    let kubectl = Kubectl::new(support::kubectl_1_20(), &server);
    let refused = |spec: &str, kind: &str, version: &str| {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p}}\nspec: {spec}");
        let output = kubectl.with_input("apply --validate=false -f -", &text);
        assert!(!output.status.success(), "{spec}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (spec, field) in [
        ("{endpointSelector: {}, ingress: [{fromEntities: [wrold]}]}", "spec.ingress[0].fromEntities[0]"),
        (
            "{endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: 80}]}]}]}",
            "spec.ingress[0].toPorts[0].ports[0].port",
        ),
        (
            "{endpointSelector: {}, egress: [{toPorts: [{ports: [{port: '80', protocol: QUIC}]}]}]}",
            "spec.egress[0].toPorts[0].ports[0].protocol",
        ),
        (
            "{endpointSelector: {}, ingress: [{icmps: [{fields: [{family: IPv4}]}]}]}",
            "spec.ingress[0].icmps[0].fields[0].type",
        ),
        (
            "{endpointSelector: {matchExpressions: [{key: a, operator: Like}]}}",
            "spec.endpointSelector.matchExpressions[0].operator",
        ),
        ("{endpointSelector: {}, ingress: [{authentication: {mode: maybe}}]}", "spec.ingress[0].authentication.mode"),
    ] {
        for kind in ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"] {
            let text = refused(spec, kind, "cilium.io/v2");
            assert!(text.contains(field), "{field}: {text}");
        }
    }
    for (spec, field) in [
        ("{tier: Middle, priority: 1, subject: {namespaces: {}}}", "spec.tier"),
        ("{tier: Admin, priority: 1001, subject: {namespaces: {}}}", "spec.priority"),
        ("{tier: Admin, priority: 1, subject: {}}", "spec.subject"),
        (
            "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}",
            "spec.ingress[0].action",
        ),
        (
            "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: []}]}",
            "spec.egress[0].to",
        ),
    ] {
        let text = refused(spec, "ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2");
        assert!(text.contains(field), "{field}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn their_status_is_a_place_of_its_own() {
    let (server, client) = server().await;
    let kubectl = Kubectl::new(support::kubectl_1_20(), &server);
    kubectl.apply(&example("secure-access-to-mainframe.yaml"));
    let api: Api<CiliumNetworkPolicy> = Api::default_namespaced(client);
    let condition =
        json!({ "type": "Valid", "status": "False", "reason": "NotEnforced", "message": "spec.egress[0]: …" });
    let patch = json!({ "status": { "conditions": [condition] }, "spec": null });
    let after =
        api.patch_status("secure-access-to-mainframe", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert!(after.spec.is_some(), "the status writes no spec");
    assert_eq!(after.status.unwrap().conditions.unwrap()[0].status, "False");
    assert!(kubectl.ok("get cnp").lines().any(|line| line.contains("mainframe") && line.contains("False")));
}
