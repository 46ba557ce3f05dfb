//! A whole cluster on one Linux machine: nodes, fabric and outside host as network namespaces, with the real agent, the
//! real datapath and the embedded Kubernetes API.
//!
//! ```text
//! kind_file, cli → spec (what is wanted, checked) → plan (pure) → apply (namespaces, links) → supervise (processes)
//! ```
#![forbid(unsafe_code)]

pub mod apply;
pub mod cgroup;
pub mod files;
pub mod forwarder;
pub mod kind_file;
pub mod lock;
pub mod name;
pub mod pins;
pub mod plan;
pub mod preflight;
pub mod process;
pub mod residents;
pub mod shared;
pub mod spec;
pub mod subnets;
