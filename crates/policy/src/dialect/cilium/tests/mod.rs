//! Each sentence of the semantics as a case: what is written, and the rules that it becomes.

mod gaps;
mod hostile;
mod mistakes;
mod peers;
mod ports;
mod whole;

use super::{References, clusterwide_policy, network_policy};
use crate::dialect::Mistake;
use crate::dialect::references::{CidrGroup, ServiceFacts};
use crate::rule::{Action, Direction, Policy, Subject};

/// Services and groups that the cases name.
fn references() -> References {
    let labels = |text: &str| {
        text.split(',').filter_map(|one| one.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let service = |namespace: &str, name: &str, own: &str, selector: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        (
            (namespace.to_owned(), name.to_owned()),
            ServiceFacts { labels: labels(own), selector: labels(selector), addresses },
        )
    };
    let group = |name: &str, own: &str, prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        (name.to_owned(), CidrGroup { labels: labels(own), prefixes })
    };
    References {
        services: [
            service("shop", "db", "tier=back", "app=db", &["10.244.1.9"]),
            service("shop", "legacy", "tier=back", "", &["192.168.100.50", "2001:db8::50"]),
            service("default", "kubernetes", "component=apiserver", "", &["172.18.0.2"]),
        ]
        .into(),
        cidr_groups: [
            group("offices", "site=office", &["198.51.100.0/24", "203.0.113.0/24"]),
            group("vpn", "site=office,kind=vpn", &["192.0.2.0/24"]),
        ]
        .into(),
    }
}

/// A rule of a namespace's policy, in YAML from `spec` on.
fn namespaced(spec: &str) -> Result<Vec<Policy>, Vec<Mistake>> {
    let text = format!("metadata: {{name: p, namespace: shop}}\nspec:\n{}", indented(spec));
    network_policy(&serde_saphyr::from_str(&text).expect("a policy"), &references())
}

/// The same of the whole cluster.
fn clusterwide(spec: &str) -> Result<Vec<Policy>, Vec<Mistake>> {
    let text = format!("metadata: {{name: p}}\nspec:\n{}", indented(spec));
    clusterwide_policy(&serde_saphyr::from_str(&text).expect("a policy"), &references())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The rules of `endpointSelector: {}` and one section.
#[track_caller]
fn check(section: &str, expected: &[&str]) {
    let policies = namespaced(&format!("endpointSelector: {{}}\n{section}")).expect(section);
    assert_eq!(rules(&policies[0]), expected, "{section}");
}

#[track_caller]
fn check_clusterwide(section: &str, expected: &[&str]) {
    let policies = clusterwide(&format!("endpointSelector: {{}}\n{section}")).expect(section);
    assert_eq!(rules(&policies[0]), expected, "{section}");
}

/// `spec.ingress[0] allow k8s:app=web : tcp/80`
fn rules(policy: &Policy) -> Vec<String> {
    let text = |rule: &crate::rule::Rule| {
        let action = match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Pass => "pass",
        };
        let side = if rule.direction == Direction::Ingress { "ingress" } else { "egress" };
        assert!(rule.field.contains(side), "{rule:?}");
        format!("{} {action} {} : {}", rule.field, rule.peers, rule.ports)
    };
    policy.rules.iter().map(text).collect()
}

fn subject(policy: &Policy) -> String {
    match &policy.subject {
        Subject::Endpoints(selector) => selector.to_string(),
        Subject::Nodes(selector) => format!("nodes {selector}"),
    }
}
