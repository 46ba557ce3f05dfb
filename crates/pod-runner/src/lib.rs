//! What kubelet and a container runtime do on a real node, for the lab's nodes.

pub mod cli;
mod environment;
mod etc_files;
pub mod files;
mod image;
mod options;
pub mod process;
pub mod shim;
mod status;

pub use options::{NodeTemplate, RunnerOptions};
