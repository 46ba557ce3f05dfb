//! Nodes that fall silent, come back, or vanish; and how fast readiness reaches the slices.

mod cluster;

use cluster::{Cluster, eventually, expect_eq, spink, spink_service};
use controllers::Options;
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    api::DeleteParams,
    runtime::watcher::{self, Event, watcher},
};
use std::{
    pin::pin,
    time::{Duration, Instant},
};

async fn ready_cluster(options: Options, replicas: i32) -> Cluster {
    let cluster = Cluster::with_nodes(options).await;
    cluster.create::<Deployment>(spink(replicas)).await;
    cluster.create::<Service>(spink_service()).await;
    let count = usize::try_from(replicas).expect("positive");
    eventually("all endpoints are ready", || async {
        expect_eq(cluster.ready_endpoints("spink", "IPv4").await.len(), count)
    })
    .await;
    cluster
}

async fn readiness(cluster: &Cluster, node: &str) -> (String, Vec<String>) {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let node = api.get(node).await.expect("the Node");
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|held| held.type_ == "Ready").map(|held| held.status);
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    (ready.unwrap_or_default(), taints.into_iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_left_out_until_it_is_back() {
    let options = Options { node_grace: Duration::from_secs(3), ..Options::default() };
    let cluster = ready_cluster(options, 2).await;
    let beating = cluster.kubelet.clone();
    let heart = tokio::spawn(async move {
        loop {
            beating.report_node("control-plane", "True").await;
            beating.report_node("worker-1", "True").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    eventually("worker-2 is unknown and tainted", || async {
        let taints = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
        expect_eq(readiness(&cluster, "worker-2").await, ("Unknown".into(), taints.map(str::to_owned).to_vec()))
    })
    .await;
    eventually("its Pod is no endpoint", || async {
        let ready = cluster.ready_endpoints("spink", "IPv4").await;
        expect_eq(ready, vec!["10.244.1.2".to_owned()])
    })
    .await;
    assert_eq!(readiness(&cluster, "worker-1").await.0, "True");

    cluster.kubelet.report_node("worker-2", "True").await;
    eventually("everything is as before", || async {
        expect_eq(readiness(&cluster, "worker-2").await, ("True".into(), vec![]))?;
        expect_eq(cluster.ready_endpoints("spink", "IPv4").await.len(), 2)
    })
    .await;
    heart.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_api_server_makes_no_node_silent() {
    let options = Options { node_grace: Duration::from_secs(4), ..Options::default() };
    let mut cluster = ready_cluster(options, 2).await;
    // Follow what the API server tells after its return; a Node that was Unknown even once is found.
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let witness = tokio::spawn(async move {
        let mut events = pin!(watcher(nodes, watcher::Config::default()));
        let mut silent = Vec::new();
        let end = tokio::time::Instant::now() + Duration::from_secs(13);
        while let Ok(event) = tokio::time::timeout_at(end, events.next()).await {
            match event {
                Some(Ok(Event::Apply(node) | Event::InitApply(node))) => {
                    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
                    if conditions.iter().any(|held| held.type_ == "Ready" && held.status != "True") {
                        silent.push(node.metadata.name.unwrap_or_default());
                    }
                }
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => {}
            }
        }
        silent
    });
    cluster.api_server.kill();
    // Longer than the grace, so that the controllers have every reason to think that all Nodes are dead …
    tokio::time::sleep(Duration::from_secs(6)).await;
    cluster.api_server.restart();
    // … and the Nodes take their time to report again, as real ones do.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let beating = cluster.kubelet.clone();
    let heart = tokio::spawn(async move {
        loop {
            for node in ["control-plane", "worker-1", "worker-2"] {
                beating.report_node(node, "True").await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    assert_eq!(witness.await.expect("no panic"), Vec::<String>::new());
    assert_eq!(cluster.ready_endpoints("spink", "IPv4").await.len(), 2);
    heart.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_vanished_node_go_and_are_replaced() {
    let options = Options { vanished_node_grace: Duration::from_millis(200), ..Options::default() };
    let cluster = ready_cluster(options, 2).await;
    let api: Api<Node> = Api::all(cluster.client.clone());
    api.delete("worker-2", &DeleteParams::default()).await.expect("delete Node");
    eventually("both Pods are on worker-1", || async {
        let pods = cluster.pods().await;
        let nodes: Vec<_> = pods.into_iter().filter_map(|pod| pod.spec?.node_name).collect();
        expect_eq(nodes, vec!["worker-1".to_owned(), "worker-1".to_owned()])
    })
    .await;
    // Its range is free again, and the lowest.
    cluster.add_node("worker-3").await;
    eventually("the range is used again", || async {
        let node = api.get("worker-3").await.map_err(|error| error.to_string())?;
        expect_eq(node.spec.and_then(|spec| spec.pod_cidr), Some("10.244.2.0/24".into()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_reaches_the_slices_in_milliseconds() {
    let cluster = ready_cluster(Options::default(), 2).await;
    let pod = cluster.pods().await.remove(0);
    let (name, address) =
        (pod.metadata.name.expect("a name"), pod.status.and_then(|status| status.pod_ip).expect("an address"));
    let config = watcher::Config::default().labels("kubernetes.io/service-name=spink");
    let mut events = pin!(watcher(cluster.namespaced::<EndpointSlice>(), config));
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}

    let mut times = Vec::new();
    for round in 0..20 {
        let ready = round % 2 == 1;
        cluster.kubelet.set_ready(&name, ready).await;
        // From the moment the API server has acknowledged the Pod's readiness.
        let start = Instant::now();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("in time");
            let Some(Ok(Event::Apply(slice))) = event else { continue };
            let told = slice.endpoints.iter().find(|endpoint| endpoint.addresses[0] == address);
            let told = told.and_then(|endpoint| endpoint.conditions.as_ref()?.ready);
            if told == Some(ready) {
                break;
            }
        }
        times.push(start.elapsed());
    }
    times.sort();
    println!("readiness to slice: median {:?}, worst {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_millis(50), "{times:?}");
}
