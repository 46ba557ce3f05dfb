//! What a Pod's identity is made of.

use crate::Filter;
use custom_resources::NamedPort;
use k8s_openapi::api::core::v1::{Container, Pod};
use model::Labels;
use std::collections::{BTreeMap, BTreeSet};

/// Source of what Malla adds to Cilium's labels: named ports, as `malla:named-port.tcp.http=8080`. Two Pods that give a name to
/// different ports have to be different peers for a rule that names the port. (A name that several containers give to different
/// ports has them all, with commas.)
pub const MALLA: &str = "malla";

/// What is not said by the Pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Labels of its namespace.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Which labels count.
    pub filter: &'a Filter,
}

/// Whether a Pod has an identity of its own: one on the host's network is the node, and one that has ended is nobody.
#[must_use]
pub fn has_identity(pod: &Pod) -> bool {
    let host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !host && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// The labels that make a Pod's identity, as Cilium names them.
///
/// A label that only the system may say (its namespace, the namespace's labels, its account, its cluster) is never taken from
/// the Pod's own: whoever may label a Pod could otherwise choose an identity in another namespace.
#[must_use]
pub fn labels_of(pod: &Pod, facts: Facts<'_>) -> Labels {
    let mut labels = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if facts.filter.keeps(K8S, key) {
            labels.insert(format!("{K8S}:{key}"), value.to_owned());
        }
    };
    for (key, value) in pod.metadata.labels.iter().flatten().filter(|(key, _)| !is_systems(key)) {
        add(key, value);
    }
    for (key, value) in facts.namespace_labels.into_iter().flatten() {
        add(&format!("{NAMESPACE_LABELS}.{key}"), value);
    }
    add(NAMESPACE, pod.metadata.namespace.as_deref().unwrap_or_default());
    if let Some(account) =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).filter(|a| !a.is_empty())
    {
        add(SERVICE_ACCOUNT, account);
    }
    add(CLUSTER, facts.cluster);
    for ((protocol, name), ports) in by_name(pod) {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let key = format!("{MALLA}:named-port.{}.{name}", protocol.to_lowercase());
        labels.insert(key, ports.join(","));
    }
    // The API has checked the labels of what it holds; a set that could not be told from another would be no identity.
    Labels::from_map(&labels).unwrap_or_default()
}

/// The ports of a Pod that have names, sorted.
#[must_use]
pub fn named_ports(pod: &Pod) -> Vec<NamedPort> {
    let named = by_name(pod).into_iter().flat_map(|((protocol, name), ports)| {
        ports.into_iter().map(move |port| NamedPort { name: name.clone(), port, protocol: protocol.clone() })
    });
    named.collect()
}

/// Of all containers that run beside each other.
fn by_name(pod: &Pod) -> BTreeMap<(String, String), BTreeSet<u16>> {
    let mut out: BTreeMap<(String, String), BTreeSet<u16>> = BTreeMap::new();
    let Some(spec) = &pod.spec else { return out };
    // KEP-753: an init container that is always restarted runs beside the others.
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    for port in spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten()) {
        let (Some(name), Ok(number)) = (&port.name, u16::try_from(port.container_port)) else { continue };
        let protocol = port.protocol.as_deref().unwrap_or("TCP").to_owned();
        out.entry((protocol, name.clone())).or_default().insert(number);
    }
    out
}

fn is_systems(key: &str) -> bool {
    key == NAMESPACE || key.starts_with("io.cilium.k8s.")
}

/// What Kubernetes says.
const K8S: &str = "k8s";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";
const CLUSTER: &str = "io.cilium.k8s.policy.cluster";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn labels(pod: Value) -> String {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let filter = Filter::default();
        let namespace = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let facts = Facts { namespace_labels: Some(&namespace), cluster: "default", filter: &filter };
        labels_of(&pod, facts).to_string().replace(',', "\n")
    }

    const SYSTEMS: &str = "k8s:io.cilium.k8s.namespace.labels.team=a\nk8s:io.cilium.k8s.policy.cluster=default\n";

    #[test]
    fn a_pods_labels_namespace_account_and_ports() {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "web-1", "labels": {"app": "web", "pod-template-hash": "x1"}},
            "spec": {"serviceAccountName": "seller", "containers": [
                {"name": "a", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]},
                {"name": "b", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
            ], "initContainers": [
                {"name": "c", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9100}]},
                {"name": "d", "ports": [{"name": "once", "containerPort": 1}]},
            ]},
        });
        let expected = format!(
            "k8s:app=web\n{SYSTEMS}k8s:io.cilium.k8s.policy.serviceaccount=seller\nk8s:io.kubernetes.pod.namespace=shop\n\
             malla:named-port.tcp.http=8080\nmalla:named-port.tcp.metrics=9100\nmalla:named-port.udp.dns=53"
        );
        assert_eq!(labels(pod), expected);
    }

    #[test]
    fn nobody_labels_himself_into_another_namespace() {
        let pod = json!({"metadata": {"namespace": "shop", "name": "liar", "labels": {
            "io.kubernetes.pod.namespace": "bank",
            "io.cilium.k8s.namespace.labels.team": "b",
            "io.cilium.k8s.namespace.labels.trusted": "yes",
            "io.cilium.k8s.policy.serviceaccount": "admin",
            "io.cilium.k8s.policy.cluster": "other",
        }}});
        assert_eq!(labels(pod), format!("{SYSTEMS}k8s:io.kubernetes.pod.namespace=shop"));
    }

    #[test]
    fn hosts_and_the_ended_have_none() {
        let has = |pod: Value| has_identity(&serde_json::from_value(pod).unwrap());
        assert!(has(json!({"metadata": {}, "spec": {"containers": []}})));
        assert!(has(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}})
        ));
        assert!(!has(json!({"metadata": {}, "spec": {"hostNetwork": true, "containers": []}})));
        assert!(!has(json!({"metadata": {}, "status": {"phase": "Succeeded"}})));
        assert!(!has(json!({"metadata": {}, "status": {"phase": "Failed"}})));
    }
}
