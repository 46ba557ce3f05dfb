use super::{EgressRule, IngressRule};
use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One rule: whom it governs, and what they may receive and send.
///
/// An endpoint or node that any rule selects with a section for a direction is closed in that direction, and opened by what
/// the rules allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// The endpoints that are governed; empty means all (of the namespace, in a namespaced policy). Excludes nodeSelector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub endpoint_selector: Option<LabelSelector>,
    /// The nodes that are governed, in a clusterwide policy only. Excludes endpointSelector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub node_selector: Option<LabelSelector>,
    /// What may be received. An empty rule in the list allows nothing and closes the direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// What must not be received, whatever allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::denied::<IngressRule>")]
    pub ingress_deny: Option<Vec<IngressRule>>,
    /// What may be sent. An empty rule in the list allows nothing and closes the direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
    /// What must not be sent, whatever allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::denied::<EgressRule>")]
    pub egress_deny: Option<Vec<EgressRule>>,
    /// Whether the rule closes the directions that it has sections for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_default_deny: Option<DefaultDeny>,
    /// Labels of the rule itself; they select nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<PolicyLabel>>,
    /// What the rule is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the verdicts of this rule carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogField>,
}

/// Whether a direction is closed by the rule; by default it is where the rule has an allowing or denying section for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefaultDeny {
    /// For what is received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<bool>,
    /// For what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
}

/// A label of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyLabel {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where it comes from, for example `k8s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What verdicts carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogField {
    /// Text that is told with each verdict of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
