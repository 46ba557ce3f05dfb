//! To whom a selector is limited by where the policy stands (Cilium's `pkg/k8s/apis/cilium.io/utils`, `getEndpointSelector`).

use crate::dialect::{Findings, selectors};
use crate::selector::{NAMESPACE, NAMESPACE_LABELS, Selector, Test};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A selector as it is written: a key without a source is of any source.
pub(super) fn plain(selector: &LabelSelector, field: &str, findings: &mut Findings) -> Selector {
    Selector::new(selectors::requirements(selector, field, with_source, findings))
}

/// A selector of peers: those of a namespace's policy are in that namespace unless it says where, those of a clusterwide
/// policy are Pods; what names a reserved label is left as it is.
pub(super) fn of_peers(
    selector: &LabelSelector,
    field: &str,
    namespace: Option<&str>,
    findings: &mut Findings,
) -> Selector {
    let written = plain(selector, field, findings);
    if selectors::keys(selector).any(is_reserved) || (namespace.is_some() && selectors::keys(selector).any(says_where))
    {
        return written;
    }
    match namespace {
        Some(namespace) => written.and(NAMESPACE, Test::In(vec![namespace.into()])),
        None => written.and(NAMESPACE, Test::Exists),
    }
}

/// A selector of those who are governed: a namespace's policy governs nobody elsewhere, and what it says of namespaces is
/// put right rather than refused, as in Cilium.
pub(super) fn of_subject(
    selector: &LabelSelector,
    field: &str,
    namespace: Option<&str>,
    findings: &mut Findings,
) -> Selector {
    let Some(namespace) = namespace else { return of_peers(selector, field, None, findings) };
    let mut own = selector.clone();
    if let Some(labels) = &mut own.match_labels {
        labels.retain(|key, value| {
            if is_namespace(key) && value.as_str() != namespace {
                let why = format!(
                    "{value:?} is not looked at: a policy governs its own namespace, {namespace:?}; leave it out"
                );
                findings.gap(format!("{field}.matchLabels[{key:?}]"), why);
            }
            !is_namespace(key)
        });
    }
    plain(&own, field, findings).and(NAMESPACE, Test::In(vec![namespace.into()]))
}

/// Whether a selector names a source whose labels no identity has here.
pub(super) fn is_not_held(key: &str) -> bool {
    ["cidr:", "cidrgroup:", "fqdn:"].iter().any(|source| key.starts_with(source))
}

fn with_source(key: &str) -> String {
    if key.contains(':') { key.to_owned() } else { format!("any:{key}") }
}

fn is_reserved(key: &str) -> bool {
    key.starts_with("reserved:")
}

fn is_namespace(key: &str) -> bool {
    is_one_of_kubernetes(key, |key| key == NAMESPACE)
}

fn says_where(key: &str) -> bool {
    is_namespace(key) || is_one_of_kubernetes(key, |key| key.starts_with(NAMESPACE_LABELS))
}

/// Asks of a key that is written with the source `k8s`, with `any`, or with none.
fn is_one_of_kubernetes(key: &str, test: impl Fn(&str) -> bool) -> bool {
    match key.split_once(':') {
        None => test(&format!("k8s:{key}")),
        Some(("any" | "k8s", name)) => test(&format!("k8s:{name}")),
        Some(_) => false,
    }
}
