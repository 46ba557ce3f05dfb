//! `CiliumLoadBalancerIPPool`: addresses that may be given to Services of type LoadBalancer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// `spec` of a `CiliumLoadBalancerIPPool`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "cilium.io",
    version = "v2",
    kind = "CiliumLoadBalancerIPPool",
    plural = "ciliumloadbalancerippools",
    status = "IpPoolStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct IpPoolSpec {
    /// Which Services get addresses from here; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// `Yes` or `No`: whether the first and the last address of a `cidr` may be given.
    #[serde(default, rename = "allowFirstLastIPs", skip_serializing_if = "Option::is_none")]
    pub allow_first_last_ips: Option<String>,
    /// The addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<IpPoolBlock>,
    /// Nothing new is given from here; what was given stays.
    #[serde(default)]
    pub disabled: bool,
}

/// A `cidr`, or `start` to `stop`, or `start` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpPoolBlock {
    /// A prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// First address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Last address; `start` alone is a block of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
}

/// `status`: everything is told by conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IpPoolStatus {
    /// `cilium.io/PoolConflict`, `cilium.io/IPsTotal`, `cilium.io/IPsAvailable`, `cilium.io/IPsUsed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}
