//! The custom kinds that Malla reads: Cilium's, by their own names, so that what is written for Cilium works here.
//!
//! The definitions (`definitions/*.yaml`) are what a cluster is given; the types are what the rest of Malla reads.
//! Invariant: nothing here decides anything; that is for `lb-ipam`, `l2-announce` and `identity`.

#![forbid(unsafe_code)]

mod definitions;
mod endpoint_slice;
mod identity;
mod ip_pool;
mod l2_policy;
mod selector;

pub use definitions::{definitions, install};
pub use endpoint_slice::{AddressPair, CiliumEndpointSlice, CoreCiliumEndpoint, EndpointNetworking, NamedPort};
pub use identity::CiliumIdentity;
pub use ip_pool::{CiliumLoadBalancerIPPool, IpPoolBlock, IpPoolSpec, IpPoolStatus};
pub use l2_policy::{CiliumL2AnnouncementPolicy, L2PolicySpec, L2PolicyStatus};
pub use selector::{SelectorError, matches_labels, matches_service};
