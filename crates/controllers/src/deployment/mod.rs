//! Moves a Deployment's Pods from one template to the next by scaling ReplicaSets.
//!
//! The rules are those of Kubernetes' `pkg/controller/deployment`, so that `kubectl rollout` reads what it expects.

pub(crate) mod apply;
pub mod draft;
pub mod limits;
pub mod plan;
pub mod progress;
pub mod revision;
pub mod rolling;
mod rollout;
pub(crate) mod run;
pub mod scale;
pub mod status;
pub mod template;
