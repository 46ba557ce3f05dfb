//! Notices silent Nodes: Ready becomes Unknown, the Node is tainted, its Pods are no longer ready and, after their
//! tolerations are over, evicted.

pub mod eviction;
pub mod plan;
pub(crate) mod run;
pub mod taints;
