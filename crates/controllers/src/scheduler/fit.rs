//! Whether a Node may take a Pod, and in Kubernetes' words why not.

use crate::{
    node_lifecycle::taints::{NOT_READY, Readiness, UNREACHABLE, UNSCHEDULABLE, readiness, tolerates},
    pod,
};
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};
use std::{collections::BTreeMap, sync::Arc};

/// Why a Node can't take a Pod, as the scheduler's message counts it; `None` when it can.
///
/// `residents` are the Pods that the Node holds already.
pub fn refusal(pod: &Pod, node: &Node, residents: &[Arc<Pod>]) -> Option<String> {
    // The order is that of the default plugins: the first reason found is the one that is told.
    unschedulable(pod, node)
        .or_else(|| untolerated_taint(pod, node))
        .or_else(|| (!selected(pod, node)).then(|| "node(s) didn't match Pod's node affinity/selector".to_owned()))
        .or_else(|| {
            port_taken(pod, residents).then(|| "node(s) didn't have free ports for the requested pod ports".to_owned())
        })
        .or_else(|| too_many_pods(node, residents).then(|| "Too many pods".to_owned()))
}

fn tolerations(pod: &Pod) -> impl Iterator<Item = &Toleration> {
    pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten())
}

fn unschedulable(pod: &Pod, node: &Node) -> Option<String> {
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let taint = Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Default::default() };
    let tolerated = tolerations(pod).any(|toleration| tolerates(toleration, &taint));
    (cordoned && !tolerated).then(|| "node(s) were unschedulable".to_owned())
}

fn untolerated_taint(pod: &Pod, node: &Node) -> Option<String> {
    // The taint that goes with the Ready condition may not have been written yet.
    let implied = match readiness(node) {
        Readiness::Ready => None,
        Readiness::NotReady | Readiness::NeverReported => Some(NOT_READY),
        Readiness::Unknown => Some(UNREACHABLE),
    }
    .map(|key| Taint { key: key.into(), effect: "NoSchedule".into(), ..Default::default() });
    node.spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .chain(implied.as_ref())
        .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
        // `kubectl cordon` is told in its own words.
        .filter(|taint| taint.key != UNSCHEDULABLE)
        .find(|taint| !tolerations(pod).any(|toleration| tolerates(toleration, taint)))
        .map(|taint| {
            let value = taint.value.as_deref().unwrap_or_default();
            format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)
        })
}

/// `nodeSelector` and the required node affinity; both must hold.
pub(super) fn selected(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let exact = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    exact
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node, labels)))
}

/// One term: all its requirements must hold; a term without any matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let name = node.metadata.name.as_ref();
    let fields: Vec<_> = term.match_fields.iter().flatten().collect();
    let expressions: Vec<_> = term.match_expressions.iter().flatten().collect();
    if fields.is_empty() && expressions.is_empty() {
        return false;
    }
    fields.iter().all(|field| field.key == "metadata.name" && requirement_holds(field, name))
        && expressions.iter().all(|expression| requirement_holds(expression, labels.get(&expression.key)))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = || requirement.values.iter().flatten();
    let numbers = || Some((value?.parse::<i64>().ok()?, values().next()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values().any(|wanted| wanted == value)),
        "NotIn" => !value.is_some_and(|value| values().any(|unwanted| unwanted == value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(held, limit)| held > limit),
        "Lt" => numbers().is_some_and(|(held, limit)| held < limit),
        _ => false,
    }
}

/// A port of the Node itself that a Pod asks for.
fn host_ports(pod: &Pod) -> impl Iterator<Item = (&str, i32, &str)> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let host_network = spec.host_network == Some(true);
        spec.containers.iter().flat_map(|container| container.ports.iter().flatten()).filter_map(move |port| {
            let number = port.host_port.or(host_network.then_some(port.container_port))?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            (number > 0).then(|| (protocol, number, port.host_ip.as_deref().unwrap_or_default()))
        })
    })
}

fn port_taken(pod: &Pod, residents: &[Arc<Pod>]) -> bool {
    let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
    host_ports(pod).any(|(protocol, number, address)| {
        residents.iter().filter(|resident| !pod::has_ended(resident)).flat_map(|resident| host_ports(resident)).any(
            |(other_protocol, other_number, other)| {
                protocol == other_protocol && number == other_number && (any(address) || any(other) || address == other)
            },
        )
    })
}

/// The Node's own limit, if it tells one.
fn too_many_pods(node: &Node, residents: &[Arc<Pod>]) -> bool {
    let limit = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref())
        .and_then(|allocatable| allocatable.get("pods"))
        .and_then(|quantity| quantity.0.parse::<usize>().ok());
    limit.is_some_and(|limit| residents.iter().filter(|resident| !pod::has_ended(resident)).count() >= limit)
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
