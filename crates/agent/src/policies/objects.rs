//! What the API tells of policies.

use crate::watched::Told;
use custom_resources::cilium_policy::{PolicyRule, ServiceRule};
use custom_resources::{CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, ClusterNetworkPolicy};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use model::ObjectName;
use policy::dialect::references::{CidrGroup, ServiceFacts};
use policy::dialect::{Mistaken, cluster_network_policy, network_policy};
use policy::rule::Policy;
use std::sync::Arc;

/// What an object says, or what of it has no meaning and what is enforced instead.
pub type Read = Result<Vec<Policy>, Mistaken>;

/// One thing that the API told.
#[derive(Debug)]
pub enum Input {
    /// About a NetworkPolicy.
    Network(Told<ObjectName, Read>),
    /// About a ClusterNetworkPolicy.
    Cluster(Told<ObjectName, Read>),
    /// About a CiliumNetworkPolicy. What it says hangs on other objects, too.
    Cilium(Told<ObjectName, Arc<CiliumNetworkPolicy>>),
    /// About a CiliumClusterwideNetworkPolicy.
    Clusterwide(Told<ObjectName, Arc<CiliumClusterwideNetworkPolicy>>),
    /// About a CiliumCIDRGroup.
    Group(Told<ObjectName, CidrGroup>),
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `networking.k8s.io/v1`.
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`.
    ClusterNetworkPolicy,
    /// `cilium.io/v2`, of a namespace.
    CiliumNetworkPolicy,
    /// `cilium.io/v2`, of the cluster.
    CiliumClusterwideNetworkPolicy,
}

impl Kind {
    /// As objects say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
        }
    }
}

/// A NetworkPolicy, as rules.
pub fn network(object: &NetworkPolicy) -> Option<Read> {
    let closed = || network_policy::closed(object).into_iter().collect();
    Some(
        network_policy::convert(object)
            .map(|policy| vec![policy])
            .map_err(|mistakes| Mistaken { mistakes, closed: closed() }),
    )
}

/// A ClusterNetworkPolicy, as rules.
pub fn cluster(object: &ClusterNetworkPolicy) -> Option<Read> {
    let closed = || cluster_network_policy::closed(object).into_iter().collect();
    let read = cluster_network_policy::cluster_network_policy(object).map(|policy| vec![policy]);
    Some(read.map_err(|mistakes| Mistaken { mistakes, closed: closed() }))
}

/// An object as it is.
pub fn whole<O: Clone>(object: &O) -> Option<Arc<O>> {
    Some(Arc::new(object.clone()))
}

/// What policies see of a Service. Its addresses are told by others.
pub fn service(object: &core::Service) -> ServiceFacts {
    let selector = object.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    ServiceFacts { labels: object.metadata.labels.clone().unwrap_or_default(), selector, addresses: Vec::new() }
}

/// Whether an object of Cilium's names Services.
pub fn names_services<'a>(rules: impl Iterator<Item = &'a PolicyRule>) -> bool {
    let named = |services: &Option<Vec<ServiceRule>>| services.as_ref().is_some_and(|all| !all.is_empty());
    rules.into_iter().any(|rule| {
        rule.egress.iter().flatten().any(|egress| named(&egress.to_services))
            || rule.egress_deny.iter().flatten().any(|egress| named(&egress.to_services))
    })
}

/// A group of prefixes. One that can't be read is left out: of an allow that names it, nothing is allowed by it.
pub fn group(object: &CiliumCIDRGroup) -> Option<CidrGroup> {
    Some(CidrGroup {
        labels: object.metadata.labels.clone().unwrap_or_default(),
        prefixes: object.spec.external_cidrs.iter().filter_map(|text| text.parse().ok()).collect(),
    })
}
