//! The controllers that make ordinary manifests come alive: Node address ranges and readiness, scheduling,
//! Deployments and ReplicaSets, EndpointSlices and Endpoints, addresses of load balancers, identities, policies' conditions,
//! and the collection of orphaned Pods.
//!
//! ```text
//! API server ─watch→ cache (one per kind, shared) ─keys→ queue → plan (pure) → apply → API server
//!                      ↑                                                       │
//!                      └──────────── the answer to each write ─────────────────┘
//! ```
//!
//! Every controller is a folder of three parts: `plan` turns objects and a clock reading into a list of changes and
//! does no I/O; `apply` carries the changes out; `run` says which events wake which key.
//!
//! Invariant: a controller reads only from the caches and writes only through [`write`]; the answer to a write enters
//! the cache at once, so that no controller ever acts twice because its own watch was slow.

#![forbid(unsafe_code)]

mod cache;
pub mod deployment;
pub mod endpoint_mirror;
pub mod endpoint_slice;
pub mod endpoints;
mod error;
mod events;
pub mod identities;
pub mod leader;
pub mod load_balancer_addresses;
mod merge_patch;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod options;
mod owner;
mod pod;
pub mod pod_gc;
pub mod policy_conditions;
mod queue;
pub mod replica_set;
mod run;
pub mod scheduler;
mod selector;
mod watch;
mod worker;
mod write;

pub use error::{Error, Result};
pub use leader::{Election, Timing};
pub use options::{NodeRange, Options};
pub use run::run;
