//! What people ask, as they write it.

use crate::dialect::{Mistake, labels};
use crate::rule::{Entity, PortMatch, PortSet, Transport};
use crate::selector::{NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT, Selector, Test};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `apiVersion` of questions.
pub const API_VERSION: &str = "malla.dev/v1alpha1";
/// `kind` of questions.
pub const KIND: &str = "PolicyQuestion";

/// A question about policies: a claim that holds for every Pod there is and every Pod that could come, or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// `malla.dev/v1alpha1`.
    pub api_version: String,
    /// `PolicyQuestion`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What is claimed.
    pub spec: Spec,
}

/// The name of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// As it appears in answers and in JUnit.
    pub name: String,
}

/// What is claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is claimed of the flows from `from` to `to` on `ports`.
    pub claim: Claim,
    /// Who sends: one of these. Missing: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<Party>>,
    /// Who receives: one of these. Missing: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Party>>,
    /// What is spoken, as the destination's Pod hears it. Missing: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    /// What the world is known to be like.
    #[serde(default, skip_serializing_if = "Assume::is_nothing")]
    pub assume: Assume,
}

/// What can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Claim {
    /// Nobody but `from` reaches `to` on `ports`. It does not say that `from` does.
    Only,
    /// Nobody of `from` reaches `to` on any of `ports`.
    Never,
    /// Everybody of `from` reaches everybody of `to` on each of `ports`.
    Always,
}

/// Ends of flows. All that is said must hold; `{}` is anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Party {
    /// Pods with these labels of their own; `{}`: every Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Labelled>,
    /// Pods of the namespace with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pods of namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Labelled>,
    /// Pods with this service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityName>,
    /// Whoever has an address in this prefix, Pods and nodes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub cidr: Option<IpNet>,
}

/// A label selector, as everywhere in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Labelled {
    /// Labels with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// More that must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values, with `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What somebody is, as Cilium's entities have it, and `pod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntityName {
    /// A Pod of the cluster.
    Pod,
    /// Outside of the cluster.
    World,
    /// Pods, nodes, and whatever else is in the cluster.
    Cluster,
    /// The node on which the other end is.
    Host,
    /// A node on which the other end is not.
    RemoteNode,
    /// The API server.
    KubeApiserver,
    /// A Pod that Malla does not manage.
    Unmanaged,
    /// A Pod whose identity is not known yet.
    Init,
    /// A health endpoint.
    Health,
    /// The ingress proxy.
    Ingress,
}

impl EntityName {
    pub(super) const fn entity(self) -> Option<Entity> {
        Some(match self {
            Self::Pod => return None,
            Self::World => Entity::World,
            Self::Cluster => Entity::Cluster,
            Self::Host => Entity::Host,
            Self::RemoteNode => Entity::RemoteNode,
            Self::KubeApiserver => Entity::KubeApiserver,
            Self::Unmanaged => Entity::Unmanaged,
            Self::Init => Entity::Init,
            Self::Health => Entity::Health,
            Self::Ingress => Entity::Ingress,
        })
    }
}

/// A port, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// The protocol. Missing: TCP.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port; of ICMP the type. Missing: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The last one of a range that begins with `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}

/// Protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
    /// TCP, UDP and SCTP.
    #[serde(rename = "ANY")]
    Any,
    /// ICMP.
    #[serde(rename = "ICMP")]
    Icmp,
    /// ICMPv6.
    #[serde(rename = "ICMPv6")]
    Icmpv6,
}

/// What the world is known to be like. What is not said is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assume {
    /// Pods have addresses in these prefixes, and nobody else has. Missing: the nodes' ranges, where a cluster is asked;
    /// otherwise Pods may have any address.
    #[serde(default, rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub pod_cidrs: Vec<IpNet>,
    /// Nodes have addresses in these prefixes, and nobody outside of the cluster has. Missing: nodes may have any address.
    #[serde(default, rename = "nodeCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub node_cidrs: Vec<IpNet>,
}

