use super::{CidrRule, GroupsRule, IcmpRule, PortRule};
use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Peers (of one kind) and the ports on which they may be heard. Without any peers, everybody; a list that is there and
/// empty, nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressRule {
    /// Endpoints by their labels; an empty selector is every endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selectors")]
    pub from_endpoints: Option<Vec<LabelSelector>>,
    /// What every peer has to match too; it allows nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selectors")]
    pub from_requires: Option<Vec<LabelSelector>>,
    /// Addresses outside of the cluster, as prefixes or single addresses.
    #[serde(default, rename = "fromCIDR", skip_serializing_if = "Option::is_none")]
    pub from_cidr: Option<Vec<String>>,
    /// Prefixes outside of the cluster with exceptions, or groups of them.
    #[serde(default, rename = "fromCIDRSet", skip_serializing_if = "Option::is_none")]
    pub from_cidr_set: Option<Vec<CidrRule>>,
    /// Peers by what they are, for example `world` or `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::entities")]
    pub from_entities: Option<Vec<String>>,
    /// Groups of a cloud's provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_groups: Option<Vec<GroupsRule>>,
    /// Nodes by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selectors")]
    pub from_nodes: Option<Vec<LabelSelector>>,
    /// Ports of the governed endpoint. Excludes icmps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ports: Option<Vec<PortRule>>,
    /// Types of ICMP messages. Excludes toPorts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmps: Option<Vec<IcmpRule>>,
    /// How peers have to prove who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
}

/// How peers have to prove who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Authentication {
    /// `disabled`, `required`, or `test-always-fail`.
    #[schemars(extend("enum" = ["disabled", "required", "test-always-fail"]))]
    pub mode: String,
}
