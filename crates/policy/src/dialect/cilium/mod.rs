//! Cilium's policies (cilium.io/v2): `CiliumNetworkPolicy` and `CiliumClusterwideNetworkPolicy`.
//!
//! An empty rule, and a list of peers that is there and empty, select nobody; where lists are absent and there are ports,
//! everybody is meant. Whatever is asked for and not enforced becomes a gap: an allow of it adds nothing, a deny of it
//! denies whatever it might have meant.

mod cidr;
mod icmp;
mod peers;
mod ports;
mod rule;
mod scope;
mod section;
#[cfg(test)]
mod tests;

pub(super) use cidr::prefix;
pub(super) use ports::is_service_name;

use super::references::References;
use super::{Findings, Mistake, choice, is_audit};
use crate::rule::{Dialect, Origin, Policy, Scope};
use custom_resources::cilium_policy::{PolicyRule, ServiceRule};
use custom_resources::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether prefixes match Pods and nodes too (`all`), or only what is outside of the cluster, as in Cilium (`outside`).
pub const CIDR_MATCHES: &str = "malla.dev/cidr-matches";

/// The policies of one namespace's object: one for `spec`, one for each of `specs`.
///
/// # Errors
/// Everything in it that has no meaning.
pub fn network_policy(object: &CiliumNetworkPolicy, references: &References) -> Result<Vec<Policy>, Vec<Mistake>> {
    let namespace = object.metadata.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    let object =
        Object { metadata: &object.metadata, namespace: Some(namespace), spec: &object.spec, specs: &object.specs };
    object.policies(references)
}

/// The policies of a clusterwide object: one for `spec`, one for each of `specs`.
///
/// # Errors
/// Everything in it that has no meaning.
pub fn clusterwide_policy(
    object: &CiliumClusterwideNetworkPolicy,
    references: &References,
) -> Result<Vec<Policy>, Vec<Mistake>> {
    let object = Object { metadata: &object.metadata, namespace: None, spec: &object.spec, specs: &object.specs };
    object.policies(references)
}

/// What is enforced of a namespace's object that [`network_policy`] refuses and of which no better version is known:
/// whom it selects is allowed nothing in the directions that it governs, and where it has denials they are for everybody.
/// A part of which it can't be read whom it selects is left out.
#[must_use]
pub fn network_policy_closed(object: &CiliumNetworkPolicy, references: &References) -> Vec<Policy> {
    let namespace = object.metadata.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
    let object =
        Object { metadata: &object.metadata, namespace: Some(namespace), spec: &object.spec, specs: &object.specs };
    object.closed(references)
}

/// The same of a clusterwide object that [`clusterwide_policy`] refuses.
#[must_use]
pub fn clusterwide_policy_closed(object: &CiliumClusterwideNetworkPolicy, references: &References) -> Vec<Policy> {
    Object { metadata: &object.metadata, namespace: None, spec: &object.spec, specs: &object.specs }.closed(references)
}

/// Whether any rule of an object names Services.
#[must_use]
pub fn names_services(spec: &Option<PolicyRule>, specs: &Option<Vec<PolicyRule>>) -> bool {
    let named = |services: &Option<Vec<ServiceRule>>| services.as_ref().is_some_and(|all| !all.is_empty());
    spec.iter().chain(specs.iter().flatten()).any(|rule| {
        rule.egress.iter().flatten().any(|egress| named(&egress.to_services))
            || rule.egress_deny.iter().flatten().any(|egress| named(&egress.to_services))
    })
}

struct Object<'a> {
    metadata: &'a ObjectMeta,
    /// None: of the whole cluster.
    namespace: Option<&'a str>,
    spec: &'a Option<PolicyRule>,
    specs: &'a Option<Vec<PolicyRule>>,
}

/// What all rules of an object share.
#[derive(Clone, Copy)]
struct Frame<'a> {
    namespace: Option<&'a str>,
    references: &'a References,
    cidr_scope: Scope,
}

impl Object<'_> {
    fn policies(&self, references: &References) -> Result<Vec<Policy>, Vec<Mistake>> {
        let mut shared = Findings::default();
        let audit = is_audit(self.metadata, &mut shared);
        let everyone = choice(self.metadata, CIDR_MATCHES, ["all", "outside"], &mut shared);
        let cidr_scope = if everyone { Scope::Everyone } else { Scope::Outside };
        let frame = Frame { namespace: self.namespace, references, cidr_scope };
        if self.spec.is_none() && self.specs.as_ref().is_none_or(Vec::is_empty) {
            shared.mistake("spec", "is missing: write a rule there, or several in specs");
        }
        let mut policies = Vec::new();
        for (part, (field, rule)) in self.parts().enumerate() {
            let Ok(part) = u16::try_from(part) else {
                shared.mistake(field, "is one rule too many: an object holds at most 65536");
                break;
            };
            let mut findings = Findings::default();
            let converted = rule::convert(rule, &field, frame, &mut findings);
            shared.mistakes.append(&mut findings.mistakes);
            policies.push(Policy {
                origin: self.origin(part),
                subject: converted.subject,
                default_deny: converted.default_deny,
                rules: converted.rules,
                audit,
                log: converted.log,
                gaps: findings.gaps,
            });
        }
        if shared.mistakes.is_empty() { Ok(policies) } else { Err(shared.mistakes) }
    }

    /// Every rule and its path.
    fn parts(&self) -> impl Iterator<Item = (String, &PolicyRule)> {
        let spec = self.spec.iter().map(|rule| ("spec".to_owned(), rule));
        spec.chain(self.specs.iter().flatten().enumerate().map(|(index, rule)| (format!("specs[{index}]"), rule)))
    }

    fn closed(&self, references: &References) -> Vec<Policy> {
        let audit = is_audit(self.metadata, &mut Findings::default());
        let frame = Frame { namespace: self.namespace, references, cidr_scope: Scope::Everyone };
        let part = |(part, (field, rule)): (usize, (String, &PolicyRule))| {
            let closed = rule::closed(rule, &field, frame)?;
            Some(Policy {
                origin: self.origin(u16::try_from(part).ok()?),
                subject: closed.subject,
                default_deny: closed.default_deny,
                rules: closed.rules,
                audit,
                log: closed.log,
                gaps: Vec::new(),
            })
        };
        self.parts().enumerate().filter_map(part).collect()
    }

    fn origin(&self, part: u16) -> Origin {
        let kind = if self.namespace.is_some() { "CiliumNetworkPolicy" } else { "CiliumClusterwideNetworkPolicy" };
        let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
        Origin {
            dialect: Dialect::Cilium,
            kind: kind.into(),
            namespace: self.namespace.unwrap_or_default().into(),
            name: text(&self.metadata.name),
            uid: text(&self.metadata.uid),
            part,
        }
    }
}
