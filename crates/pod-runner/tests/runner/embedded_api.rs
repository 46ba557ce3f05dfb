//! The same runner with the lab's own API instead of the one in memory.

use std::{net::TcpListener, path::Path, time::Duration};

use clap::Parser;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use kubernetes_api::cli::ApiserverArgs;
use serde_json::{Value, json};

use crate::support::testbed::{Testbed, condition, container};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    apiserver: ApiserverArgs,
}

/// Serves until the test's process ends.
async fn start_api(folder: &Path) -> Client {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kubeconfig = folder.join("kubeconfig");
    let at = |name: &str| folder.join(name).display().to_string();
    let line = CommandLine::parse_from([
        "apiserver",
        &format!("--data-dir={}", at("api")),
        &format!("--pki-dir={}", at("pki")),
        &format!("--listen=127.0.0.1:{port}"),
        "--advertise-address=127.0.0.1",
        &format!("--kubeconfig={}=https://127.0.0.1:{port}", kubeconfig.display()),
    ]);
    std::thread::spawn(move || kubernetes_api::cli::run(line.apiserver).unwrap());
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let Ok(kubeconfig) = Kubeconfig::read_from(&kubeconfig) else { continue };
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        if client.apiserver_version().await.is_ok() {
            return client;
        }
    }
    panic!("the API does not come up");
}

/// Waits until `find` finds something.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, find: impl Fn() -> F) -> T {
    for _ in 0..1500 {
        if let Some(found) = find().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen");
}

fn pod(name: &str, image: &str) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": name}, "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 10,
        "containers": [{"name": "c", "image": image}]}}),
    )
    .unwrap()
}

async fn until(pods: &Api<Pod>, name: &str, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let look = || async {
        let pod = pods.get_opt(name).await.unwrap().map_or(Value::Null, |pod| serde_json::to_value(pod).unwrap());
        enough(&pod).then_some(pod)
    };
    eventually(what, look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_through_the_labs_own_api() {
    let mut bed = Testbed::new();
    let client = start_api(&bed.root).await;
    bed.start_runner_with(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    eventually("a ready node", || async {
        let node = serde_json::to_value(nodes.get_opt("node-1").await.unwrap()?).unwrap();
        (condition(&node, "Ready") == "True").then_some(())
    })
    .await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    eventually("a lease", || async { leases.get_opt("node-1").await.unwrap() }).await;

    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.create(&PostParams::default(), &pod("web", "malla.dev/echo")).await.unwrap();
    pods.create(&PostParams::default(), &pod("nginx", "nginx")).await.unwrap();
    let before = until(&pods, "web", "readiness", |pod| condition(pod, "Ready") == "True").await;
    assert_eq!(before["status"]["phase"], "Running");
    assert!(bed.get(before["status"]["podIP"].as_str().unwrap(), "/hostname").unwrap().ends_with("web\n"));
    until(&pods, "nginx", "ErrImagePull", |pod| container(pod)["state"]["waiting"]["reason"] == "ErrImagePull").await;
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let uid = before["metadata"]["uid"].as_str().unwrap();
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    eventually("the events of a start", || async {
        let events = events.list(&about).await.unwrap();
        let reasons: Vec<String> = events.items.into_iter().filter_map(|event| event.reason).collect();
        ["Pulled", "Created", "Started"].iter().all(|reason| reasons.iter().any(|have| have == reason)).then_some(())
    })
    .await;

    // Another runner takes over.
    bed.stop_runner().await;
    bed.start_runner_with(client.clone());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = until(&pods, "web", "readiness", |pod| condition(pod, "Ready") == "True").await;
    assert_eq!(container(&after)["containerID"], container(&before)["containerID"]);

    for name in ["web", "nginx"] {
        let deleted = pods.delete(name, &DeleteParams::default()).await.unwrap();
        let deleted = deleted.left().expect("the Pod itself: it is not gone at once");
        assert!(deleted.metadata.deletion_timestamp.is_some());
    }
    for name in ["web", "nginx"] {
        until(&pods, name, "deletion", Value::is_null).await;
    }
    bed.eventually("removal of the folders", || bed.pod_folders() == 0).await;
    bed.finish().await;
}
