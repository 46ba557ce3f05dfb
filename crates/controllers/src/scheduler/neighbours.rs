//! Rules about other Pods: required affinity and anti-affinity between Pods, and topology spread constraints.
//!
//! Preferences (`preferred…`, `ScheduleAnyway`) are no promises and are left to the planner's own spreading.

use super::fit::selected;
use crate::{pod, selector};
use k8s_openapi::{
    api::core::v1::{Node, Pod, PodAffinityTerm, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::{collections::HashMap, sync::Arc};

/// A Node and the Pods on it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The Node.
    pub node: &'a Node,
    /// Its Pods.
    pub residents: &'a [Arc<Pod>],
}

/// Why `place`, which is one of `all`, can't take the Pod; `None` when it can.
pub fn refusal(pod: &Pod, place: Place<'_>, all: &[Place<'_>]) -> Option<&'static str> {
    for constraint in spread_constraints(pod) {
        if let Some(reason) = uneven(pod, constraint, place, all) {
            return Some(reason);
        }
    }
    if !affinity_terms(pod).all(|term| has_company(pod, term, place, all)) {
        return Some("node(s) didn't match pod affinity rules");
    }
    if anti_affinity_terms(pod).any(|term| meets(pod, term, place, all)) {
        return Some("node(s) didn't match pod anti-affinity rules");
    }
    let unwelcome = all.iter().any(|other| {
        other.residents.iter().filter(|resident| pod::is_active(resident)).any(|resident| {
            anti_affinity_terms(resident)
                .any(|term| concerns(resident, term, pod) && same_domain(&term.topology_key, place.node, other.node))
        })
    });
    unwelcome.then_some("node(s) didn't satisfy existing pods anti-affinity rules")
}

fn affinity_terms(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
    affinity.into_iter().flat_map(|rules| rules.required_during_scheduling_ignored_during_execution.iter().flatten())
}

fn anti_affinity_terms(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
    affinity.into_iter().flat_map(|rules| rules.required_during_scheduling_ignored_during_execution.iter().flatten())
}

fn spread_constraints(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let constraints = pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    constraints.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
}

/// True when `owner`'s term speaks of `other`.
fn concerns(owner: &Pod, term: &PodAffinityTerm, other: &Pod) -> bool {
    let Some(labels) = &term.label_selector else { return false };
    let own = owner.metadata.namespace.as_ref();
    let namespace = other.metadata.namespace.as_ref();
    let named: Vec<_> = term.namespaces.iter().flatten().collect();
    let in_reach = match &term.namespace_selector {
        // An empty selector means all namespaces. Which namespaces a selector with labels matches is not known here;
        // reading it as "all" can only keep Pods further apart, or together with more.
        Some(_) => true,
        None if named.is_empty() => own == namespace,
        None => namespace.is_some_and(|namespace| named.contains(&namespace)),
    };
    in_reach && selector::matches(labels, other.metadata.labels.as_ref())
}

/// True when both Nodes have the label and agree on it.
fn same_domain(topology_key: &str, a: &Node, b: &Node) -> bool {
    domain(topology_key, a).is_some_and(|domain_of_a| domain(topology_key, b) == Some(domain_of_a))
}

fn domain<'a>(topology_key: &str, node: &'a Node) -> Option<&'a String> {
    node.metadata.labels.as_ref()?.get(topology_key)
}

/// True when a Pod that the term speaks of is in the same domain.
fn meets(pod: &Pod, term: &PodAffinityTerm, place: Place<'_>, all: &[Place<'_>]) -> bool {
    all.iter()
        .filter(|other| same_domain(&term.topology_key, place.node, other.node))
        .any(|other| other.residents.iter().any(|resident| pod::is_active(resident) && concerns(pod, term, resident)))
}

/// Like [`meets`]; but the first of a group that wants to be together may go anywhere.
fn has_company(pod: &Pod, term: &PodAffinityTerm, place: Place<'_>, all: &[Place<'_>]) -> bool {
    if domain(&term.topology_key, place.node).is_none() {
        return false;
    }
    let somewhere = all
        .iter()
        .flat_map(|other| other.residents)
        .any(|resident| pod::is_active(resident) && concerns(pod, term, resident));
    if !somewhere && concerns(pod, term, pod) {
        return true;
    }
    meets(pod, term, place, all)
}

/// KEP-895: how many more matching Pods this domain would have than the emptiest one.
fn uneven(
    pod: &Pod,
    constraint: &TopologySpreadConstraint,
    place: Place<'_>,
    all: &[Place<'_>],
) -> Option<&'static str> {
    let key = &constraint.topology_key;
    let Some(own_domain) = domain(key, place.node) else {
        return Some("node(s) didn't match pod topology spread constraints (missing required label)");
    };
    let labels = selector_of(constraint, pod);
    let matches = |other: &Pod| {
        other.metadata.namespace == pod.metadata.namespace && selector::matches(&labels, other.metadata.labels.as_ref())
    };
    let mut counts: HashMap<&String, i64> = HashMap::new();
    // Domains that the Pod could not choose anyway do not count as empty ones.
    for other in all.iter().filter(|other| selected(pod, other.node)) {
        let Some(domain) = domain(key, other.node) else { continue };
        let count = other.residents.iter().filter(|resident| pod::is_active(resident) && matches(resident)).count();
        *counts.entry(domain).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
    }
    let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
    let enough_domains = constraint.min_domains.is_none_or(|wanted| domains >= i64::from(wanted));
    let fewest = if enough_domains { counts.values().min().copied().unwrap_or(0) } else { 0 };
    let own = counts.get(own_domain).copied().unwrap_or(0) + i64::from(matches(pod));
    (own - fewest > i64::from(constraint.max_skew)).then_some("node(s) didn't match pod topology spread constraints")
}

/// The constraint's selector with the Pod's own values of `matchLabelKeys` (KEP-3243).
fn selector_of(constraint: &TopologySpreadConstraint, pod: &Pod) -> LabelSelector {
    let mut labels = constraint.label_selector.clone().unwrap_or_default();
    for key in constraint.match_label_keys.iter().flatten() {
        if let Some(value) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
            labels.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
    }
    labels
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
