//! The Node objects: made before anything looks for them, in the order of the nodes, so that ranges go by number.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Node, NodeAddress, NodeSpec, NodeStatus, Taint},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};

use crate::{name::CONTROL_PLANE, spec::LabSpec};

/// The Node object at `index`, as the lab wants it.
#[must_use]
pub fn node_object(spec: &LabSpec, index: usize) -> Node {
    let node = &spec.nodes[index];
    let (v4, v6) = spec.subnets.node(index);
    let ranges = spec.subnets.pod_ranges(index);
    let address = |kind: &str, address: String| NodeAddress { address, type_: kind.to_owned() };
    Node {
        metadata: ObjectMeta {
            name: Some(node.name.clone()),
            labels: Some(labels(spec, index)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: Some(ranges.v4.to_string()),
            pod_cidrs: Some(ranges.both().map(|range| range.to_string()).to_vec()),
            provider_id: Some(format!("malla://lab/{}/{}", spec.name, node.name)),
            taints: Some(taints(spec, index)).filter(|taints| !taints.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            addresses: Some(vec![
                address("InternalIP", v4.to_string()),
                address("InternalIP", v6.to_string()),
                address("Hostname", node.name.clone()),
            ]),
            ..NodeStatus::default()
        }),
    }
}

/// The well-known labels, and those of the cluster file on top.
#[must_use]
pub fn labels(spec: &LabSpec, index: usize) -> BTreeMap<String, String> {
    let node = &spec.nodes[index];
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), node.name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
    ]);
    if node.name == CONTROL_PLANE {
        labels.insert(CONTROL_PLANE_ROLE.to_owned(), String::new());
    }
    labels.extend(node.labels.clone());
    labels
}

/// Ordinary Pods stay off the control plane, unless it is all there is.
#[must_use]
pub fn taints(spec: &LabSpec, index: usize) -> Vec<Taint> {
    if spec.nodes[index].name != CONTROL_PLANE || spec.nodes.len() == 1 {
        return Vec::new();
    }
    vec![Taint { key: CONTROL_PLANE_ROLE.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }]
}

/// Makes the Nodes that are missing; those that are there keep what others have written to them.
pub async fn create_all(client: &Client, spec: &LabSpec) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for (index, node) in spec.nodes.iter().enumerate() {
        let object = node_object(spec, index);
        match nodes.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        // A create drops the status (it is a subresource).
        let status =
            serde_json::json!({ "status": { "addresses": object.status.and_then(|status| status.addresses) } });
        nodes.patch_status(&node.name, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

/// Go's name of the machine, as Kubernetes labels it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Label and taint of the control plane (kubeadm).
const CONTROL_PLANE_ROLE: &str = "node-role.kubernetes.io/control-plane";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Requested;

    fn spec(nodes: u16) -> LabSpec {
        Requested { nodes: Some(nodes), ..Requested::default() }.resolve().unwrap().0
    }

    #[test]
    fn the_control_plane_is_tainted_unless_it_is_alone() {
        assert_eq!(taints(&spec(3), 0).len(), 1);
        assert!(taints(&spec(3), 1).is_empty());
        assert!(taints(&spec(1), 0).is_empty());
    }

    #[test]
    fn a_node_says_where_it_is_and_what_it_has() {
        let node = serde_json::to_value(node_object(&spec(3), 2)).unwrap();
        assert_eq!(node["metadata"]["name"], "worker-2");
        assert_eq!(node["spec"]["podCIDRs"], serde_json::json!(["10.244.2.0/24", "fd00:10:244:2::/64"]));
        assert_eq!(node["status"]["addresses"][0]["address"], "172.18.0.4");
        assert_eq!(node["status"]["addresses"][1]["address"], "fc00:f853:ccd:e793::4");
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "worker-2");
    }
}
