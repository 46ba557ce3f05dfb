//! Tells the network which Pods stand behind a Service (`discovery.k8s.io/v1`, KEP-752, KEP-1672).

pub(crate) mod cut;
pub mod desired;
pub mod plan;
pub(crate) mod run;
