//! What the API tells of policies.

use crate::watched::Told;
use custom_resources::{CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, ClusterNetworkPolicy};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use model::ObjectName;
use policy::dialect::references::CidrGroup;
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
    let read = network_policy::convert(object).map(|policy| vec![policy]);
    Some(Mistaken::or_closed(read, || network_policy::closed(object)))
}

/// A ClusterNetworkPolicy, as rules.
pub fn cluster(object: &ClusterNetworkPolicy) -> Option<Read> {
    let read = cluster_network_policy::cluster_network_policy(object).map(|policy| vec![policy]);
    Some(Mistaken::or_closed(read, || cluster_network_policy::closed(object)))
}

/// An object as it is.
pub fn whole<O: Clone>(object: &O) -> Option<Arc<O>> {
    Some(Arc::new(object.clone()))
}
