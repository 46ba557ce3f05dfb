//! Traffic through a whole lab: who reaches whom, by what, and what goes on when agents die and Pods come and go.
//!
//! Needs root, `malla-cni` beside `malla`, and the tools that `make setup` puts under `target/debian` (kubectl,
//! busybox) and on the PATH (wrk). `make test` runs these one at a time.
#![forbid(unsafe_code)]

mod agent_killed;
#[path = "../chaos/api.rs"]
#[allow(dead_code, reason = "the tests of chaos use the rest")]
mod api;
mod churn;
mod cluster;
mod matrix;
mod scaling;
