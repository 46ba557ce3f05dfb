//! Addresses of load balancers through a real API server: given, kept, told, taken away.

mod cluster;

use cluster::{Cluster, eventually, expect_eq};
use controllers::Options;
use custom_resources::CiliumLoadBalancerIPPool;
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

async fn cluster() -> Cluster {
    let cluster = Cluster::start(Options::default()).await;
    custom_resources::install(&cluster.client).await.expect("the definitions");
    cluster
}

async fn pool(cluster: &Cluster, name: &str, spec: Value) {
    let api: Api<CiliumLoadBalancerIPPool> = Api::all(cluster.client.clone());
    let object = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": name}, "spec": spec});
    api.create(&PostParams::default(), &cluster::from(object)).await.expect("create a pool");
}

async fn patch_pool(cluster: &Cluster, name: &str, spec: Value) {
    let api: Api<CiliumLoadBalancerIPPool> = Api::all(cluster.client.clone());
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.expect("patch a pool");
}

fn balancer(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]},
    })
}

async fn patch(cluster: &Cluster, name: &str, patch: Value) {
    let api = cluster.namespaced::<Service>();
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patch a Service");
}

/// `10.0.0.1 fd00::1 True satisfied`, or what there is of that.
async fn state(cluster: &Cluster, name: &str) -> String {
    let service = cluster.namespaced::<Service>().get(name).await.expect("a Service");
    let status = serde_json::to_value(service.status.unwrap_or_default()).expect("a status");
    let mut words: Vec<String> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for one in status["loadBalancer"]["ingress"].as_array().into_iter().flatten() {
        words.push(text(&one["ip"]));
    }
    for one in status["conditions"].as_array().into_iter().flatten() {
        assert_eq!(one["type"], lb_ipam::REQUEST_SATISFIED);
        words.extend([text(&one["status"]), text(&one["reason"])]);
    }
    words.join(" ")
}

async fn becomes(cluster: &Cluster, name: &str, expected: &str) {
    eventually(name, || async { expect_eq(state(cluster, name).await.as_str(), expected) }).await;
}

