//! Policy objects as YAML, and where the API has them.

use serde_json::Value;

/// The objects of a text in YAML.
pub fn read(yaml: &str) -> Vec<Value> {
    // `y` is a namespace here and no truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    let all: Vec<Value> =
        serde_saphyr::from_multiple_with_options(yaml, options).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

/// The folder of its kind: what [`crate::api::Api`] calls a kind.
pub fn folder(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    match object["kind"].as_str().expect("a kind") {
        "NetworkPolicy" => format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"),
        "CiliumNetworkPolicy" => format!("/apis/cilium.io/v2/namespaces/{namespace}/ciliumnetworkpolicies"),
        "CiliumClusterwideNetworkPolicy" => "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies".into(),
        "CiliumCIDRGroup" => "/apis/cilium.io/v2/ciliumcidrgroups".into(),
        "ClusterNetworkPolicy" => "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies".into(),
        "Service" => format!("/api/v1/namespaces/{namespace}/services"),
        kind => panic!("{kind} is no kind of the tests"),
    }
}
