//! What an object must satisfy to be stored (k8s.io/kubernetes `pkg/apis/*/validation`), with the field paths that
//! kubectl prints.

mod metadata;
mod names;
mod pod;
mod service;
mod workload;

pub use names::{is_dns_label, is_dns_subdomain, is_label_value, is_qualified_name};

use crate::error::{ApiError, Cause};
use crate::object;
use crate::registry::Resource;
use serde_json::Value;

/// Checks an object that is to be stored; `old` is what it replaces.
pub fn validate(resource: &Resource, old: Option<&Value>, new: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    metadata::validate(resource, new, &mut causes);
    let pod_template =
        |causes: &mut Vec<Cause>| pod::validate_spec(&new["spec"]["template"]["spec"], "spec.template.spec", causes);
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => {
            pod::validate_spec(&new["spec"], "spec", &mut causes);
            if let Some(old) = old {
                pod::validate_update(old, new, &mut causes);
            }
        }
        ("", "Service") => service::validate(old, new, &mut causes),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => {
            workload::validate(old, new, &mut causes);
            pod_template(&mut causes);
        }
        ("", "ReplicationController") => pod_template(&mut causes),
        ("batch", "Job") => pod_template(&mut causes),
        ("networking.k8s.io", "NetworkPolicy") => workload::validate_network_policy(new, &mut causes),
        ("discovery.k8s.io", "EndpointSlice") => workload::validate_endpoint_slice(old, new, &mut causes),
        ("", "ConfigMap" | "Secret") => {
            let changed = |old: &Value| {
                old["data"] != new["data"] || new["immutable"] != true || old["binaryData"] != new["binaryData"]
            };
            if old.is_some_and(|old| old["immutable"] == true && changed(old)) {
                causes.push(Cause::forbidden("data", "field is immutable when `immutable` is set"));
            }
        }
        _ => {}
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&resource.group, &resource.kind, object::name(new), &causes))
    }
}
