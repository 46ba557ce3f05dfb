//! Deployments from creation to deletion, with a real API server.

mod cluster;

use cluster::{Cluster, eventually, expect_eq, from, spink, spink_service};
use controllers::Options;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Endpoints, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use std::collections::BTreeMap;

/// Name → Node of all Pods that are not ending.
async fn placed(cluster: &Cluster) -> BTreeMap<String, String> {
    let pods = cluster.pods().await.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.filter_map(|pod| Some((pod.metadata.name?, pod.spec?.node_name?))).collect()
}

async fn wait_for_available(cluster: &Cluster, replicas: i32) {
    let api = cluster.namespaced::<Deployment>();
    eventually("the Deployment is complete", || async {
        let deployment = api.get("spink").await.map_err(|error| error.to_string())?;
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = Some(replicas).filter(|replicas| *replicas > 0);
        expect_eq(
            (status.available_replicas, status.updated_replicas, status.replicas, status.observed_generation),
            (wanted, wanted, wanted, deployment.metadata.generation),
        )
    })
    .await;
}

async fn wait_for_endpoints(cluster: &Cluster, count: usize) {
    eventually("the slices hold the ready Pods", || async {
        let v4 = cluster.ready_endpoints("spink", "IPv4").await;
        expect_eq(v4.len(), count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_deployment_lives_scales_and_goes() {
    let cluster = Cluster::with_nodes(Options::default()).await;
    cluster.create::<Deployment>(spink(2)).await;
    cluster.create::<Service>(spink_service()).await;
    wait_for_available(&cluster, 2).await;
    wait_for_endpoints(&cluster, 2).await;

    // One Pod on each worker, none on the control plane.
    let nodes: Vec<String> = placed(&cluster).await.into_values().collect();
    assert_eq!(
        {
            let mut nodes = nodes;
            nodes.sort();
            nodes
        },
        ["worker-1", "worker-2"]
    );

    // The ranges of the seed.
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let ranges: Vec<Option<Vec<String>>> = nodes
        .list(&ListParams::default())
        .await
        .expect("list Nodes")
        .into_iter()
        .map(|node| node.spec.and_then(|spec| spec.pod_cidrs))
        .collect();
    let range = |third: u32, v6: &str| Some(vec![format!("10.244.{third}.0/24"), v6.to_owned()]);
    assert_eq!(ranges, [range(0, "fd00:10:244::/64"), range(1, "fd00:10:244:1::/64"), range(2, "fd00:10:244:2::/64")]);

    let first = placed(&cluster).await;
    // Times in objects have a resolution of one second: only a Pod of a later second is younger.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for replicas in [5, 1] {
        cluster.scale("spink", replicas).await;
        wait_for_available(&cluster, replicas).await;
        wait_for_endpoints(&cluster, usize::try_from(replicas).expect("positive")).await;
        eventually("ended Pods are gone", || async {
            expect_eq(cluster.pods().await.len(), usize::try_from(replicas).expect("positive"))
        })
        .await;
    }
    let last = placed(&cluster).await;
    assert!(last.keys().all(|name| first.contains_key(name)), "the younger ones went first: {first:?} {last:?}");

    let endpoints = cluster.namespaced::<Endpoints>().get("spink").await.expect("Endpoints");
    let addresses: usize =
        endpoints.subsets.iter().flatten().map(|subset| subset.addresses.iter().flatten().count()).sum();
    assert_eq!(addresses, 1);

    let events = cluster.events("Deployment").await;
    assert!(
        events.iter().any(|event| event.starts_with("ScalingReplicaSet: Scaled up replica set spink-")
            && event.ends_with("from 0 to 2")),
        "{events:?}"
    );
    assert!(events.iter().any(|event| event.ends_with("from 5 to 1")), "{events:?}");
    let events = cluster.events("ReplicaSet").await;
    assert!(events.iter().any(|event| event.starts_with("SuccessfulCreate: Created pod: spink-")), "{events:?}");
    assert!(events.iter().any(|event| event.starts_with("SuccessfulDelete: Deleted pod: spink-")), "{events:?}");
    let events = cluster.events("Pod").await;
    assert!(
        events.iter().any(|event| event.starts_with("Scheduled: Successfully assigned default/spink-")),
        "{events:?}"
    );

    cluster.namespaced::<Deployment>().delete("spink", &DeleteParams::background()).await.expect("delete");
    cluster.namespaced::<Service>().delete("spink", &DeleteParams::default()).await.expect("delete");
    eventually("nothing is left", || async {
        let slices = cluster
            .namespaced::<EndpointSlice>()
            .list(&ListParams::default().labels("kubernetes.io/service-name=spink"))
            .await;
        let endpoints = cluster.namespaced::<Endpoints>().get_opt("spink").await.map_err(|error| error.to_string())?;
        expect_eq(
            (
                cluster.pods().await.len(),
                cluster.replica_sets().await.len(),
                slices.map(|list| list.items.len()).ok(),
                endpoints.is_some(),
            ),
            (0, 0, Some(0), false),
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pods_come_and_go() {
    let cluster = Cluster::with_nodes(Options::default()).await;
    cluster.create::<Deployment>(spink(100)).await;
    cluster.create::<Service>(spink_service()).await;
    wait_for_available(&cluster, 100).await;
    wait_for_endpoints(&cluster, 100).await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in placed(&cluster).await.into_values() {
        *counts.entry(node).or_default() += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [50, 50], "{counts:?}");
    cluster.scale("spink", 0).await;
    eventually("all Pods are gone", || async { expect_eq(cluster.pods().await.len(), 0) }).await;
    wait_for_endpoints(&cluster, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_is_told_why_and_comes_when_it_fits() {
    let cluster = Cluster::with_nodes(Options::default()).await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "picky", "namespace": "default"},
        "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "malla.dev/echo"}]},
    });
    cluster.create::<Pod>(pod).await;
    let api = cluster.namespaced::<Pod>();
    let message = "0/3 nodes are available: 1 node(s) had untolerated taint \
        {node-role.kubernetes.io/control-plane: }, 2 node(s) didn't match Pod's node affinity/selector.";
    eventually("the condition tells", || async {
        let pod = api.get("picky").await.map_err(|error| error.to_string())?;
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let told = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled");
        expect_eq(
            told.map(|told| (told.status, told.reason, told.message)),
            Some(("False".into(), Some("Unschedulable".into()), Some(message.into()))),
        )
    })
    .await;
    eventually("the Event tells", || async {
        let events = cluster.events("Pod").await;
        if events.contains(&format!("FailedScheduling: {message}")) { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let label = kube::api::Patch::Merge(json!({"metadata": {"labels": {"disk": "ssd"}}}));
    nodes.patch("worker-2", &Default::default(), &label).await.expect("label");
    eventually("it is bound", || async {
        let pod = api.get("picky").await.map_err(|error| error.to_string())?;
        expect_eq(pod.spec.and_then(|spec| spec.node_name), Some("worker-2".into()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphaned_pod_is_adopted_and_a_relabelled_one_replaced() {
    let cluster = Cluster::with_nodes(Options::default()).await;
    let orphan: Pod = from(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "orphan", "namespace": "default", "labels": {"tier": "front"}},
        "spec": {"containers": [{"name": "c", "image": "malla.dev/echo"}]},
    }));
    cluster.namespaced::<Pod>().create(&Default::default(), &orphan).await.expect("create");
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "front", "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"tier": "front"}}, "template": {
            "metadata": {"labels": {"tier": "front"}}, "spec": {"containers": [{"name": "c", "image": "malla.dev/echo"}]}}},
    });
    cluster.create::<k8s_openapi::api::apps::v1::ReplicaSet>(set).await;
    eventually("the orphan is one of two", || async {
        let pods = cluster.pods().await;
        let owned = pods.iter().filter(|pod| pod.metadata.owner_references.is_some()).count();
        expect_eq((pods.len(), owned), (2, 2))
    })
    .await;
    let relabel = kube::api::Patch::Merge(json!({"metadata": {"labels": {"tier": "debug"}}}));
    cluster.namespaced::<Pod>().patch("orphan", &Default::default(), &relabel).await.expect("relabel");
    eventually("it is released and replaced", || async {
        let pods = cluster.pods().await;
        let released = pods
            .iter()
            .any(|pod| pod.metadata.name.as_deref() == Some("orphan") && pod.metadata.owner_references.is_none());
        expect_eq((pods.len(), released), (3, true))
    })
    .await;
}
