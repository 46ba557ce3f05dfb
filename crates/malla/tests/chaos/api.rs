//! The lab's API by kube-rs: a program for each of hundreds of changes would take longer than the change.

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::cluster::Cluster;

pub struct Api {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

impl Api {
    pub fn of(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(cluster.folder().join("kubeconfig")).unwrap();
            let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            config.proxy_url = None;
            kube::Client::try_from(config).unwrap()
        });
        Self { runtime, client }
    }

    /// Server-side apply: makes it, or makes it what is said here.
    pub fn apply(&self, kind: &str, name: &str, object: &Value) {
        let path = format!("{kind}/{name}?fieldManager=chaos&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", Some(object));
    }

    /// Makes it, under the name that it has.
    pub fn create(&self, kind: &str, object: &Value) {
        self.send("POST", kind, "application/json", Some(object));
    }

    pub fn write_status(&self, kind: &str, name: &str, patch: &Value) {
        self.send("PATCH", &format!("{kind}/{name}/status"), "application/merge-patch+json", Some(patch));
    }

    pub fn delete(&self, kind: &str, name: &str) {
        self.send("DELETE", &format!("{kind}/{name}"), "application/json", None);
    }

    pub fn get(&self, path: &str) -> Value {
        self.send("GET", path, "application/json", None)
    }

    fn send(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> Value {
        let body = body.map(|body| serde_json::to_vec(body).unwrap()).unwrap_or_default();
        let request = http::Request::builder().method(method).uri(path).header("content-type", content).body(body);
        let answer = self.runtime.block_on(self.client.request::<Value>(request.unwrap()));
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
    }
}
