//! Gives Pods their Nodes.

pub mod fit;
pub mod neighbours;
pub mod plan;
pub(crate) mod run;
