//! Rolling updates, rollbacks and restarts of the API server: at no time too few endpoints.

mod cluster;

use cluster::{Cluster, eventually, expect_eq, ready_addresses, spink, spink_service};
use controllers::Options;
use futures::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, discovery::v1::EndpointSlice};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Follows the slices of `spink` as the network would, and keeps the smallest number of ready endpoints.
struct Witness {
    fewest: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Witness {
    fn start(cluster: &Cluster) -> Self {
        let fewest = Arc::new(AtomicUsize::new(usize::MAX));
        let (api, least) = (cluster.namespaced::<EndpointSlice>(), Arc::clone(&fewest));
        let task = tokio::spawn(async move {
            let config = watcher::Config::default().labels("kubernetes.io/service-name=spink");
            let mut events = pin!(watcher(api, config));
            let mut slices: HashMap<String, EndpointSlice> = HashMap::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(slice) | Event::InitApply(slice)) => {
                        slices.insert(slice.metadata.name.clone().unwrap_or_default(), slice);
                    }
                    Ok(Event::Delete(slice)) => {
                        slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
                    }
                    Ok(Event::Init) => continue,
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                    Ok(Event::InitDone) => {}
                }
                let ready = ready_addresses(slices.values().cloned().collect(), "IPv4").len();
                least.fetch_min(ready, Ordering::SeqCst);
            }
        });
        Self { fewest, task }
    }

    fn end(self) -> usize {
        self.task.abort();
        self.fewest.load(Ordering::SeqCst)
    }
}

async fn start(replicas: i32, strategy: Value) -> Cluster {
    let cluster = Cluster::with_nodes(Options::default()).await;
    let mut deployment = spink(replicas);
    deployment["spec"]["strategy"] = strategy;
    deployment["spec"]["progressDeadlineSeconds"] = json!(3);
    cluster.create::<Deployment>(deployment).await;
    cluster.create::<Service>(spink_service()).await;
    wait_for(&cluster, "localhost/spink:1.0.1", replicas).await;
    cluster
}

/// All endpoints are Pods of this image, and the Deployment says that it is complete.
async fn wait_for(cluster: &Cluster, image: &str, replicas: i32) {
    let count = usize::try_from(replicas).expect("positive");
    eventually("the rollout is complete", || async {
        let pods = cluster.pods().await;
        let of_image = pods
            .iter()
            .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some(image)))
            .count();
        expect_eq(
            (of_image, pods.len(), condition(cluster).await.1, cluster.ready_endpoints("spink", "IPv4").await.len()),
            (count, count, "NewReplicaSetAvailable".to_owned(), count),
        )
    })
    .await;
}

async fn condition(cluster: &Cluster) -> (String, String) {
    let deployment = cluster.namespaced::<Deployment>().get("spink").await;
    let status = deployment.ok().and_then(|deployment| deployment.status).unwrap_or_default();
    let progressing = status.conditions.unwrap_or_default().into_iter().find(|held| held.type_ == "Progressing");
    progressing.map(|held| (held.status, held.reason.unwrap_or_default())).unwrap_or_default()
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "spink", "image": image}]}}}})
}

async fn revision(cluster: &Cluster) -> Option<String> {
    let deployment = cluster.namespaced::<Deployment>().get("spink").await.ok()?;
    deployment.metadata.annotations?.get("deployment.kubernetes.io/revision").cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_keeps_every_replica_and_rolls_back() {
    let cluster = start(4, json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})).await;
    let witness = Witness::start(&cluster);
    cluster.patch_deployment("spink", image("localhost/spink:1.0.2")).await;
    wait_for(&cluster, "localhost/spink:1.0.2", 4).await;
    assert_eq!(revision(&cluster).await.as_deref(), Some("2"));
    cluster.patch_deployment("spink", image("localhost/spink:1.0.1")).await;
    wait_for(&cluster, "localhost/spink:1.0.1", 4).await;
    assert_eq!(revision(&cluster).await.as_deref(), Some("3"));
    assert_eq!(cluster.replica_sets().await.len(), 2, "the old ReplicaSet was used again");
    assert_eq!(witness.end(), 4, "ready endpoints at any time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_leaves_the_old_pods_and_exceeds_its_deadline() {
    let cluster = start(4, json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})).await;
    let witness = Witness::start(&cluster);
    cluster.patch_deployment("spink", image("bad")).await;
    eventually("the deadline is exceeded", || async {
        expect_eq(condition(&cluster).await, ("False".into(), "ProgressDeadlineExceeded".into()))
    })
    .await;
    cluster.patch_deployment("spink", image("localhost/spink:1.0.3")).await;
    wait_for(&cluster, "localhost/spink:1.0.3", 4).await;
    assert!(witness.end() >= 3, "one may be missing, no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_never_mixes_templates() {
    let cluster = start(3, json!({"type": "Recreate"})).await;
    cluster.patch_deployment("spink", image("localhost/spink:1.0.2")).await;
    let mut images = std::collections::BTreeSet::new();
    loop {
        let now: std::collections::BTreeSet<String> =
            cluster.pods().await.into_iter().filter_map(|pod| pod.spec?.containers.first()?.image.clone()).collect();
        assert!(now.len() <= 1, "{now:?}");
        images.extend(now);
        if images.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    wait_for(&cluster, "localhost/spink:1.0.2", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_may_be_killed_in_the_middle() {
    let mut cluster = start(4, json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})).await;
    let witness = Witness::start(&cluster);
    for round in 2..5 {
        let next = format!("localhost/spink:1.0.{round}");
        cluster.patch_deployment("spink", image(&next)).await;
        tokio::time::sleep(Duration::from_millis(30 * round)).await;
        cluster.api_server.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.api_server.restart();
        cluster.api_server.client().await;
        wait_for(&cluster, &next, 4).await;
    }
    assert_eq!(witness.end(), 4, "ready endpoints at any time");
    cluster.stop_controllers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_controllers_finish_what_others_began() {
    let mut cluster = start(4, json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})).await;
    let witness = Witness::start(&cluster);
    for round in 2..6 {
        let next = format!("localhost/spink:1.0.{round}");
        cluster.patch_deployment("spink", image(&next)).await;
        tokio::time::sleep(Duration::from_millis(15 * round)).await;
        cluster.stop_controllers().await;
        cluster.start_controllers();
        wait_for(&cluster, &next, 4).await;
    }
    assert_eq!(cluster.replica_sets().await.len(), 5, "one ReplicaSet per template, none twice");
    assert_eq!(witness.end(), 4, "ready endpoints at any time");
}
