//! Keeps as many Pods of a template as a ReplicaSet asks for.

pub(crate) mod apply;
pub mod plan;
pub mod rank;
pub(crate) mod run;
pub mod status;
