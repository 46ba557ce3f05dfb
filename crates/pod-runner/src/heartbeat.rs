//! The node's own objects: Node status and Lease, as kubelet keeps them.

use std::{fs, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{Node as NodeObject, NodeSpec, NodeStatus},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{backoff::Backoff, node::Node, status::time};

/// Keeps the node's objects until dropped.
pub async fn run(node: Arc<Node>) {
    let mut backoff = Backoff::operations();
    while let Err(error) = register(&node).await {
        tracing::debug!(node = node.options.node_name, %error, "node not registered yet");
        sleep(backoff.delay()).await;
    }
    tokio::join!(keep_status(&node), keep_lease(&node));
}

/// Makes the Node object unless it is there.
async fn register(node: &Node) -> Result<(), kube::Error> {
    let api: Api<NodeObject> = Api::all(node.client.clone());
    let name = &node.options.node_name;
    if api.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let template = &node.options.node;
    let mut labels = template.labels.clone();
    labels.entry("kubernetes.io/hostname".into()).or_insert_with(|| name.clone());
    labels.entry("kubernetes.io/os".into()).or_insert_with(|| "linux".into());
    labels.entry("kubernetes.io/arch".into()).or_insert_with(|| ARCHITECTURE.into());
    let object = NodeObject {
        metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec {
            pod_cidr: template.pod_cidrs.first().cloned(),
            pod_cidrs: (!template.pod_cidrs.is_empty()).then(|| template.pod_cidrs.clone()),
            taints: (!template.taints.is_empty()).then(|| template.taints.clone()),
            ..NodeSpec::default()
        }),
        status: None::<NodeStatus>,
    };
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

async fn keep_status(node: &Node) {
    let api: Api<NodeObject> = Api::all(node.client.clone());
    let mut told: Option<(Value, Instant)> = None;
    let mut since = (None, Timestamp::now());
    loop {
        let network = node.network.status().await.map_err(|error| crate::chain(&error));
        let ready = network.is_ok();
        if since.0 != Some(ready) {
            since = (Some(ready), Timestamp::now());
        }
        let verdict = ready_condition(network);
        let stale = told.as_ref().is_none_or(|(before, at)| *before != verdict || at.elapsed() > FULL_STATUS);
        if stale {
            let patch = json!({"status": status(node, &verdict, since.1)});
            match api.patch_status(&node.options.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => told = Some((verdict, Instant::now())),
                Err(error) => {
                    tracing::debug!(%error, "node status not written yet");
                    // Deleted meanwhile? Then it comes back, as a kubelet's does after its restart.
                    if matches!(&error, kube::Error::Api(refusal) if refusal.code == 404) {
                        let _ = register(node).await;
                    }
                    sleep(RETRY).await;
                    continue;
                }
            }
        }
        sleep(if ready { PERIOD } else { RETRY }).await;
    }
}

fn ready_condition(network: Result<(), String>) -> Value {
    match network {
        Ok(()) => {
            json!({"status": "True", "reason": "KubeletReady", "message": "the Pod runner is posting ready status"})
        }
        // kubelet's words, which people search for.
        Err(error) => json!({"status": "False", "reason": "KubeletNotReady", "message": format!(
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{error}")}),
    }
}

fn status(node: &Node, ready: &Value, since: Timestamp) -> Value {
    let now = time(Timestamp::now());
    let condition = |kind: &str, status: &str, reason: &str, message: &str, since: Timestamp| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastHeartbeatTime": now, "lastTransitionTime": time(since)})
    };
    let text = |key: &str| ready[key].as_str().unwrap_or_default();
    let conditions = [
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "the Pod runner has sufficient memory available",
            since,
        ),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "the Pod runner has no disk pressure", since),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "the Pod runner has sufficient PID available",
            since,
        ),
        condition("Ready", text("status"), text("reason"), text("message"), since),
    ];
    let mut addresses: Vec<Value> =
        node.options.host_ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()})).collect();
    addresses.push(json!({"type": "Hostname", "address": node.options.node_name}));
    // The merge key is `type`, and both families' InternalIP would become one: replace the list, as kubelet does
    // (kubernetes/kubernetes, pkg/util/node, fixupPatchForNodeStatusAddresses).
    addresses.push(json!({"$patch": "replace"}));
    let resources =
        json!({"cpu": cpus().to_string(), "memory": format!("{}Ki", memory_kib()), "pods": PODS.to_string()});
    json!({
        "addresses": addresses,
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions,
        "nodeInfo": node_info(),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    })
}

fn node_info() -> Value {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let version = format!("malla {}", env!("CARGO_PKG_VERSION"));
    json!({
        "architecture": ARCHITECTURE,
        "operatingSystem": "linux",
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "machineID": read("/etc/machine-id"),
        "systemUUID": "",
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "osImage": os_image(&read("/etc/os-release")),
        "containerRuntimeVersion": format!("malla://{}", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": version,
    })
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |name| name.trim_matches('"').to_owned())
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

fn memory_kib() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

async fn keep_lease(node: &Node) {
    let api: Api<Lease> = Api::namespaced(node.client.clone(), "kube-node-lease");
    let name = &node.options.node_name;
    loop {
        let renewed = MicroTime(Timestamp::now());
        let patch = json!({"spec": {"renewTime": renewed, "holderIdentity": name}});
        let result = match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        namespace: Some("kube-node-lease".into()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(LeaseSpec {
                        holder_identity: Some(name.clone()),
                        lease_duration_seconds: Some(LEASE_SECONDS),
                        renew_time: Some(renewed),
                        ..LeaseSpec::default()
                    }),
                };
                api.create(&PostParams::default(), &lease).await.map(drop)
            }
            other => other.map(drop),
        };
        match result {
            Ok(()) => sleep(PERIOD).await,
            Err(error) => {
                tracing::debug!(%error, "lease not renewed yet");
                sleep(RETRY).await;
            }
        }
    }
}

/// How often the lease is renewed and the network is asked for its state (kubelet: 10 s).
const PERIOD: Duration = Duration::from_secs(10);
/// While something is missing: it is usually just starting.
const RETRY: Duration = Duration::from_millis(200);
/// An unchanged status is told again after this long.
const FULL_STATUS: Duration = Duration::from_secs(60);
const LEASE_SECONDS: i32 = 40;
/// kubelet's default `maxPods` is 110; a lab's Pods are small.
const PODS: u32 = 250;
/// The Kubernetes version whose kubelet this behaves like.
const KUBELET_VERSION: &str = "v1.33.0";
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
