//! Identities through a real API server: given before a Pod has a node, shared, changed, collected, never given twice.

mod cluster;

use cluster::{Cluster, eventually, expect_eq};
use controllers::Options;
use custom_resources::{CiliumEndpointSlice, CiliumIdentity};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const GRACE: Duration = Duration::from_secs(2);

async fn cluster(options: Options) -> Cluster {
    let cluster = Cluster::start(options).await;
    custom_resources::install(&cluster.client).await.expect("the definitions");
    cluster
}

async fn pod(cluster: &Cluster, name: &str, app: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app, "pod-template-hash": name}},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]},
    });
    cluster.create::<Pod>(pod).await;
}

async fn label(cluster: &Cluster, name: &str, app: &str) {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"app": app}}}));
    cluster.namespaced::<Pod>().patch(name, &PatchParams::default(), &patch).await.expect("label");
}

async fn gone(cluster: &Cluster, name: &str) {
    let now = DeleteParams::default().grace_period(0);
    cluster.namespaced::<Pod>().delete(name, &now).await.expect("delete");
}

/// What nodes are told: the number of each Pod.
async fn told(cluster: &Cluster) -> BTreeMap<String, i64> {
    let api: Api<CiliumEndpointSlice> = Api::all(cluster.client.clone());
    let slices = api.list(&ListParams::default()).await.expect("slices").items;
    slices.into_iter().flat_map(|slice| slice.endpoints).map(|one| (one.name, one.id)).collect()
}

/// Every number and its `app`.
async fn numbers(cluster: &Cluster) -> BTreeMap<i64, String> {
    let api: Api<CiliumIdentity> = Api::all(cluster.client.clone());
    let all = api.list(&ListParams::default()).await.expect("identities").items;
    all.iter().map(|one| (one.number().expect("a number").into(), one.security_labels["k8s:app"].clone())).collect()
}

