use crate::object::{self, default, map_mut};
use serde_json::{Map, Value, json};

/// core/v1 Pod.
pub fn pod(pod: &mut Value) {
    spec(map_mut(pod, "spec"));
    let has_status = pod["status"]["phase"].is_string();
    if !has_status {
        default(map_mut(pod, "status"), "phase", "Pending");
    }
    let status = map_mut(pod, "status");
    // One address in two fields: the list leads.
    let first = status.get("podIPs").and_then(|addresses| addresses.get(0)?.get("ip")).cloned();
    match (first, status.get("podIP").cloned()) {
        (Some(first), _) => {
            status.insert("podIP".into(), first);
        }
        (None, Some(single)) if single.as_str().is_some_and(|text| !text.is_empty()) => {
            status.insert("podIPs".into(), json!([{ "ip": single }]));
        }
        _ => {}
    }
    let class = qos_class(&pod["spec"]);
    default(map_mut(pod, "status"), "qosClass", class);
    let spec = map_mut(pod, "spec");
    default(spec, "enableServiceLinks", true);
    default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    default(spec, "serviceAccount", account);
    default(spec, "priority", 0);
    default(spec, "preemptionPolicy", "PreemptLowerPriority");
    // What the DefaultTolerationSeconds admission adds.
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Value::Array(tolerations) = tolerations {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let covers = |one: &Value| {
                let any_key = one["key"].as_str().unwrap_or("").is_empty() && one["operator"] == "Exists";
                (any_key || one["key"] == key) && matches!(one["effect"].as_str(), None | Some("" | "NoExecute"))
            };
            if !tolerations.iter().any(covers) {
                tolerations
                    .push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
            }
        }
    }
}

/// A Pod's spec, or a template's.
pub fn spec(spec: &mut Map<String, Value>) {
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "restartPolicy", "Always");
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    let host_network = spec.get("hostNetwork") == Some(&json!(true));
    for list in ["initContainers", "containers"] {
        for one in
            spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
        {
            container(one, host_network);
        }
    }
    for volume in
        spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
    {
        for source in ["configMap", "secret", "downwardAPI", "projected"] {
            if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
                default(source, "defaultMode", 0o644);
            }
        }
        if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
            default(path, "type", "");
        }
        let sources = volume.len();
        if sources <= 1 {
            default(volume, "emptyDir", json!({}));
        }
    }
}

fn container(container: &mut Map<String, Value>, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("").to_owned();
    let last = image.rsplit('/').next().unwrap_or("");
    let floating = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
    default(container, "imagePullPolicy", if floating { "Always" } else { "IfNotPresent" });
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
        // Requests default to limits, one by one.
        if let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() {
            let requests = resources.entry("requests").or_insert_with(|| json!({}));
            if let Value::Object(requests) = requests {
                for (name, limit) in limits {
                    default(requests, &name, limit);
                }
            }
        }
    }
    for port in
        container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
    {
        default(port, "protocol", "TCP");
        if host_network {
            let number = port.get("containerPort").cloned().unwrap_or(Value::Null);
            default(port, "hostPort", number);
        }
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut) {
            default(reference, "apiVersion", "v1");
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(kind).and_then(Value::as_object_mut) {
            probe(found);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) =
            container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(hook)?.get_mut("httpGet"))
        {
            http_get(get);
        }
    }
}

fn probe(probe: &mut Map<String, Value>) {
    default(probe, "timeoutSeconds", 1);
    default(probe, "periodSeconds", 10);
    default(probe, "successThreshold", 1);
    default(probe, "failureThreshold", 3);
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        default(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    if let Some(get) = get.as_object_mut() {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    }
}

/// Guaranteed, Burstable or BestEffort by cpu and memory requests and limits.
fn qos_class(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    let containers = object::list(spec, "/containers").iter().chain(object::list(spec, "/initContainers"));
    for container in containers {
        for name in ["cpu", "memory"] {
            let limit = container.pointer(&format!("/resources/limits/{name}"));
            let request = container.pointer(&format!("/resources/requests/{name}"));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
