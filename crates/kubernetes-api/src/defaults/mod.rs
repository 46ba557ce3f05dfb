//! Values that Kubernetes fills in where a manifest leaves them out (k8s.io/kubernetes `pkg/apis/*/v1/defaults.go`).
//! Clients and controllers rely on them, and `kubectl apply` would see differences without.

mod pod;
mod service;
mod workload;

use crate::object;
use crate::registry::Resource;
use serde_json::{Value, json};

/// Fills in an object of a built-in kind; custom kinds have the defaults of their schema.
pub fn apply(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::pod(object),
        ("", "Node") => node(object),
        ("", "Service") => service::service(object),
        ("", "Endpoints") => service::endpoints(object),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(object),
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("", "PersistentVolumeClaim") => object::default(object::map_mut(object, "spec"), "volumeMode", "Filesystem"),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("batch", "Job") => workload::job(object),
        ("batch", "CronJob") => workload::cron_job(object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        _ => {}
    }
}

/// `stringData` is written into `data` and never shown.
fn secret(object: &mut Value) {
    use base64::Engine;
    if let Some(Value::Object(plain)) = object.as_object_mut().and_then(|object| object.remove("stringData")) {
        let data = object::map_mut(object, "data");
        for (key, value) in plain {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or(""));
            data.insert(key, encoded.into());
        }
    }
    if let Some(map) = object.as_object_mut() {
        object::default(map, "type", "Opaque");
    }
}

/// The first of `podCIDRs` is `podCIDR`, whichever was written.
fn node(object: &mut Value) {
    let spec = object::map_mut(object, "spec");
    let first = spec.get("podCIDRs").and_then(|ranges| ranges.get(0)).cloned();
    let single = spec.get("podCIDR").filter(|range| range.as_str().is_some_and(|text| !text.is_empty())).cloned();
    match (first, single) {
        (Some(first), _) => {
            spec.insert("podCIDR".into(), first);
        }
        (None, Some(single)) => {
            spec.insert("podCIDRs".into(), json!([single]));
        }
        (None, None) => {}
    }
}

fn namespace(object: &mut Value) {
    let name = object::name(object).to_owned();
    let labels = object::metadata_mut(object).entry("labels").or_insert_with(|| json!({}));
    labels["kubernetes.io/metadata.name"] = name.into();
    object::default(object::map_mut(object, "status"), "phase", "Active");
}

fn network_policy(object: &mut Value) {
    let has_egress = object["spec"]["egress"].is_array();
    let spec = object::map_mut(object, "spec");
    object::default(spec, "podSelector", json!({}));
    let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    object::default(spec, "policyTypes", types);
    for rules in ["ingress", "egress"] {
        for rule in spec.get_mut(rules).and_then(Value::as_array_mut).into_iter().flatten() {
            for port in rule
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
            {
                object::default(port, "protocol", "TCP");
            }
        }
    }
}
