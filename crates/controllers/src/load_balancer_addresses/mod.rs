//! Addresses for Services of type LoadBalancer, out of `CiliumLoadBalancerIPPool`s; `lb-ipam` plans.

pub(crate) mod run;
