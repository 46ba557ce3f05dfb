//! Removes Pods that nobody else can: those of vanished Nodes, and unscheduled ones that were asked to end.

pub mod plan;
pub(crate) mod run;