impl Assume {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Labelled {
    fn selector(&self, prefix: &str, field: &str, mistakes: &mut Vec<Mistake>) -> Selector {
        let expressions = self.match_expressions.iter().map(|one| LabelSelectorRequirement {
            key: one.key.clone(),
            operator: one.operator.clone(),
            values: (!one.values.is_empty()).then(|| one.values.clone()),
        });
        let selector = LabelSelector {
            match_labels: Some(self.match_labels.clone()),
            match_expressions: Some(expressions.collect()),
        };
        labels::selector(Some(&selector), prefix, field, mistakes)
    }
}

/// A party, read.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// Of Pods; none: whoever it is.
    pub pods: Option<Selector>,
    pub entity: Option<EntityName>,
    pub cidr: Option<IpNet>,
}

impl Party {
    pub(super) fn read(&self, field: &str, mistakes: &mut Vec<Mistake>) -> Ends {
        let mut selector = Selector::default();
        let mut is_pod = false;
        let mut add = |more: Selector| {
            is_pod = true;
            selector = Selector::new([selector.requirements(), more.requirements()].concat());
        };
        if let Some(pods) = &self.pods {
            add(pods.selector("k8s:", &format!("{field}.pods"), mistakes));
        }
        if let Some(namespaces) = &self.namespaces {
            add(namespaces.selector(NAMESPACE_LABELS, &format!("{field}.namespaces"), mistakes));
        }
        if let Some(name) = &self.namespace {
            add(Selector::default().and(NAMESPACE, Test::In(vec![name.as_str().into()])));
        }
        if let Some(name) = &self.service_account {
            add(Selector::default().and(SERVICE_ACCOUNT, Test::In(vec![name.as_str().into()])));
        }
        Ends { pods: is_pod.then_some(selector), entity: self.entity, cidr: self.cidr.map(|net| net.trunc()) }
    }
}

impl Port {
    pub(super) fn read(&self, field: &str, mistakes: &mut Vec<Mistake>) -> Vec<PortMatch> {
        let mut wrong = |name: &str, text: &str| {
            mistakes.push(Mistake { field: format!("{field}.{name}"), text: text.to_owned() });
        };
        let (first, last) = match (self.port, self.end_port) {
            (None, None) => (0, u16::MAX),
            (Some(port), None) => (port, port),
            (Some(port), Some(end)) if port <= end => (port, end),
            (Some(_), Some(_)) => {
                wrong("endPort", "is less than port");
                return Vec::new();
            }
            (None, Some(_)) => {
                wrong("port", "is missing: endPort ends what port begins");
                return Vec::new();
            }
        };
        let transport = match self.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Sctp => Transport::Sctp,
            Protocol::Any => Transport::Any,
            Protocol::Icmp | Protocol::Icmpv6 => {
                let v6 = self.protocol == Protocol::Icmpv6;
                if self.port.is_none() {
                    return vec![PortMatch::Protocol(if v6 { 58 } else { 1 })];
                }
                if last > 255 {
                    wrong("port", "a type of ICMP is at most 255");
                }
                return (first..=last.min(255)).map(|kind| PortMatch::Icmp { v6, kind: kind as u8 }).collect();
            }
        };
        vec![PortMatch::Port(transport, PortSet::Range(first, last))]
    }
}

impl Question {
    /// What of it can't be meant, beyond its form.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |field: &str, text: String| mistakes.push(Mistake { field: field.to_owned(), text });
        if self.api_version != API_VERSION {
            wrong("apiVersion", format!("is {:?}: write {API_VERSION}", self.api_version));
        }
        if self.kind != KIND {
            wrong("kind", format!("is {:?}: write {KIND}", self.kind));
        }
        if self.spec.claim == Claim::Only && self.spec.from.is_none() {
            wrong("spec.from", "is missing: of Only it says who may".to_owned());
        }
        for (name, parties) in [("from", &self.spec.from), ("to", &self.spec.to)] {
            for (at, party) in parties.iter().flatten().enumerate() {
                party.read(&format!("spec.{name}[{at}]"), &mut mistakes);
            }
        }
        for (at, port) in self.spec.ports.iter().flatten().enumerate() {
            port.read(&format!("spec.ports[{at}]"), &mut mistakes);
        }
        mistakes
    }
}

/// The form of a question, as JSON Schema.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Question).to_value()
}
