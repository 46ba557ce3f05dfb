//! Several replicas: one leads. What each set of labels has is one number, and what a Pod has is not taken away, whoever is
//! killed, frozen and thawed.

mod cluster;

use cluster::{ApiServer, eventually, from};
use controllers::{Election, Options, Timing};
use custom_resources::{CiliumEndpointSlice, CiliumIdentity};
use futures::StreamExt;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// As client-go's 15, 10 and 2 s, in a fifth of the time.
const TIMING: Timing =
    Timing { duration: Duration::from_secs(3), deadline: Duration::from_secs(2), retry: Duration::from_millis(400) };

const REPLICA: &str = "CONTROLLERS_TEST_REPLICA";
const KUBECONFIG: &str = "CONTROLLERS_TEST_KUBECONFIG";

/// Controllers as a process of their own; ended when dropped.
struct Replica(Child);

impl Replica {
    fn start(name: &str, server: &ApiServer) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["replica_process", "--exact", "--nocapture"])
            .env(REPLICA, name)
            .env(KUBECONFIG, server.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("start a replica"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: the body of a replica's process. Without its name in the environment it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn replica_process() {
    let (Ok(identity), Ok(path)) = (std::env::var(REPLICA), std::env::var(KUBECONFIG)) else { return };
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    let election = Election { timing: TIMING, ..Election::new(identity) };
    let options =
        Options { identity_grace: Duration::from_millis(700), election: Some(election), ..Options::default() };
    let client = Client::try_from(config).expect("a client");
    controllers::run(client, options, CancellationToken::new()).await.expect("they run");
}

async fn leader(client: &Client) -> String {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let lease = api.get_opt(Election::LEASE).await.ok().flatten();
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

/// Waits until somebody else leads, and answers with his name.
async fn next_leader(client: &Client, before: &str) -> String {
    eventually("another leader", || async {
        let now = leader(client).await;
        if now.is_empty() || now == before { Err(now) } else { Ok(now) }
    })
    .await
}

/// Notes every moment at which two numbers stand for the same labels.
async fn watch_doubles(client: Client, doubles: Arc<Mutex<Vec<String>>>) {
    let mut events = pin!(watcher(Api::<CiliumIdentity>::all(client), watcher::Config::default()));
    let mut known: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                let labels = object.security_labels.clone();
                if let Some((other, _)) = known.iter().find(|(other, of)| **other != name && **of == labels) {
                    doubles.lock().expect("lock").push(format!("{other} and {name}: {labels:?}"));
                }
                known.insert(name, labels);
            }
            Ok(Event::Delete(object)) => drop(known.remove(&object.metadata.name.unwrap_or_default())),
            _ => {}
        }
    }
}

/// Pods of eight sets of labels come and go, so that numbers are always being given, left and given again.
async fn churn(client: Client, stop: Arc<AtomicBool>) {
    let api: Api<Pod> = Api::namespaced(client, "default");
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("p{}", turn % 12);
        let _ = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        // By another period than the names', and with pauses in which a set has nobody.
        let app = format!("app-{}", (turn / 5) % 8);
        let _ = api.create(&PostParams::default(), &from(pod(&name, &app))).await;
        turn += 1;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

fn pod(name: &str, app: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

/// Every Pod is told by a number that there is, and that stands for its label.
async fn all_is_told(client: &Client) {
    eventually("every Pod has the number of its labels", || async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let slices: Api<CiliumEndpointSlice> = Api::all(client.clone());
        let slices = slices.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let numbers: Api<CiliumIdentity> = Api::all(client.clone());
        let numbers = numbers.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let app = |number: i64| {
            let object = numbers.iter().find(|one| one.number().map(i64::from) == Some(number))?;
            object.security_labels.get("k8s:app").cloned()
        };
        let told: BTreeSet<(String, Option<String>)> =
            slices.into_iter().flat_map(|slice| slice.endpoints).map(|one| (one.name, app(one.id))).collect();
        let wanted = pods.into_iter().map(|pod| {
            let app = pod.metadata.labels.and_then(|labels| labels.get("app").cloned());
            (pod.metadata.name.unwrap_or_default(), app)
        });
        cluster::expect_eq(told, wanted.collect())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_nothing_is_given_twice_or_taken_away() {
    let server = ApiServer::start().await;
    let client = server.client().await;
    custom_resources::install(&client).await.expect("the definitions");
    let mut replicas: BTreeMap<&str, Replica> =
        ["a", "b", "c"].into_iter().map(|name| (name, Replica::start(name, &server))).collect();
    let doubles = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(watch_doubles(client.clone(), Arc::clone(&doubles)));
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(churn(client.clone(), Arc::clone(&stop)));

    let first = next_leader(&client, "").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(replicas.remove(first.as_str()).expect("a replica leads"));
    let second = next_leader(&client, &first).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    replicas[second.as_str()].signal("-STOP");
    let third = next_leader(&client, &second).await;
    assert_ne!(third, first, "it is dead");
    tokio::time::sleep(Duration::from_secs(2)).await;
    // It wakes up in the middle of what it was doing, and believes nothing has happened.
    replicas[second.as_str()].signal("-CONT");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(leader(&client).await, third, "who was frozen is one of many");
    stop.store(true, Ordering::Relaxed);
    load.await.expect("no panic");
    all_is_told(&client).await;
    // And what nobody uses goes, of all that were given under three leaders.
    eventually("only what is used is left", || async {
        let numbers: Api<CiliumIdentity> = Api::all(client.clone());
        let numbers = numbers.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let apps: BTreeSet<_> =
            pods.iter().map(|pod| pod.metadata.labels.as_ref().expect("labels")["app"].clone()).collect();
        cluster::expect_eq(numbers.len(), apps.len())
    })
    .await;
    all_is_told(&client).await;
    assert_eq!(*doubles.lock().expect("lock"), Vec::<String>::new());
}
