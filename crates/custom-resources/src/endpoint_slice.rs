//! `CiliumEndpointSlice`: Pods of one namespace with their identities and addresses, many in one object.

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A slice of endpoints. As Cilium has it, it belongs to no namespace and names one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CiliumEndpointSlice {
    #[serde(rename = "apiVersion", skip_deserializing, default = "api_version")]
    api_version: &'static str,
    #[serde(skip_deserializing, default = "kind")]
    kind: &'static str,
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Namespace of all its Pods.
    #[serde(default)]
    pub namespace: String,
    /// The Pods.
    #[serde(default)]
    pub endpoints: Vec<CoreCiliumEndpoint>,
}

/// One Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreCiliumEndpoint {
    /// Name of the Pod.
    #[serde(default)]
    pub name: String,
    /// Its identity; Cilium's name for it is `id`.
    #[serde(default)]
    pub id: i64,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networking: Option<EndpointNetworking>,
    /// Ports that have names.
    #[serde(default, rename = "named-ports", skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPort>,
    /// Its service account.
    #[serde(default, rename = "service-account", skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// Addresses of a Pod, and of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointNetworking {
    /// Its addresses, in pairs of an IPv4 and an IPv6 one. Empty until it has some.
    #[serde(default)]
    pub addressing: Vec<AddressPair>,
    /// Address of its node; there as soon as the Pod has a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// An address of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    /// IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

/// A port with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedPort {
    /// The name.
    #[serde(default)]
    pub name: String,
    /// The port.
    #[serde(default)]
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default)]
    pub protocol: String,
}

impl CiliumEndpointSlice {
    /// An empty slice.
    #[must_use]
    pub fn new(name: &str, namespace: &str) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = namespace.to_owned();
        Self { api_version: api_version(), kind: kind(), metadata, namespace, endpoints: Vec::new() }
    }
}

fn api_version() -> &'static str {
    "cilium.io/v2alpha1"
}

fn kind() -> &'static str {
    "CiliumEndpointSlice"
}

impl Resource for CiliumEndpointSlice {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        kind().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "cilium.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v2alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "ciliumendpointslices".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
