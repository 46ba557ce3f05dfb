//! Who there is: identities and nodes, as policy sees them.

use crate::selector::Labels;
use datapath_layouts::identity;
pub use datapath_layouts::policy::Kind;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A port that has a name in an identity's Pods. Part of what makes an identity, so it is the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedPort {
    /// The name.
    pub name: Box<str>,
    /// IP protocol number.
    pub protocol: u8,
    /// The port, host order.
    pub port: u16,
}

/// What is known about an identity. All of it is part of the identity: another label, another namespace's label or
/// another named port is another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFacts {
    /// The number in packets and maps.
    pub number: u32,
    /// `source:key` = value: a Pod's own, its namespace's, its service account; or `reserved:…`, several of which one
    /// identity may have (a node that runs the API server is `remote-node` and `kube-apiserver`).
    pub labels: Labels,
    /// Its namespace; none for what is no Pod.
    pub namespace: Option<Box<str>>,
    /// Its kind.
    #[serde(with = "crate::wire::kind")]
    pub kind: Kind,
    /// Its named ports.
    pub named_ports: Vec<NamedPort>,
}

impl IdentityFacts {
    /// The facts of a reserved identity that is the same everywhere. `WORLD` is none: the datapath tells its two halves
    /// apart by the peer's address.
    #[must_use]
    pub fn reserved(number: u32) -> Option<Self> {
        let (kind, labels): (Kind, &[&str]) = match number {
            identity::HOST => (Kind::Host, &["reserved:host"]),
            identity::UNMANAGED => (Kind::Unmanaged, &["reserved:unmanaged"]),
            identity::HEALTH => (Kind::Health, &["reserved:health"]),
            identity::INIT => (Kind::Init, &["reserved:init"]),
            identity::REMOTE_NODE => (Kind::RemoteNode, &["reserved:remote-node"]),
            identity::KUBE_APISERVER => (Kind::ApiServer, &["reserved:kube-apiserver"]),
            identity::NODE_OF_API_SERVER => (Kind::RemoteNode, &["reserved:remote-node", "reserved:kube-apiserver"]),
            identity::INGRESS => (Kind::Ingress, &["reserved:ingress"]),
            identity::WORLD_IPV4 => (Kind::WorldIpv4, &["reserved:world", "reserved:world-ipv4"]),
            identity::WORLD_IPV6 => (Kind::WorldIpv6, &["reserved:world", "reserved:world-ipv6"]),
            _ => return None,
        };
        let labels = labels.iter().map(|label| (*label, "")).collect();
        Some(Self { number, labels, namespace: None, kind, named_ports: Vec::new() })
    }

    /// A node as policies about nodes select it, and as its own Pods see it: with its Node's labels (`k8s:key` = value).
    #[must_use]
    pub fn host(node: &Labels, runs_api_server: bool) -> Self {
        let api_server = runs_api_server.then_some(("reserved:kube-apiserver", ""));
        let labels = node.iter().chain([("reserved:host", "")]).chain(api_server).collect();
        Self { number: identity::HOST, labels, namespace: None, kind: Kind::Host, named_ports: Vec::new() }
    }
}

/// A node, for peers that name nodes by their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: Box<str>,
    /// `k8s:key` = value.
    pub labels: Labels,
    /// Every address that is the node's own.
    pub addresses: Vec<IpAddr>,
}
