//! Numbers for what Pods are, and slices that tell nodes of them; `identity` plans.

mod apply;
pub(crate) mod run;
mod world;

pub(crate) use world::State;
