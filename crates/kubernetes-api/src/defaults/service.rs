use crate::object::{default, map_mut};
use serde_json::{Value, json};

/// core/v1 Service, but for addresses and ports, which are allocated.
pub fn service(service: &mut Value) {
    default(map_mut(service, "status"), "loadBalancer", json!({}));
    let spec = map_mut(service, "spec");
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        default(spec, "sessionAffinityConfig", json!({}));
        if let Some(config) = spec.get_mut("sessionAffinityConfig").and_then(Value::as_object_mut) {
            default(config, "clientIP", json!({}));
            if let Some(client) = config.get_mut("clientIP").and_then(Value::as_object_mut) {
                default(client, "timeoutSeconds", 10800);
            }
        }
    } else {
        spec.remove("sessionAffinityConfig");
    }
    let kind = spec["type"].as_str().unwrap_or("").to_owned();
    let external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || external_ips {
        default(spec, "externalTrafficPolicy", "Cluster");
    } else {
        spec.remove("externalTrafficPolicy");
    }
    if kind == "ExternalName" {
        spec.remove("internalTrafficPolicy");
    } else {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    } else {
        spec.remove("allocateLoadBalancerNodePorts");
    }
    for port in
        spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
    {
        default(port, "protocol", "TCP");
        let unset = port.get("targetPort").is_none_or(|target| *target == 0 || *target == "" || target.is_null());
        if unset {
            let same = port.get("port").cloned().unwrap_or(Value::Null);
            port.insert("targetPort".into(), same);
        }
    }
}

/// core/v1 Endpoints.
pub fn endpoints(endpoints: &mut Value) {
    for subset in endpoints.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
        for port in
            subset.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
        {
            default(port, "protocol", "TCP");
        }
    }
}

/// discovery.k8s.io/v1 EndpointSlice.
pub fn endpoint_slice(slice: &mut Value) {
    for port in
        slice.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
    {
        default(port, "name", "");
        default(port, "protocol", "TCP");
    }
    if slice["endpoints"].is_null() {
        slice["endpoints"] = json!([]);
    }
}
