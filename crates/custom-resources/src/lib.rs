//! The custom kinds that Malla reads: Cilium's and the network policy group's, by their own names, so that what is written for
//! them works here.
//!
//! The definitions (`definitions/*.yaml`) are what a cluster is given; the types are what the rest of Malla reads. Those of
//! policies are made from the types (`examples/policies.rs`).
//! Invariant: nothing here decides anything; that is for `policy`, `lb-ipam`, `l2-announce` and `identity`.

#![forbid(unsafe_code)]

pub mod cilium_policy;
pub mod cluster_network_policy;
mod definitions;
mod endpoint_slice;
mod identity;
#[cfg(feature = "install")]
mod install;
mod ip_pool;
mod l2_policy;
mod schema;
mod selector;

pub use cilium_policy::{CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy};
pub use cluster_network_policy::ClusterNetworkPolicy;
pub use definitions::{definitions, made_from_types};
pub use endpoint_slice::{
    AddressPair, CiliumEndpointSlice, CoreCiliumEndpoint, EndpointNetworking, EndpointWorkload, NamedPort,
};
pub use identity::CiliumIdentity;
#[cfg(feature = "install")]
pub use install::install;
pub use ip_pool::{CiliumLoadBalancerIPPool, IpPoolBlock, IpPoolSpec, IpPoolStatus};
pub use l2_policy::{CiliumL2AnnouncementPolicy, L2PolicySpec, L2PolicyStatus};
pub use selector::{SelectorError, matches_labels, matches_service};
