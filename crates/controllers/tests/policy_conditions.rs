//! What policy objects say of themselves, through a real API server.

mod cluster;

use cluster::{Cluster, eventually, expect_eq, from};
use controllers::Options;
use custom_resources::{CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, ClusterNetworkPolicy};
use k8s_openapi::api::{core::v1::Service, networking::v1::NetworkPolicy};
use kube::{
    Api, Resource,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Options::default()).await;
    custom_resources::install(&cluster.client).await.expect("the definitions");
    cluster
}

/// Makes an object or changes its spec.
async fn put<K: Resource<DynamicType = ()>>(cluster: &Cluster, namespace: Option<&str>, spec: Value) {
    let resource = kube::api::ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let object = json!({
        "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "p"}, "spec": spec,
    });
    match api.get_opt("p").await.expect("get") {
        None => drop(api.create(&PostParams::default(), &from(object)).await.expect("create")),
        Some(_) => {
            let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]);
            let patch = Patch::Json::<()>(serde_json::from_value(patch).expect("a patch"));
            api.patch("p", &PatchParams::default(), &patch).await.expect("patch");
        }
    }
}

/// Status and message of `Valid`, once they are about the object as it is now.
async fn valid<K: Resource<DynamicType = ()>>(cluster: &Cluster, namespace: Option<&str>) -> (String, String) {
    let resource = kube::api::ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    eventually("a condition of this generation", || async {
        let object = api.get("p").await.map_err(|error| error.to_string())?;
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = conditions.iter().find(|one| one["type"] == "Valid").ok_or("none")?;
        expect_eq(condition["observedGeneration"].as_i64(), object.metadata.generation)?;
        let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("message")))
    })
    .await
}

async fn told(cluster: &Cluster, kind: &str, what: &str) {
    eventually("an event", || async {
        let events = cluster.events(kind).await;
        if events.iter().any(|event| event.contains(what)) { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_says_whether_it_is_understood_and_what_is_not_enforced() {
    let cluster = cluster().await;
    let shop = Some("default");
    let client = json!({"matchLabels": {"app": "client"}});
    put::<CiliumNetworkPolicy>(
        &cluster,
        shop,
        json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [client]}]}),
    )
    .await;
    let (status, message) = valid::<CiliumNetworkPolicy>(&cluster, shop).await;
    assert_eq!((status.as_str(), message.as_str()), ("True", "all of it is understood and enforced"));
    // Not enforced yet: by its field.
    let names = json!([{"toFQDNs": [{"matchName": "example.com"}]}, {"toEndpoints": [client], "toPorts": [
        {"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{}]}}]}]);
    put::<CiliumNetworkPolicy>(&cluster, shop, json!({"endpointSelector": {}, "egress": names})).await;
    let (status, message) = valid::<CiliumNetworkPolicy>(&cluster, shop).await;
    assert_eq!(status, "False");
    for part in ["spec.egress[0].toFQDNs", "spec.egress[1].toPorts[0].rules", "not enforced yet: fails closed"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    told(&cluster, "CiliumNetworkPolicy", "NotEnforced: spec.egress[0].toFQDNs").await;
    // Mistakes: by their field, and mended they are forgotten.
    let two_kinds = json!([{"fromEndpoints": [{}], "fromEntities": ["world"]}]);
    put::<CiliumClusterwideNetworkPolicy>(&cluster, None, json!({"endpointSelector": {}, "ingress": two_kinds})).await;
    let (status, message) = valid::<CiliumClusterwideNetworkPolicy>(&cluster, None).await;
    assert!(status == "False" && message.starts_with("spec.ingress[0].fromEntities: "), "{message}");
    told(&cluster, "CiliumClusterwideNetworkPolicy", "Mistake: spec.ingress[0].fromEntities: ").await;
    put::<CiliumClusterwideNetworkPolicy>(&cluster, None, json!({"endpointSelector": {}, "ingress": [{}]})).await;
    assert_eq!(valid::<CiliumClusterwideNetworkPolicy>(&cluster, None).await.0, "True");
    let (pods, port) =
        (json!([{"namespaces": {}}]), json!([{"tcp": {"destinationPort": {"range": {"start": 9, "end": 8}}}}]));
    let rules = json!([{"action": "Deny", "from": pods, "protocols": port}]);
    let spec = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": rules});
    put::<ClusterNetworkPolicy>(&cluster, None, spec).await;
    let (status, message) = valid::<ClusterNetworkPolicy>(&cluster, None).await;
    assert!(status == "False" && message.contains("spec.ingress[0].protocols[0]"), "{message}");
    // No status, but an Event. (What has no meaning in this kind, the API refuses.)
    let named = json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": "http"}]}]);
    put::<NetworkPolicy>(&cluster, shop, json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": named})).await;
    told(&cluster, "NetworkPolicy", "NotEnforced: spec.egress[0].ports: ").await;
}

/// What a policy says hangs on the groups that it names.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_comes_later_makes_a_policy_whole() {
    let cluster = cluster().await;
    let shop = Some("default");
    let spec = json!({"endpointSelector": {}, "egress": [{"toCIDRSet": [{"cidrGroupRef": "offices"}]}]});
    put::<CiliumNetworkPolicy>(&cluster, shop, spec).await;
    let (status, message) = valid::<CiliumNetworkPolicy>(&cluster, shop).await;
    assert!(status == "False" && message.contains("spec.egress[0].toCIDRSet[0].cidrGroupRef"), "{message}");
    let group = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumCIDRGroup", "metadata": {"name": "offices"},
        "spec": {"externalCIDRs": ["198.51.100.0/24"]}});
    let api: Api<CiliumCIDRGroup> = Api::all(cluster.client.clone());
    api.create(&PostParams::default(), &from(group)).await.expect("create");
    eventually("it is whole", || async {
        expect_eq(valid::<CiliumNetworkPolicy>(&cluster, shop).await.0, "True".to_owned())
    })
    .await;
    assert_eq!(api.list(&ListParams::default()).await.expect("groups").items.len(), 1);
}

/// A Service that is named is there, or it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_and_goes_is_known() {
    let cluster = cluster().await;
    let shop = Some("default");
    let named = json!([{"toServices": [{"k8sService": {"serviceName": "bank", "namespace": "default"}}]}]);
    put::<CiliumNetworkPolicy>(&cluster, shop, json!({"endpointSelector": {}, "egress": named})).await;
    let (status, message) = valid::<CiliumNetworkPolicy>(&cluster, shop).await;
    assert!(status == "False" && message.contains("spec.egress[0].toServices[0]: no such Service"), "{message}");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bank"},
        "spec": {"selector": {"app": "bank"}, "ports": [{"port": 80}]}});
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), "default");
    api.create(&PostParams::default(), &from(service)).await.expect("create");
    for (there, expected) in [(true, "True"), (false, "False")] {
        if !there {
            api.delete("bank", &DeleteParams::default()).await.expect("delete");
        }
        eventually("what is so now", || async {
            expect_eq(valid::<CiliumNetworkPolicy>(&cluster, shop).await.0, expected.to_owned())
        })
        .await;
    }
}