/// Waits until each Pod has the number that stands for its `app`, and answers with the numbers.
async fn settled(cluster: &Cluster, pods: &[(&str, &str)]) -> BTreeMap<String, i64> {
    eventually("every Pod has its number", || async {
        let (told, numbers) = (told(cluster).await, numbers(cluster).await);
        let apps: BTreeMap<&str, &str> =
            told.iter().map(|(pod, id)| (pod.as_str(), numbers.get(id).map_or("?", String::as_str))).collect();
        expect_eq(apps, pods.iter().copied().collect())?;
        // One set, one number.
        let used: BTreeSet<(i64, &str)> = told.values().map(|id| (*id, numbers[id].as_str())).collect();
        expect_eq(used.len(), used.iter().map(|(_, app)| app).collect::<BTreeSet<_>>().len())?;
        Ok(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_given_ahead_shared_changed_and_collected() {
    let mut cluster = cluster(Options { identity_grace: GRACE, ..Options::default() }).await;
    // There is no node: nothing starts, and everybody is known already.
    for (name, app) in [("a", "web"), ("b", "web"), ("c", "db")] {
        pod(&cluster, name, app).await;
    }
    let first = settled(&cluster, &[("a", "web"), ("b", "web"), ("c", "db")]).await;
    assert_eq!((first["a"], first["a"] == first["c"]), (first["b"], false), "{first:?}");
    let api: Api<CiliumIdentity> = Api::all(cluster.client.clone());
    let labels = api.get(&first["a"].to_string()).await.expect("an identity").security_labels;
    let expected = [
        ("k8s:app", "web"),
        ("k8s:io.cilium.k8s.policy.cluster", "default"),
        ("k8s:io.kubernetes.pod.namespace", "default"),
        ("malla:named-port.tcp.http", "8080"),
    ];
    for (key, value) in expected {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{labels:?}");
    }
    assert!(!labels.contains_key("k8s:pod-template-hash"), "{labels:?}");

    // Another label is another number; new controllers give no new ones.
    label(&cluster, "b", "db").await;
    let second = settled(&cluster, &[("a", "web"), ("b", "db"), ("c", "db")]).await;
    assert_eq!((second["a"], second["b"]), (first["a"], first["c"]));
    cluster.stop_controllers().await;
    cluster.start_controllers();
    pod(&cluster, "d", "web").await;
    let third = settled(&cluster, &[("a", "web"), ("b", "db"), ("c", "db"), ("d", "web")]).await;
    assert_eq!(third["d"], first["a"]);

    // What nobody has is kept for its grace time, and gone after it.
    for name in ["b", "c"] {
        gone(&cluster, name).await;
    }
    settled(&cluster, &[("a", "web"), ("d", "web")]).await;
    let unused = Instant::now();
    assert!(numbers(&cluster).await.contains_key(&first["c"]), "it is kept for a while");
    eventually("the unused number is gone", || async {
        expect_eq(numbers(&cluster).await.into_keys().collect::<Vec<_>>(), vec![first["a"]])
    })
    .await;
    assert!(unused.elapsed() > GRACE / 2, "after {:?}", unused.elapsed());

    // A number of a set that has one already (of another operator): nobody uses it, and it goes.
    let twin = CiliumIdentity::new(4711, labels);
    api.create(&PostParams::default(), &twin).await.expect("create");
    pod(&cluster, "e", "web").await;
    assert_eq!(settled(&cluster, &[("a", "web"), ("d", "web"), ("e", "web")]).await["e"], first["a"]);
    eventually("the twin is gone", || async { expect_eq(numbers(&cluster).await.contains_key(&4711), false) }).await;
}

/// A mark says that an object is about to be deleted: nobody is told a number that has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_comes_before_a_deletion_and_off_before_use() {
    const MARK: &str = "malla.dev/unused-since";
    let cluster = cluster(Options { identity_grace: Duration::from_millis(200), ..Options::default() }).await;
    pod(&cluster, "a", "web").await;
    let number = settled(&cluster, &[("a", "web")]).await["a"].to_string();
    let api: Api<CiliumIdentity> = Api::all(cluster.client.clone());
    let marks =
        |object: &CiliumIdentity| object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MARK));
    let mut versions = std::pin::pin!(kube::runtime::watcher::watcher(api.clone(), Default::default()));
    let annotation = json!({"metadata": {"annotations": {MARK: "2026-01-01T00:00:00Z"}}});
    let marked = api.patch(&number, &PatchParams::default(), &Patch::Merge(annotation)).await.expect("mark");
    assert!(marks(&marked));
    eventually("the mark is off", || async {
        expect_eq(marks(&api.get(&number).await.map_err(|error| error.to_string())?), false)
    })
    .await;
    // Whoever goes on from the marked version comes too late.
    let late =
        kube::api::Preconditions { uid: marked.metadata.uid, resource_version: marked.metadata.resource_version };
    let refused = api.delete(&number, &DeleteParams::background().preconditions(late)).await.expect_err("too late");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 409));
    gone(&cluster, "a").await;
    // What is deleted was marked in its last version.
    let last = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Some(Ok(kube::runtime::watcher::Event::Delete(object))) = versions.next().await {
                return object;
            }
        }
    });
    assert!(marks(&last.await.expect("it is deleted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relabelled_namespace_makes_all_its_pods_somebody_else() {
    let cluster = cluster(Options::default()).await;
    pod(&cluster, "a", "web").await;
    pod(&cluster, "b", "web").await;
    let before = settled(&cluster, &[("a", "web"), ("b", "web")]).await;
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"team": "blue"}}}));
    api.patch("default", &PatchParams::default(), &patch).await.expect("label");
    let after = eventually("another number", || async {
        let now = told(&cluster).await;
        if now["a"] == now["b"] && now["a"] != before["a"] { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await;
    let api: Api<CiliumIdentity> = Api::all(cluster.client.clone());
    let labels = api.get(&after["a"].to_string()).await.expect("an identity").security_labels;
    assert_eq!(labels["k8s:io.cilium.k8s.namespace.labels.team"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_numbers_are_taken_somebody_hears_of_it_and_the_others_go_on() {
    let options = Options { identity_numbers: 300..=301, identity_grace: GRACE, ..Options::default() };
    let cluster = cluster(options).await;
    pod(&cluster, "a", "web").await;
    pod(&cluster, "b", "db").await;
    settled(&cluster, &[("a", "web"), ("b", "db")]).await;
    pod(&cluster, "c", "cache").await;
    eventually("an event", || async {
        let events = cluster.events("Pod").await;
        let found = events.iter().any(|event| event.starts_with("IdentityExhausted: all identities from 300 to 301"));
        if found { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    assert!(!told(&cluster).await.contains_key("c"), "nobody is told a number that does not stand for it");
    pod(&cluster, "d", "db").await;
    settled(&cluster, &[("a", "web"), ("b", "db"), ("d", "db")]).await;
    gone(&cluster, "a").await;
    settled(&cluster, &[("b", "db"), ("c", "cache"), ("d", "db")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pods_are_three_objects_with_their_nodes_and_addresses() {
    let cluster = cluster(Options::default()).await;
    for name in ["control-plane", "worker-1", "worker-2"] {
        cluster.add_node(name).await;
    }
    cluster.create::<k8s_openapi::api::apps::v1::Deployment>(cluster::spink(201)).await;
    let api: Api<CiliumEndpointSlice> = Api::all(cluster.client.clone());
    eventually("all Pods with addresses", || async {
        let slices = api.list(&ListParams::default()).await.expect("slices").items;
        let endpoints: Vec<_> = slices.iter().flat_map(|slice| &slice.endpoints).collect();
        let placed = endpoints
            .iter()
            .filter(|one| one.networking.as_ref().is_some_and(|networking| networking.addressing.len() == 1));
        expect_eq((slices.len(), endpoints.len(), placed.count()), (3, 201, 201))
    })
    .await;
    let slices: Value =
        serde_json::to_value(api.list(&ListParams::default()).await.expect("slices").items).expect("JSON");
    let endpoints: Vec<&Value> = slices
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
        .collect();
    let ids: BTreeSet<i64> = endpoints.iter().filter_map(|one| one["id"].as_i64()).collect();
    assert_eq!(ids.len(), 1, "one Deployment, one identity");
    let owner = json!({"kind": "Deployment", "name": "spink"});
    assert!(endpoints.iter().all(|one| one["workload"] == owner), "{endpoints:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_adopted_is_told_to_belong_to_its_owner() {
    let cluster = cluster(Options::default()).await;
    pod(&cluster, "a", "web").await;
    let api: Api<CiliumEndpointSlice> = Api::all(cluster.client.clone());
    let belongs = |to: &'static str| {
        eventually("the workload is told", || async {
            let slices = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let workloads = slices.into_iter().flat_map(|slice| slice.endpoints).filter_map(|one| one.workload);
            let texts: Vec<String> = workloads.map(|one| format!("{}/{}", one.kind, one.name)).collect();
            expect_eq(texts, vec![to.to_owned()])
        })
    };
    belongs("Pod/a").await;
    let number = settled(&cluster, &[("a", "web")]).await["a"];
    let set = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": "default"},
    });
    let set = cluster.create::<k8s_openapi::api::core::v1::ConfigMap>(set).await;
    let owner = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": set.metadata.uid, "controller": true,
    });
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
    cluster.namespaced::<Pod>().patch("a", &PatchParams::default(), &patch).await.expect("adopt");
    belongs("ConfigMap/owner").await;
    assert_eq!(told(&cluster).await["a"], number, "it is nobody else for that");
}
