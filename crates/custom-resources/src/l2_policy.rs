//! `CiliumL2AnnouncementPolicy`: which Services' addresses are announced on the local segment, by whom and where.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// `spec` of a `CiliumL2AnnouncementPolicy`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cilium.io",
    version = "v2alpha1",
    kind = "CiliumL2AnnouncementPolicy",
    plural = "ciliuml2announcementpolicies",
    status = "L2PolicyStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct L2PolicySpec {
    /// Which Services; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// Which Nodes may announce; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Regular expressions; a device that one of them matches is announced on. All devices where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Announce `spec.externalIPs`.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: bool,
    /// Announce `status.loadBalancer.ingress`.
    #[serde(default, rename = "loadBalancerIPs")]
    pub load_balancer_ips: bool,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct L2PolicyStatus {
    /// What is wrong with the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}
