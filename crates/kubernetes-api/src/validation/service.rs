use super::pod::{is_port_name, one_of, port_number};
use super::{is_dns_label, is_dns_subdomain, metadata};
use crate::error::Cause;
use crate::object;
use serde_json::Value;
use std::collections::HashSet;

/// Addresses and node ports are judged where they are allocated; this is everything else.
pub fn validate(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    let spec = &new["spec"];
    one_of(spec, "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], "spec", causes);
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], "spec", causes);
    one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], "spec", causes);
    one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"], "spec", causes);
    one_of(spec, "ipFamilyPolicy", &["SingleStack", "PreferDualStack", "RequireDualStack"], "spec", causes);
    metadata::labels(spec.get("selector"), "spec.selector", causes);
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    let headless = spec["clusterIP"] == "None";
    let ports = object::list(new, "/spec/ports");
    if kind == "ExternalName" {
        let name = spec["externalName"].as_str().unwrap_or("").trim_end_matches('.');
        if name.is_empty() {
            causes.push(Cause::required("spec.externalName", ""));
        } else if !is_dns_subdomain(name) {
            causes.push(Cause::invalid(
                "spec.externalName",
                name,
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
            ));
        }
    } else if ports.is_empty() && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            "None",
            format!("may not be set to 'None' for {kind} services"),
        ));
    }
    let (mut names, mut pairs) = (HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = port["name"].as_str().unwrap_or("");
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            if !is_dns_label(name) {
                causes.push(Cause::invalid(
                    format!("{path}.name"),
                    name,
                    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'",
                ));
            }
            if !names.insert(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), name));
            }
        }
        match port["port"].as_i64() {
            Some(number) => port_number(number, &format!("{path}.port"), causes),
            None => port_number(0, &format!("{path}.port"), causes),
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, causes);
        match &port["targetPort"] {
            Value::Number(number) => port_number(number.as_i64().unwrap_or(0), &format!("{path}.targetPort"), causes),
            Value::String(name) if !is_port_name(name) => {
                causes.push(Cause::invalid(
                    format!("{path}.targetPort"),
                    name.as_str(),
                    "must be a valid IANA_SVC_NAME (at most 15 characters)",
                ));
            }
            _ => {}
        }
        if !pairs.insert((port["port"].as_i64(), port["protocol"].as_str().unwrap_or("TCP"))) {
            causes.push(Cause::duplicate(path.clone(), port.clone()));
        }
        if port["nodePort"].as_i64().unwrap_or(0) != 0 && !matches!(kind, "NodePort" | "LoadBalancer") {
            causes
                .push(Cause::forbidden(format!("{path}.nodePort"), format!("may not be used when `type` is '{kind}'")));
        }
    }
    for (index, address) in object::list(new, "/spec/externalIPs").iter().enumerate() {
        let text = address.as_str().unwrap_or("");
        if text.parse::<std::net::IpAddr>().is_err() {
            causes.push(Cause::invalid(
                format!("spec.externalIPs[{index}]"),
                text,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ));
        }
    }
    for (index, range) in object::list(new, "/spec/loadBalancerSourceRanges").iter().enumerate() {
        let text = range.as_str().unwrap_or("");
        if text.trim().parse::<ipnet::IpNet>().is_err() {
            causes.push(Cause::invalid(
                format!("spec.loadBalancerSourceRanges[{index}]"),
                text,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ));
        }
    }
    let seconds = object::number(new, "/spec/sessionAffinityConfig/clientIP/timeoutSeconds");
    if seconds.is_some_and(|seconds| !(1..=86400).contains(&seconds)) {
        causes.push(Cause::invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            seconds,
            "must be greater than 0 and less than 86400",
        ));
    }
    if let Some(old) = old {
        let old_spec = &old["spec"];
        let keeps = old_spec["type"] != "ExternalName" && kind != "ExternalName";
        if keeps && old_spec["clusterIP"].is_string() && old_spec["clusterIP"] != spec["clusterIP"] {
            causes.push(Cause::invalid("spec.clusterIPs[0]", spec["clusterIP"].clone(), "may not change once set"));
        }
    }
}
