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
    /// What it belongs to, which Cilium has no field for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<EndpointWorkload>,
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

/// A workload in the slice's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointWorkload {
    /// `Deployment`, `StatefulSet`, ….
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// One of each field.
    fn whole() -> Value {
        json!({
            "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumEndpointSlice", "metadata": {"name": "ces-shop-0"},
            "namespace": "shop", "endpoints": [{
                "name": "web-1", "id": 300,
                "networking": {"addressing": [{"ipv4": "10.244.1.7", "ipv6": "fd00::7"}], "node": "172.18.0.3"},
                "named-ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "service-account": "seller",
                "workload": {"kind": "Deployment", "name": "web"},
            }],
        })
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let slice: CiliumEndpointSlice = serde_json::from_value(whole()).unwrap();
        let workload = EndpointWorkload { kind: "Deployment".to_owned(), name: "web".to_owned() };
        assert_eq!(slice.endpoints[0].workload, Some(workload));
        assert_eq!(serde_json::to_value(slice).unwrap(), whole());
    }

    #[test]
    fn who_does_not_tell_a_workload_is_read_and_says_none() {
        let mut before = whole();
        before["endpoints"][0].as_object_mut().unwrap().remove("workload");
        let slice: CiliumEndpointSlice = serde_json::from_value(before.clone()).unwrap();
        assert_eq!((slice.endpoints[0].id, &slice.endpoints[0].workload), (300, &None));
        assert_eq!(serde_json::to_value(slice).unwrap(), before);
        // A half of one must not make the whole list unreadable.
        before["endpoints"][0]["workload"] = json!({"name": "web"});
        let slice: CiliumEndpointSlice = serde_json::from_value(before).unwrap();
        assert_eq!(slice.endpoints[0].workload.as_ref().map(|one| &*one.kind), Some(""));
    }

    /// An API server prunes what the schema has not.
    #[test]
    fn the_definition_keeps_every_field() {
        fn check(schema: &Value, value: &Value, path: &str) {
            match value {
                Value::Object(fields) if path != ".metadata" => fields.iter().for_each(|(name, value)| {
                    let below = format!("{path}.{name}");
                    assert!(schema["properties"][name].is_object(), "{below} is not in the definition");
                    check(&schema["properties"][name], value, &below);
                }),
                Value::Array(items) => items.iter().for_each(|item| check(&schema["items"], item, path)),
                _ => {}
            }
        }
        let all = crate::definitions();
        let is_it = |one: &&_| kube::ResourceExt::name_any(*one) == "ciliumendpointslices.cilium.io";
        let definition = serde_json::to_value(all.iter().find(is_it).unwrap()).unwrap();
        check(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &whole(), "");
    }
}
