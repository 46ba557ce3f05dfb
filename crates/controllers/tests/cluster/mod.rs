//! A cluster for tests: a real API server as a process of its own, the controllers, and a kubelet that only pretends
//! to run containers.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

mod api_server;
mod kubelet;

pub use api_server::ApiServer;
pub use kubelet::{Kubelet, Pace};

use controllers::Options;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Node, Pod},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything, ended when dropped.
pub struct Cluster {
    pub api_server: ApiServer,
    pub client: Client,
    pub kubelet: Kubelet,
    options: Options,
    /// Ends everything.
    cancel: CancellationToken,
    /// Ends the controllers alone.
    controllers: Option<(CancellationToken, JoinHandle<controllers::Result<()>>)>,
}

impl Cluster {
    /// A cluster without Nodes.
    pub async fn start(options: Options) -> Self {
        // RUST_LOG=controllers=debug shows what they do; by default nothing, as killed servers make kube-rs talk.
        let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into());
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_test_writer()
            .try_init();
        let api_server = ApiServer::start().await;
        let client = api_server.client().await;
        let cancel = CancellationToken::new();
        let kubelet = Kubelet::start(client.clone(), cancel.clone());
        let mut cluster = Self { api_server, client, kubelet, options, cancel, controllers: None };
        cluster.start_controllers();
        cluster
    }

    /// Starts the controllers, as a new supervisor would.
    pub fn start_controllers(&mut self) {
        let cancel = self.cancel.child_token();
        let run = controllers::run(self.client.clone(), self.options.clone(), cancel.clone());
        self.controllers = Some((cancel, tokio::spawn(run)));
    }

    /// The lab's three Nodes, created in its order.
    pub async fn with_nodes(options: Options) -> Self {
        let cluster = Self::start(options).await;
        for name in ["control-plane", "worker-1", "worker-2"] {
            cluster.add_node(name).await;
        }
        cluster
    }

    pub async fn add_node(&self, name: &str) {
        let is_control_plane = name == "control-plane";
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
        });
        if is_control_plane {
            node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = json!("");
            node["spec"]["taints"] = json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
        }
        let api: Api<Node> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &from(node)).await.expect("create Node");
        self.kubelet.report_node(name, "True").await;
    }

    /// Stops the controllers and waits for their end.
    pub async fn stop_controllers(&mut self) {
        if let Some((cancel, task)) = self.controllers.take() {
            cancel.cancel();
            task.await.expect("no panic").expect("a clean end");
        }
    }

    pub fn namespaced<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        self.namespaced::<K>().create(&PostParams::default(), &from(object)).await.expect("create")
    }

    pub async fn patch_deployment(&self, name: &str, patch: Value) {
        let api = self.namespaced::<Deployment>();
        let patch = Patch::Strategic(patch);
        api.patch(name, &PatchParams::default(), &patch).await.expect("patch Deployment");
    }

    pub async fn scale(&self, name: &str, replicas: i32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let api = self.namespaced::<Deployment>();
        api.patch_scale(name, &PatchParams::default(), &patch).await.expect("scale");
    }

    pub async fn pods(&self) -> Vec<Pod> {
        self.namespaced::<Pod>().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
    }

    pub async fn replica_sets(&self) -> Vec<ReplicaSet> {
        let list = self.namespaced::<ReplicaSet>().list(&ListParams::default()).await;
        list.map(|list| list.items).unwrap_or_default()
    }

    /// Addresses of the endpoints of a Service that are ready, of one family.
    pub async fn ready_endpoints(&self, service: &str, family: &str) -> Vec<String> {
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = self.namespaced::<EndpointSlice>().list(&params).await;
        let mut ready = ready_addresses(slices.map(|list| list.items).unwrap_or_default(), family);
        ready.sort();
        ready
    }

    /// `reason: message` of all Events about objects of this kind.
    pub async fn events(&self, kind: &str) -> Vec<String> {
        let api: Api<Event> = Api::all(self.client.clone());
        let events = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let about = events.into_iter().filter(|event| event.involved_object.kind.as_deref() == Some(kind));
        about
            .map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// The seed's Deployment, as its manifest says.
pub fn spink(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "spink", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "spink"}},
            "template": {
                "metadata": {"labels": {"app": "spink"}},
                "spec": {"containers": [{
                    "name": "spink", "image": "localhost/spink:1.0.1", "ports": [{"containerPort": 8080}],
                }]},
            },
        },
    })
}

/// The seed's Service.
pub fn spink_service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "spink", "namespace": "default"},
        "spec": {
            "type": "NodePort", "selector": {"app": "spink"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
        },
    })
}

pub fn ready_addresses(slices: Vec<EndpointSlice>, family: &str) -> Vec<String> {
    let endpoints = slices.into_iter().filter(|slice| slice.address_type == family).flat_map(|slice| slice.endpoints);
    endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true)))
        .map(|endpoint| endpoint.addresses[0].clone())
        .collect()
}

pub fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("a valid object")
}

/// Asks again and again until the answer is `Ok`, at most 30 s; `Err` tells what was seen instead.
pub async fn eventually<T, F, Fut>(what: &str, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > Duration::from_secs(30) => panic!("{what}: still {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// `Ok` when equal, else what was seen.
pub fn expect_eq<T: PartialEq + Debug>(seen: T, expected: T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{seen:?} instead of {expected:?}")) }
}
