use super::is_dns_label;
use crate::error::Cause;
use crate::object;
use serde_json::Value;
use std::collections::HashSet;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// A Pod's spec, or a template's.
pub fn validate_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    if object::list(spec, "/containers").is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let volumes: HashSet<&str> =
        object::list(spec, "/volumes").iter().filter_map(|volume| volume["name"].as_str()).collect();
    let mut names = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in object::list(spec, &format!("/{list}")).iter().enumerate() {
            let path = format!("{path}.{list}[{index}]");
            validate_container(container, &path, &volumes, &mut names, list == "initContainers", causes);
        }
    }
    let mut seen = HashSet::new();
    for (index, volume) in object::list(spec, "/volumes").iter().enumerate() {
        let name = volume["name"].as_str().unwrap_or("");
        name_of(name, &format!("{path}.volumes[{index}].name"), causes);
        if !name.is_empty() && !seen.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.volumes[{index}].name"), name));
        }
    }
    one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path, causes);
    one_of(spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], path, causes);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let value = spec["terminationGracePeriodSeconds"].clone();
        causes.push(Cause::invalid(
            format!("{path}.terminationGracePeriodSeconds"),
            value,
            "must be greater than or equal to 0",
        ));
    }
}

fn validate_container<'a>(
    container: &'a Value,
    path: &str,
    volumes: &HashSet<&str>,
    names: &mut HashSet<&'a str>,
    init: bool,
    causes: &mut Vec<Cause>,
) {
    let name = container["name"].as_str().unwrap_or("");
    name_of(name, &format!("{path}.name"), causes);
    if !name.is_empty() && !names.insert(name) {
        causes.push(Cause::duplicate(format!("{path}.name"), name));
    }
    if container["image"].as_str().unwrap_or("").trim().is_empty() {
        causes.push(Cause::required(format!("{path}.image"), ""));
    }
    one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path, causes);
    let mut ports = HashSet::new();
    for (index, port) in object::list(container, "/ports").iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        match port["containerPort"].as_i64() {
            None | Some(0) => causes.push(Cause::required(format!("{path}.containerPort"), "")),
            Some(number) => port_number(number, &format!("{path}.containerPort"), causes),
        }
        one_of(port, "protocol", PROTOCOLS, &path, causes);
        if let Some(name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            if !is_port_name(name) {
                causes.push(Cause::invalid(
                    format!("{path}.name"),
                    name,
                    "must be a valid IANA_SVC_NAME (at most 15 characters)",
                ));
            } else if !ports.insert(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), name));
            }
        }
    }
    for (index, variable) in object::list(container, "/env").iter().enumerate() {
        if variable["name"].as_str().unwrap_or("").is_empty() {
            causes.push(Cause::required(format!("{path}.env[{index}].name"), ""));
        }
    }
    for (index, mount) in object::list(container, "/volumeMounts").iter().enumerate() {
        let name = mount["name"].as_str().unwrap_or("");
        if !volumes.contains(name) {
            let message = format!("Not found: {name:?}");
            causes.push(Cause {
                reason: "FieldValueNotFound",
                message,
                field: format!("{path}.volumeMounts[{index}].name"),
            });
        }
        if mount["mountPath"].as_str().unwrap_or("").is_empty() {
            causes.push(Cause::required(format!("{path}.volumeMounts[{index}].mountPath"), ""));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if init || !container[probe].is_object() {
            continue;
        }
        let handlers = ["exec", "httpGet", "tcpSocket", "grpc"]
            .iter()
            .filter(|handler| container[probe][**handler].is_object())
            .count();
        match handlers {
            0 => causes.push(Cause::required(format!("{path}.{probe}"), "must specify a handler type")),
            1 => {}
            _ => causes.push(Cause::forbidden(format!("{path}.{probe}"), "may not specify more than 1 handler type")),
        }
    }
}

/// Of a Pod that exists, only images, deadlines, added tolerations and the like may change.
pub fn validate_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let frozen = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(spec) = spec.as_object_mut() {
            for free in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "schedulingGates",
                "ephemeralContainers",
            ] {
                spec.remove(free);
            }
            for list in ["containers", "initContainers"] {
                for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    container["image"] = Value::Null;
                    container["resources"] = Value::Null;
                }
            }
        }
        spec
    };
    if frozen(old) != frozen(new) {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

fn name_of(name: &str, path: &str, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        causes.push(Cause::required(path, ""));
    } else if !is_dns_label(name) {
        causes.push(Cause::invalid(
            path,
            name,
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'",
        ));
    }
}

/// RFC 6335 service name: at most 15 of `[a-z0-9-]`, with a letter.
pub fn is_port_name(name: &str) -> bool {
    name.len() <= 15 && is_dns_label(name) && name.bytes().any(|byte| byte.is_ascii_lowercase()) && !name.contains("--")
}

/// 1 to 65535.
pub fn port_number(number: i64, path: &str, causes: &mut Vec<Cause>) {
    if !(1..=65535).contains(&number) {
        causes.push(Cause::invalid(path, number, "must be between 1 and 65535, inclusive"));
    }
}

/// A string out of a closed list, where it is set.
pub fn one_of(value: &Value, field: &str, allowed: &[&str], path: &str, causes: &mut Vec<Cause>) {
    if let Some(text) = value[field].as_str().filter(|text| !text.is_empty() && !allowed.contains(text)) {
        causes.push(Cause::unsupported(format!("{path}.{field}"), text, allowed));
    }
}
