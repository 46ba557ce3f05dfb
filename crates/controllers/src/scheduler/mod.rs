//! Gives Pods their Nodes.

pub mod fit;
pub mod plan;
pub(crate) mod run;
