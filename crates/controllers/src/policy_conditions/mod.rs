//! What policy objects say of themselves: the condition `Valid` where their kind has a status, and an Event for what is
//! wrong with them. Written once for the cluster, by the leader; what a single node can't do stands in its agent's status.

pub mod plan;
pub(crate) mod run;