async fn conditions(cluster: &Cluster, pool: &str) -> Vec<String> {
    let api: Api<CiliumLoadBalancerIPPool> = Api::all(cluster.client.clone());
    let status = api.get(pool).await.expect("a pool").status.unwrap_or_default();
    let told = status.conditions.unwrap_or_default();
    told.iter()
        .map(|one| format!("{} {} {}", one.type_, one.status, if one.status == "Unknown" { &one.message } else { "" }))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_given_kept_and_taken_away() {
    let mut cluster = cluster().await;
    cluster.create::<Service>(balancer("web")).await;
    let mut foreign = balancer("foreign");
    foreign["spec"]["loadBalancerClass"] = json!("example.com/cloud");
    cluster.create::<Service>(foreign).await;
    // Without any pool nobody is told anything.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(state(&cluster, "web").await, "");

    pool(
        &cluster,
        "blue",
        json!({"blocks": [{"cidr": "192.0.2.0/29"}, {"start": "2001:db8::5", "stop": "2001:db8::6"}]}),
    )
    .await;
    becomes(&cluster, "web", "192.0.2.0 2001:db8::5 True satisfied").await;
    let told = [
        "cilium.io/PoolConflict False ",
        "cilium.io/IPsTotal Unknown 10",
        "cilium.io/IPsAvailable Unknown 8",
        "cilium.io/IPsUsed Unknown 2",
    ];
    eventually("the pool's conditions", || async {
        expect_eq(conditions(&cluster, "blue").await, told.map(str::to_owned).to_vec())
    })
    .await;

    // New controllers read what was given, and change nothing.
    cluster.create::<Service>(balancer("second")).await;
    becomes(&cluster, "second", "192.0.2.1 2001:db8::6 True satisfied").await;
    let version = |service: Service| service.metadata.resource_version;
    let before = cluster.namespaced::<Service>().get("second").await.map(version).expect("a Service");
    cluster.stop_controllers().await;
    let api = cluster.namespaced::<Service>();
    api.delete("web", &DeleteParams::default()).await.expect("delete");
    cluster.create::<Service>(balancer("third")).await;
    cluster.start_controllers();
    becomes(&cluster, "third", "192.0.2.0 2001:db8::5 True satisfied").await;
    let after = api.get("second").await.map(version).expect("a Service");
    assert_eq!(before, after, "a Service that has what it wants is not written again");

    // A pool that is used up says so, and gives when something comes back.
    cluster.create::<Service>(balancer("late")).await;
    becomes(&cluster, "late", "192.0.2.2 False out_of_ips").await;
    patch(&cluster, "second", json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": null}]}})).await;
    becomes(&cluster, "second", "").await;
    becomes(&cluster, "late", "192.0.2.2 2001:db8::6 True satisfied").await;

    assert_eq!(state(&cluster, "foreign").await, "", "another class is somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_conflicts_and_disabled_pools_are_told() {
    let cluster = cluster().await;
    pool(&cluster, "first", json!({"blocks": [{"cidr": "192.0.2.0/28"}], "allowFirstLastIPs": "No"})).await;
    let single = |name: &str, ips: &str, key: &str, port: u16| {
        let mut service = balancer(name);
        service["metadata"]["annotations"] = json!({"lbipam.cilium.io/ips": ips, "lbipam.cilium.io/sharing-key": key});
        service["spec"]["ipFamilyPolicy"] = json!("SingleStack");
        service["spec"]["ports"] = json!([{"port": port}]);
        service
    };
    cluster.create::<Service>(single("one", "192.0.2.9", "k", 80)).await;
    becomes(&cluster, "one", "192.0.2.9 True satisfied").await;
    cluster.create::<Service>(single("two", "192.0.2.9", "k", 81)).await;
    becomes(&cluster, "two", "192.0.2.9 True satisfied").await;
    cluster.create::<Service>(single("three", "192.0.2.9", "k", 80)).await;
    becomes(&cluster, "three", "False already_allocated_incompatible_service").await;
    cluster.create::<Service>(single("four", "192.0.2.9", "", 82)).await;
    becomes(&cluster, "four", "False already_allocated").await;
    cluster.create::<Service>(single("five", "192.0.2.0", "", 83)).await;
    becomes(&cluster, "five", "False no_pool").await;

    patch_pool(&cluster, "first", json!({"disabled": true})).await;
    cluster.create::<Service>(single("six", "", "", 84)).await;
    becomes(&cluster, "six", "False no_pool").await;
    assert_eq!(state(&cluster, "one").await, "192.0.2.9 True satisfied");

    // The older one is asked; creation times are whole seconds, and within one the name decides.
    pool(&cluster, "second", json!({"blocks": [{"start": "192.0.2.14", "stop": "192.0.2.20"}]})).await;
    eventually("a conflict", || async {
        expect_eq(conditions(&cluster, "second").await.first().cloned(), Some("cilium.io/PoolConflict True ".into()))
    })
    .await;
    assert_eq!(conditions(&cluster, "first").await[0], "cilium.io/PoolConflict False ");
    patch_pool(&cluster, "second", json!({"blocks": [{"start": "192.0.2.15", "stop": "192.0.2.20"}]})).await;
    becomes(&cluster, "six", "192.0.2.15 True satisfied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_served_in_both_versions_and_their_schema_is_held() {
    let cluster = cluster().await;
    custom_resources::install(&cluster.client).await.expect("a second time changes nothing");
    let kind = |version: &str, kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk("cilium.io", version, kind));
    let old_pools =
        ApiResource { plural: "ciliumloadbalancerippools".into(), ..kind("v2alpha1", "CiliumLoadBalancerIPPool") };
    let old: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &old_pools);
    let object = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "old"},
        "spec": {"blocks": [{"cidr": "192.0.2.0/24"}]}});
    old.create(&PostParams::default(), &cluster::from(object.clone())).await.expect("create by the old version");
    let new: Api<CiliumLoadBalancerIPPool> = Api::all(cluster.client.clone());
    let read = new.get("old").await.expect("read by the new version");
    assert_eq!((read.spec.blocks[0].cidr.as_deref(), read.spec.disabled), (Some("192.0.2.0/24"), false));
    for (field, wrong) in [
        ("allowFirstLastIPs", json!("Maybe")),
        ("blocks", json!("192.0.2.0/24")),
        ("disabled", json!("yes")),
        ("serviceSelector", json!({"matchExpressions": [{"key": "a", "operator": "Like"}]})),
    ] {
        let mut object = object.clone();
        object["metadata"]["name"] = json!("wrong");
        object["spec"][field] = wrong;
        let refused = old.create(&PostParams::default(), &cluster::from(object)).await;
        assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422), "{field}: {refused:?}");
    }
}
