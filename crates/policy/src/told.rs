//! An explanation that leaves the world it was made of: for JSON, and for people.

use crate::explain::Explanation;
use crate::reference::Decision;
use crate::rule::{Action, Direction, Origin, Policy, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A policy, or a rule of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    /// `NetworkPolicy`, `CiliumNetworkPolicy`, ….
    pub kind: String,
    /// Its namespace; empty for what has none.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Path of the rule in the object; none for the policy as a whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
}

impl Named {
    /// A policy as a whole.
    #[must_use]
    pub fn policy(origin: &Origin) -> Self {
        Self {
            kind: origin.kind.to_string(),
            namespace: origin.namespace.to_string(),
            name: origin.name.to_string(),
            field: None,
        }
    }

    /// One of its rules.
    #[must_use]
    pub fn rule(origin: &Origin, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::policy(origin) }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)?;
        self.field.iter().try_for_each(|field| write!(f, " {field}"))
    }
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A rule, or several that say the same.
    Rule,
    /// From the own node into its Pod.
    LocalHost,
    /// A policy has default deny, and no rule allows.
    DefaultDeny,
    /// No rule speaks, none has to.
    DefaultAllow,
    /// No policy is about this end.
    NoPolicy,
    /// Nothing is known about this end.
    UnknownSubject,
}

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleText {
    /// Where it stands.
    #[serde(flatten)]
    pub rule: Named,
    /// `allow`, `deny`, `pass`.
    pub action: String,
    /// The other end.
    pub peers: String,
    /// What is spoken.
    pub ports: String,
    /// Why it did not decide.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

/// The verdict of one end, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Whether the packet passes here.
    pub allowed: bool,
    /// What decided.
    pub cause: Cause,
    /// The rules that decided.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub decided_by: Vec<RuleText>,
    /// Policies because of which what nothing allows is denied.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub default_deny: Vec<Named>,
    /// Rules that match too, and did not decide.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lost: Vec<RuleText>,
    /// Of a default deny: what would have been allowed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_matched: Vec<RuleText>,
}

impl Told {
    /// Of an explanation.
    #[must_use]
    pub fn of(explanation: &Explanation<'_>, direction: Direction) -> Self {
        let judgement = &explanation.judgement;
        let (cause, rules): (_, &[(&Policy, &Rule)]) = match &judgement.decision {
            Decision::Rules(rules) => (Cause::Rule, rules),
            Decision::LocalHost => (Cause::LocalHost, &[]),
            Decision::DefaultDeny => (Cause::DefaultDeny, &[]),
            Decision::DefaultAllow => (Cause::DefaultAllow, &[]),
            Decision::NoPolicy => (Cause::NoPolicy, &[]),
            Decision::UnknownSubject => (Cause::UnknownSubject, &[]),
        };
        let is_default = cause == Cause::DefaultDeny;
        let denying: &[&Policy] = if is_default { &explanation.default_deny } else { &[] };
        let allowing = denying.iter().flat_map(|policy| policy.rules.iter().map(move |rule| (*policy, rule)));
        let allowing = allowing.filter(|(_, rule)| rule.direction == direction && rule.action == Action::Allow);
        Self {
            allowed: judgement.allowed,
            cause,
            decided_by: rules.iter().map(|(policy, rule)| text(policy, rule, rule.action, None)).collect(),
            default_deny: denying.iter().map(|policy| Named::policy(&policy.origin)).collect(),
            lost: explanation
                .lost
                .iter()
                .map(|lost| text(lost.policy, lost.rule, lost.action, Some(lost.why.to_string())))
                .collect(),
            not_matched: allowing.map(|(policy, rule)| text(policy, rule, rule.action, None)).collect(),
        }
    }

    /// Who decided, to compare with what maps name.
    #[must_use]
    pub fn names(&self) -> Vec<&Named> {
        self.decided_by.iter().map(|rule| &rule.rule).collect()
    }
}

fn text(policy: &Policy, rule: &Rule, action: Action, why: Option<String>) -> RuleText {
    let action = match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Pass => "pass",
    };
    RuleText {
        rule: Named::rule(&policy.origin, &rule.field),
        action: action.to_owned(),
        peers: rule.peers.to_string(),
        ports: rule.ports.to_string(),
        why,
    }
}

impl fmt::Display for Told {
    /// What decided, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>().join(", ");
        match self.cause {
            Cause::Rule => f.write_str(&joined(&mut self.decided_by.iter().map(|one| one.rule.to_string()))),
            Cause::LocalHost => f.write_str("from its own node"),
            Cause::DefaultDeny => {
                write!(f, "default deny of {}", joined(&mut self.default_deny.iter().map(ToString::to_string)))
            }
            Cause::DefaultAllow => f.write_str("its policies deny nothing by default, and no rule speaks"),
            Cause::NoPolicy => f.write_str("no policy is about it"),
            Cause::UnknownSubject => f.write_str("its identity is not known"),
        }
    }
}
