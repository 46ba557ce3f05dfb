//! A whole cluster on one Linux machine: nodes, fabric and outside host as network namespaces, with the real agent, the
//! real datapath and the embedded Kubernetes API.
//!
//! ```text
//! kind_file, cli → spec (what is wanted, checked) → plan (pure) → apply (namespaces, links) → supervise (processes)
//! ```
#![forbid(unsafe_code)]

pub mod apply;
pub mod cgroup;
pub mod cli;
mod down;
pub mod files;
pub mod forwarder;
pub mod forwards;
pub mod kind_file;
mod kubeconfig;
pub mod launch;
pub mod lock;
pub mod mounts;
pub mod name;
mod node_shell;
pub mod pins;
pub mod plan;
mod pods;
pub mod preflight;
pub mod process;
mod progress;
mod ready;
pub mod residents;
pub mod shared;
pub mod spec;
pub mod state;
mod status;
pub mod subnets;
mod summary;
pub mod supervise;
mod supervisor;
mod unix_http;
mod up;
