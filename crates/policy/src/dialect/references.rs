//! What policies name that stands in other objects.

use custom_resources::CiliumCIDRGroup;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Labels of an object, as it has them.
pub type ObjectLabels = BTreeMap<String, String>;

/// Services and groups of prefixes, as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// By namespace and name.
    pub services: BTreeMap<(String, String), ServiceFacts>,
    /// By name.
    pub cidr_groups: BTreeMap<String, CidrGroup>,
}

/// What a policy can see of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// Its labels.
    pub labels: ObjectLabels,
    /// `spec.selector`; empty where it has none.
    pub selector: ObjectLabels,
    /// The addresses in its EndpointSlices; they count where there is no selector.
    pub addresses: Vec<IpAddr>,
}

impl ServiceFacts {
    /// What a Service says of itself; its addresses stand elsewhere.
    #[must_use]
    pub fn of(object: &Service) -> Self {
        let selector = object.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        Self { labels: object.metadata.labels.clone().unwrap_or_default(), selector, addresses: Vec::new() }
    }
}

/// A CiliumCIDRGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CidrGroup {
    /// Its labels.
    pub labels: ObjectLabels,
    /// Its prefixes.
    pub prefixes: Vec<IpNet>,
}

impl CidrGroup {
    /// A prefix that can't be read is left out: of an allow that names the group, nothing is allowed by it.
    #[must_use]
    pub fn of(object: &CiliumCIDRGroup) -> Self {
        Self {
            labels: object.metadata.labels.clone().unwrap_or_default(),
            prefixes: object.spec.external_cidrs.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }
}

/// Whether a plain selector, with keys as the object has them, selects it. What has no meaning selects nothing; it is told
/// where the selector is read.
pub(super) fn selects(selector: &LabelSelector, labels: &ObjectLabels) -> bool {
    custom_resources::matches_labels(Some(selector), Some(labels)).unwrap_or(false)
}
