//! A kubelet for all Nodes that runs nothing: Pods become Running and Ready after a while, and go when asked to.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How the pretended containers behave.
#[derive(Clone, Copy)]
pub struct Pace {
    pub start: Duration,
    pub stop: Duration,
}

#[derive(Clone)]
pub struct Kubelet {
    client: Client,
    pace: Arc<Mutex<Pace>>,
    addresses: Arc<Mutex<HashMap<String, u32>>>,
}

impl Kubelet {
    pub fn start(client: Client, cancel: CancellationToken) -> Self {
        let pace = Pace { start: Duration::from_millis(20), stop: Duration::from_millis(20) };
        let kubelet = Self { client, pace: Arc::new(Mutex::new(pace)), addresses: Arc::default() };
        tokio::spawn(kubelet.clone().watch(cancel));
        kubelet
    }

    pub fn set_pace(&self, pace: Pace) {
        *self.pace.lock().expect("lock") = pace;
    }

    fn pace(&self) -> Pace {
        *self.pace.lock().expect("lock")
    }

    /// Writes the Node's Ready condition, with a heartbeat of now.
    pub async fn report_node(&self, name: &str, ready: &str) {
        self.try_report_node(name, ready).await.expect("report Node");
    }

    /// The same, where the API server may be away.
    pub async fn try_report_node(&self, name: &str, ready: &str) -> kube::Result<()> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status = json!({"status": {"conditions": [{
            "type": "Ready", "status": ready, "reason": "KubeletReady", "message": "pretending",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }]}});
        let api: Api<Node> = Api::all(self.client.clone());
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.map(drop)
    }

    /// Sets a Pod's readiness, as a probe would.
    pub async fn set_ready(&self, pod: &str, ready: bool) {
        let status = json!({"status": {"conditions": conditions(ready)}});
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        api.patch_status(pod, &PatchParams::default(), &Patch::Strategic(status)).await.expect("set readiness");
    }

    async fn watch(self, cancel: CancellationToken) {
        let mut events = pin!(watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default()));
        let seen = Arc::new(Mutex::new(HashMap::new()));
        loop {
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => {
                    let key = (pod.metadata.uid.clone(), pod.metadata.deletion_timestamp.is_some());
                    let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
                    // Each Pod starts once and stops once.
                    if bound && seen.lock().expect("lock").insert(key, ()).is_none() {
                        tokio::spawn(self.clone().act(pod));
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                None => return,
            }
        }
    }

    async fn act(self, pod: Pod) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        if pod.metadata.deletion_timestamp.is_some() {
            tokio::time::sleep(self.pace().stop).await;
            let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
            self.insist(|| api.delete(&name, &params)).await;
            return;
        }
        tokio::time::sleep(self.pace().start).await;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default();
        let status = self.running(&node, !image.contains("bad"));
        let patch = Patch::Strategic(status);
        let params = PatchParams::default();
        self.insist(|| api.patch_status(&name, &params, &patch)).await;
    }

    /// Tries again while the API server is away; its refusals are final.
    async fn insist<T, F, Fut>(&self, mut operation: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        for _ in 0..200 {
            match operation().await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code < 500 && status.code != 409 => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn running(&self, node: &str, ready: bool) -> Value {
        let number = {
            let mut addresses = self.addresses.lock().expect("lock");
            let next = addresses.entry(node.to_owned()).or_insert(1);
            *next += 1;
            *next
        };
        let third = match node {
            "control-plane" => 0,
            other => other.trim_start_matches("worker-").parse::<u32>().unwrap_or(9),
        };
        let v4 = format!("10.244.{third}.{number}");
        let v6 = format!("fd00:10:244:{third:x}::{number:x}");
        json!({"status": {
            "phase": "Running", "podIP": v4, "podIPs": [{"ip": v4}, {"ip": v6}],
            "conditions": conditions(ready),
        }})
    }
}

fn conditions(ready: bool) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = if ready { "True" } else { "False" };
    json!([
        {"type": "PodScheduled", "status": "True"},
        {"type": "ContainersReady", "status": status, "lastTransitionTime": now},
        {"type": "Ready", "status": status, "lastTransitionTime": now},
    ])
}
