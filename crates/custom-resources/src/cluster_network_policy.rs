//! `ClusterNetworkPolicy` (policy.networking.k8s.io/v1alpha2): rules in tiers above and below the namespaces' own policies.
//!
//! Fields follow `apis/v1alpha2` of kubernetes-sigs/network-policy-api, the experimental ones included.

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which Pods are governed, in which tier, and by which rules in which order.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "policy.networking.k8s.io",
    version = "v1alpha2",
    kind = "ClusterNetworkPolicy",
    plural = "clusternetworkpolicies",
    status = "ClusterNetworkPolicyStatus",
    schema = "disabled"
)]
pub struct ClusterNetworkPolicySpec {
    /// Admin is asked before the namespaces' NetworkPolicies, Baseline after them.
    #[schemars(extend("enum" = ["Admin", "Baseline"]))]
    pub tier: String,
    /// From 0 to 1000; within a tier the lowest is asked first.
    #[schemars(extend("minimum" = 0, "maximum" = 1000))]
    pub priority: i32,
    /// The Pods that are governed. Pods on the host network never are.
    pub subject: PodsOrNamespaces,
    /// For what is received; the first rule that matches decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 25))]
    pub ingress: Option<Vec<ClusterIngressRule>>,
    /// For what is sent; the first rule that matches decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 25))]
    pub egress: Option<Vec<ClusterEgressRule>>,
}

/// Pods: all those of some namespaces, or some of those of some namespaces. Exactly one field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct PodsOrNamespaces {
    /// All Pods of these namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub namespaces: Option<LabelSelector>,
    /// These Pods of these namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPods>,
}

/// Pods of namespaces; both selectors have to match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedPods {
    /// The namespaces; empty means all.
    #[serde(default)]
    #[schemars(schema_with = "schema::selector")]
    pub namespace_selector: LabelSelector,
    /// The Pods; empty means all.
    #[schemars(schema_with = "schema::selector")]
    pub pod_selector: LabelSelector,
}

/// What is done with what some peers send.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterIngressRule {
    /// What the rule is called where it is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 100))]
    pub name: Option<String>,
    /// Accept and Deny decide; Pass hands on to the next tier.
    #[schemars(extend("enum" = ["Accept", "Deny", "Pass"]))]
    pub action: String,
    /// The peers, any of which has to match.
    #[schemars(extend("minItems" = 1, "maxItems" = 25))]
    pub from: Vec<PodsOrNamespaces>,
    /// Protocols and ports, any of which has to match; all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1, "maxItems" = 25))]
    pub protocols: Option<Vec<ProtocolMatch>>,
}

/// What is done with what is sent to some peers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterEgressRule {
    /// What the rule is called where it is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 100))]
    pub name: Option<String>,
    /// Accept and Deny decide; Pass hands on to the next tier.
    #[schemars(extend("enum" = ["Accept", "Deny", "Pass"]))]
    pub action: String,
    /// The peers, any of which has to match.
    #[schemars(extend("minItems" = 1, "maxItems" = 25))]
    pub to: Vec<ClusterEgressPeer>,
    /// Protocols and ports, any of which has to match; all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1, "maxItems" = 25))]
    pub protocols: Option<Vec<ProtocolMatch>>,
}

/// To whom something is sent. Exactly one field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct ClusterEgressPeer {
    /// All Pods of these namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub namespaces: Option<LabelSelector>,
    /// These Pods of these namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPods>,
    /// Nodes by their labels; empty means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub nodes: Option<LabelSelector>,
    /// Prefixes; they match Pods and nodes as well as what is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1, "maxItems" = 25))]
    pub networks: Option<Vec<String>>,
    /// Names; a leading `*.` stands for one or more labels. For Accept only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1, "maxItems" = 25))]
    pub domain_names: Option<Vec<String>>,
}

/// A protocol and its ports. Exactly one field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct ProtocolMatch {
    /// TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TransportMatch>,
    /// UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<TransportMatch>,
    /// SCTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sctp: Option<TransportMatch>,
    /// A container port's name, for peers that are Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_named_port: Option<String>,
}

/// Ports of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct TransportMatch {
    /// The ports to which something is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<PortMatch>,
}

/// A port or a range. Exactly one field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct PortMatch {
    /// One port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub number: Option<i32>,
    /// Ports from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<PortRange>,
}

/// Ports from start to end, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortRange {
    /// The first.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub start: i32,
    /// The last, greater than the first.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub end: i32,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterNetworkPolicyStatus {
    /// `Valid`: whether all of it is understood and enforced; where it is not, which field and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// apimachinery's `meta/v1.Condition`, which has no schema of its own.
fn conditions() -> Value {
    json!({
        "type": "array",
        "description": "Valid: whether all of it is understood and enforced; where it is not, which field and why.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        },
    })
}

pub(crate) fn definition() -> Value {
    let names = schema::Names {
        group: "policy.networking.k8s.io",
        kind: "ClusterNetworkPolicy",
        plural: "clusternetworkpolicies",
        // Upstream's is `cnp`, which CiliumNetworkPolicy has had for years and users type; with both, kubectl would pick by chance.
        short_names: &["k8scnp"],
        categories: &[],
    };
    let columns = json!([
        { "name": "Tier", "type": "string", "jsonPath": ".spec.tier" },
        { "name": "Priority", "type": "string", "jsonPath": ".spec.priority" },
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
    ]);
    let status =
        json!({ "type": "object", "description": "What became of it.", "properties": { "conditions": conditions() } });
    let root = schema::root(
        "Rules in tiers above and below the namespaces' own policies.",
        json!({ "spec": schema::of::<ClusterNetworkPolicySpec>(), "status": status }),
        &["metadata", "spec"],
    );
    let mut definition = schema::definition(&names, "Cluster", "v1alpha2", &columns, root);
    // The API server of a real cluster takes a definition in a group of Kubernetes' own only with a word about its approval.
    definition["metadata"]["annotations"] =
        json!({ "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/network-policy-api/pull/300" });
    definition
}
