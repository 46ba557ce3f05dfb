use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A prefix, or groups of prefixes, without their exceptions. Exactly one of cidr, cidrGroupRef and cidrGroupSelector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CidrRule {
    /// A prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The name of a CiliumCIDRGroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 253))]
    pub cidr_group_ref: Option<String>,
    /// CiliumCIDRGroups by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::selector")]
    pub cidr_group_selector: Option<LabelSelector>,
    /// Prefixes inside that are not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<String>>,
}

/// `spec` of a `CiliumCIDRGroup`: prefixes that policies name by the group's name or labels.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "cilium.io", version = "v2", kind = "CiliumCIDRGroup", plural = "ciliumcidrgroups", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct CidrGroupSpec {
    /// The prefixes.
    #[serde(rename = "externalCIDRs")]
    pub external_cidrs: Vec<String>,
}

pub(super) fn definition() -> Value {
    let names = schema::Names {
        group: "cilium.io",
        kind: "CiliumCIDRGroup",
        plural: "ciliumcidrgroups",
        short_names: &["ccg"],
        categories: &["cilium"],
    };
    let root = schema::root(
        "Prefixes outside of the cluster, under one name.",
        json!({ "spec": schema::of::<CidrGroupSpec>() }),
        &["spec"],
    );
    let columns = json!([{ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }]);
    schema::definition(&names, "Cluster", "v2", &columns, root)
}
