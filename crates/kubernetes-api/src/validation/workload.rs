use super::metadata;
use super::pod::one_of;
use crate::error::Cause;
use crate::object;
use crate::selectors::selector_object_matches;
use serde_json::Value;
use std::net::IpAddr;

/// Deployments, ReplicaSets, DaemonSets, StatefulSets.
pub fn validate(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    let selector = &new["spec"]["selector"];
    metadata::labels(selector.get("matchLabels"), "spec.selector.matchLabels", causes);
    expressions(selector, "spec.selector", causes);
    let labels = &new["spec"]["template"]["metadata"]["labels"];
    let empty = |selector: &Value| {
        selector["matchLabels"].as_object().is_none_or(serde_json::Map::is_empty)
            && object::list(selector, "/matchExpressions").is_empty()
    };
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if empty(selector) {
        causes.push(Cause::invalid("spec.selector", selector.clone(), "empty selector is invalid for deployment"));
    } else if !selector_object_matches(selector, labels) {
        let shown = if labels.is_null() { serde_json::json!({}) } else { labels.clone() };
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            shown,
            "`selector` does not match template `labels`",
        ));
    }
    metadata::labels(Some(labels), "spec.template.metadata.labels", causes);
    if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
        causes.push(Cause::invalid("spec.selector", selector.clone(), "field is immutable"));
    }
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        if let Some(number) = new["spec"][field].as_i64().filter(|number| *number < 0) {
            causes.push(Cause::invalid(format!("spec.{field}"), number, "must be greater than or equal to 0"));
        }
    }
    if new["kind"] == "Deployment" {
        one_of(&new["spec"]["strategy"], "type", &["Recreate", "RollingUpdate"], "spec.strategy", causes);
    }
    if new["spec"]["template"]["spec"]["restartPolicy"].as_str().is_some_and(|policy| policy != "Always") {
        let policy = new["spec"]["template"]["spec"]["restartPolicy"].as_str().unwrap_or("");
        causes.push(Cause::unsupported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
}

fn expressions(selector: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, expression) in object::list(selector, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = object::list(expression, "/values").len();
        match expression["operator"].as_str().unwrap_or("") {
            "In" | "NotIn" if values == 0 => {
                causes.push(Cause::required(
                    format!("{path}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                causes.push(Cause::forbidden(
                    format!("{path}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.push(Cause::invalid(format!("{path}.operator"), other, "not a valid selector operator")),
        }
    }
}

/// networking.k8s.io/v1 NetworkPolicy.
pub fn validate_network_policy(new: &Value, causes: &mut Vec<Cause>) {
    expressions(&new["spec"]["podSelector"], "spec.podSelector", causes);
    metadata::labels(new["spec"]["podSelector"].get("matchLabels"), "spec.podSelector.matchLabels", causes);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in object::list(new, &format!("/spec/{rules}")).iter().enumerate() {
            for (at, port) in object::list(rule, "/ports").iter().enumerate() {
                let path = format!("spec.{rules}[{index}].ports[{at}]");
                one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, causes);
                if let Some(number) = port["port"].as_i64() {
                    super::pod::port_number(number, &format!("{path}.port"), causes);
                }
                let (first, last) = (port["port"].as_i64(), port["endPort"].as_i64());
                if last.is_some() && first.is_none_or(|first| last.is_some_and(|last| last < first)) {
                    causes.push(Cause::invalid(
                        format!("{path}.endPort"),
                        last,
                        "must be greater than or equal to `port`",
                    ));
                }
            }
            for (at, peer) in object::list(rule, &format!("/{peers}")).iter().enumerate() {
                let path = format!("spec.{rules}[{index}].{peers}[{at}]");
                let block = peer.get("ipBlock").is_some_and(Value::is_object);
                let selectors = ["podSelector", "namespaceSelector"]
                    .iter()
                    .any(|field| peer.get(*field).is_some_and(Value::is_object));
                if !block && !selectors {
                    causes.push(Cause::required(path.clone(), "must specify a peer"));
                }
                if block && selectors {
                    causes.push(Cause::forbidden(path.clone(), "may not specify both ipBlock and another peer"));
                }
                if block {
                    ip_block(&peer["ipBlock"], &format!("{path}.ipBlock"), causes);
                }
            }
        }
    }
}

fn ip_block(block: &Value, path: &str, causes: &mut Vec<Cause>) {
    let parse = |text: &str| text.parse::<ipnet::IpNet>().ok();
    let cidr = block["cidr"].as_str().unwrap_or("");
    let Some(outer) = parse(cidr) else {
        causes.push(Cause::invalid(
            format!("{path}.cidr"),
            cidr,
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ));
        return;
    };
    for (index, except) in object::list(block, "/except").iter().enumerate() {
        let text = except.as_str().unwrap_or("");
        match parse(text) {
            Some(inner) if outer.contains(&inner) && outer != inner => {}
            Some(_) => {
                causes.push(Cause::invalid(
                    format!("{path}.except[{index}]"),
                    text,
                    "must be a strict subset of `cidr`",
                ));
            }
            None => causes.push(Cause::invalid(format!("{path}.except[{index}]"), text, "must be a valid CIDR value")),
        }
    }
}

/// discovery.k8s.io/v1 EndpointSlice.
pub fn validate_endpoint_slice(old: Option<&Value>, new: &Value, causes: &mut Vec<Cause>) {
    let family = new["addressType"].as_str().unwrap_or("");
    if family.is_empty() {
        causes.push(Cause::required("addressType", ""));
        return;
    }
    one_of(new, "addressType", &["FQDN", "IPv4", "IPv6"], "", causes);
    if old.is_some_and(|old| old["addressType"] != new["addressType"]) {
        causes.push(Cause::invalid("addressType", family, "field is immutable"));
    }
    for (index, endpoint) in object::list(new, "/endpoints").iter().enumerate() {
        let addresses = object::list(endpoint, "/addresses");
        if addresses.is_empty() {
            causes.push(Cause::required(format!("endpoints[{index}].addresses"), "must contain at least 1 address"));
        }
        for (at, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or("");
            let good = match (family, text.parse::<IpAddr>()) {
                ("IPv4", Ok(parsed)) => parsed.is_ipv4(),
                ("IPv6", Ok(parsed)) => parsed.is_ipv6(),
                ("IPv4" | "IPv6", Err(_)) => false,
                _ => true,
            };
            if !good {
                causes.push(Cause::invalid(
                    format!("endpoints[{index}].addresses[{at}]"),
                    text,
                    format!("must be a valid {family} address"),
                ));
            }
        }
    }
}
