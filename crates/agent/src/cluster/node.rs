//! Nodes, and the own one in particular.

use crate::error::Error;
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, Patch, PatchParams};
use model::Node;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// A Node of the API.
#[must_use]
pub fn from_kubernetes(object: &core::Node) -> Option<Node> {
    let name = object.metadata.name.as_deref()?;
    let addresses = object.status.as_ref().and_then(|s| s.addresses.as_ref());
    let spec = object.spec.as_ref();
    let ranges =
        spec.and_then(|s| s.pod_cidrs.clone()).or_else(|| spec.and_then(|s| s.pod_cidr.clone()).map(|c| vec![c]));
    let labels = object.metadata.labels.iter().flatten();
    Some(Node {
        name: name.into(),
        addresses: addresses
            .into_iter()
            .flatten()
            .filter(|a| a.type_ == "InternalIP")
            .filter_map(|a| a.address.parse::<IpAddr>().ok())
            .collect(),
        pod_ranges: ranges.into_iter().flatten().filter_map(|cidr| cidr.parse().ok()).collect(),
        zone: object.metadata.labels.as_ref().and_then(|l| l.get(ZONE)).map(|zone| zone.as_str().into()),
        labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
    })
}

/// What is kept of the own Node, so that an agent can start while the API is away.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    addresses: Vec<IpAddr>,
    pod_ranges: Vec<ipnet::IpNet>,
    #[serde(default)]
    zone: Option<Box<str>>,
}

/// Name of the file in the state folder.
const FILE: &str = "node.json";
/// An agent that was here before does not wait longer for the API than this.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(200);

/// The own Node, once it has Pod ranges and an address. A node that is new waits for them; one that has been up before
/// goes on with what it knew while the API is away.
///
/// # Errors
/// When the file with what it knew can't be read or written.
pub async fn own_node(client: &kube::Client, name: &str, state_dir: &Path) -> Result<Node, Error> {
    let api: Api<core::Node> = Api::all(client.clone());
    let path = state_dir.join(FILE);
    let remembered = recall(&path)?;
    let start = tokio::time::Instant::now();
    let mut said = String::new();
    loop {
        let missing = match api.get_opt(name).await {
            Ok(Some(object)) => match from_kubernetes(&object) {
                Some(node) if !node.pod_ranges.is_empty() && !node.addresses.is_empty() => {
                    remember(&path, &node)?;
                    return Ok(node);
                }
                _ => format!("Node {name} has no Pod range or no InternalIP yet"),
            },
            Ok(None) => format!("there is no Node {name} yet"),
            Err(error) => format!("the Kubernetes API does not answer: {}", crate::error::chain(&error)),
        };
        if let Some(known) = remembered.as_ref().filter(|_| start.elapsed() >= PATIENCE) {
            tracing::warn!("{missing}; going on with what is remembered of the node");
            return Ok(Node {
                name: name.into(),
                addresses: known.addresses.clone(),
                pod_ranges: known.pod_ranges.clone(),
                zone: known.zone.clone(),
                // Policy waits for the API in any case.
                labels: BTreeMap::new(),
            });
        }
        if said != missing {
            tracing::info!("waiting: {missing}");
            said = missing;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn recall(path: &Path) -> Result<Option<Remembered>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Content { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file("read", path)(source)),
    }
}

/// Written beside and renamed over, so that a crash leaves the old file or the new one.
fn remember(path: &Path, node: &Node) -> Result<(), Error> {
    let known =
        Remembered { addresses: node.addresses.clone(), pod_ranges: node.pod_ranges.clone(), zone: node.zone.clone() };
    let bytes = serde_json::to_vec(&known).map_err(|source| Error::Content { path: path.to_owned(), source })?;
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, bytes).map_err(Error::file("write", &beside))?;
    std::fs::rename(&beside, path).map_err(Error::file("rename", &beside))
}

/// Tells the cluster that Pods can be scheduled here: `NetworkUnavailable=False`, as a network add-on does.
///
/// # Errors
/// What the API says.
pub async fn report_ready(client: &kube::Client, name: &str) -> Result<(), kube::Error> {
    let api: Api<core::Node> = Api::all(client.clone());
    let current = api.get_status(name).await?;
    let conditions = current.status.and_then(|s| s.conditions).unwrap_or_default();
    let known = conditions.iter().find(|c| c.type_ == NETWORK_UNAVAILABLE);
    if known.is_some_and(|c| c.status == "False" && c.reason.as_deref() == Some(REASON)) {
        return Ok(());
    }
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = serde_json::json!({"status": {"conditions": [{
        "type": NETWORK_UNAVAILABLE,
        "status": "False",
        "reason": REASON,
        "message": "Malla's datapath is running on this node",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
}

/// Label of a Node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";
const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";
const REASON: &str = "MallaIsUp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_addresses_and_ranges_are_read() {
        let object = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "worker-1", "labels": {"rack": "7"}},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "worker-1"}, {"type": "InternalIP", "address": "172.18.0.3"},
                {"type": "ExternalIP", "address": "203.0.113.9"}
            ]}
        }))
        .unwrap();
        let node = from_kubernetes(&object).unwrap();
        assert_eq!(node.addresses, ["172.18.0.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(node.pod_ranges.len(), 2);
        assert_eq!(node.labels.get("rack").map(|value| &**value), Some("7"));
    }

    #[test]
    fn what_is_remembered_comes_back_and_rubbish_is_an_error() {
        let path = std::env::temp_dir().join(format!("malla-node-{}.json", std::process::id()));
        assert!(recall(&path).unwrap().is_none());
        let node = Node {
            name: "n".into(),
            addresses: vec!["172.18.0.3".parse().unwrap()],
            pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
            zone: Some("a".into()),
            labels: BTreeMap::new(),
        };
        remember(&path, &node).unwrap();
        assert_eq!(recall(&path).unwrap().unwrap().pod_ranges, node.pod_ranges);
        std::fs::write(&path, b"{").unwrap();
        assert!(recall(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
