//! Gives every Node its share of the cluster's Pod ranges (`spec.podCIDRs`).

pub mod plan;
pub(crate) mod run;
