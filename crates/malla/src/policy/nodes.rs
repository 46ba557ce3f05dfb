//! Nodes that are among files.

use super::document;
use agent::cluster::from_kubernetes;
use agent::policies::node_facts;
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use policy::snapshot::Snapshot;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Takes Nodes: their labels, addresses and Pod ranges, and which of them run the API server. That is told by the slices of
/// the Service `default/kubernetes`, and where they are not among the files, by the label of control planes.
///
/// # Errors
/// When a Node can't be understood.
pub fn read(documents: &[(&str, document::Node)], snapshot: &mut Snapshot) -> anyhow::Result<()> {
    let mut control_planes = Vec::new();
    for (file, document) in documents.iter().filter(|(_, document)| document.text("kind") == Some("Node")) {
        let place = || format!("{file}:{}", document.line);
        let object: Node = serde_json::from_value(document.value()).with_context(place)?;
        let Some(mut node) = from_kubernetes(&object) else { bail!("{}: a Node without a name", place()) };
        if node.addresses.is_empty() {
            node.addresses = assumed(&node, snapshot.nodes.len());
        }
        if CONTROL_PLANE.iter().any(|label| node.labels.contains_key(*label)) {
            control_planes.extend_from_slice(&node.addresses);
        }
        snapshot.pod_ranges.extend(&node.pod_ranges);
        snapshot.nodes.push(node_facts(&node));
    }
    let told = api_servers(documents);
    snapshot.api_servers = if told.is_empty() { control_planes } else { told };
    Ok(())
}

/// kubeadm's, and what it was called before Kubernetes 1.24 (KEP-2067).
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Addresses of a Node that has none yet, by its place, of the families of its Pods: out of 198.18.0.0/15 and 2001:2::/48, which
/// nobody's network has (RFC 2544 appendix C.2.2, RFC 5180 §8).
fn assumed(node: &model::Node, place: usize) -> Vec<IpAddr> {
    const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 0, 1]);
    const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
    const MOST: u32 = (1 << 17) - 2;
    let Some(place) = u32::try_from(place).ok().filter(|place| *place < MOST) else { return Vec::new() };
    let has = |v4: bool| node.pod_ranges.iter().any(|range| range.addr().is_ipv4() == v4);
    let v4 = (has(true) || !has(false)).then(|| Ipv4Addr::from(FIRST_V4 + place).into());
    let v6 = has(false).then(|| Ipv6Addr::from(u128::from(FIRST_V6) + u128::from(place)).into());
    v4.into_iter().chain(v6).collect()
}

fn api_servers(documents: &[(&str, document::Node)]) -> Vec<IpAddr> {
    let slices = documents.iter().filter(|(_, document)| document.text("kind") == Some("EndpointSlice"));
    let slices = slices.filter_map(|(_, document)| serde_json::from_value::<EndpointSlice>(document.value()).ok());
    let of_kubernetes = slices.filter(|slice| {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        slice.metadata.namespace.as_deref() == Some("default") && service.is_some_and(|name| name == "kubernetes")
    });
    let endpoints = of_kubernetes.flat_map(|slice| slice.endpoints);
    endpoints.flat_map(|endpoint| endpoint.addresses).filter_map(|address| address.parse().ok()).collect()
}
