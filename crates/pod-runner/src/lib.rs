//! What kubelet and a container runtime do on a real node, for the lab's nodes.
//!
//! ```text
//! API watch -> run -> pod (one task per Pod) -> sandbox (netns, CNI ADD)
//!                                            -> supervise (per container) -> running -> shim -> the container
//!                     status <- facts <-------------------------------------- probes, exits
//! ```
//! The runner keeps nothing in memory that a successor needs: what a container is and how it ended stands in files
//! ([`files`]), and each container has a small parent process of its own ([`shim`]) that outlives the runner.

mod backoff;
mod cgroup;
pub mod cli;
mod cni;
mod container;
mod drain;
mod environment;
mod etc_files;
mod events;
mod exec;
pub mod files;
mod find;
mod heartbeat;
mod image;
mod logs;
mod node;
mod options;
mod pod;
mod prepare;
mod probe;
pub mod process;
mod publish;
mod remove;
mod run;
mod running;
mod sandbox;
pub mod shim;
mod status;
mod supervise;

pub use exec::{ExecError, exec};
pub use find::{FindError, Target, target};
pub use logs::{LogError, LogOptions, logs};
pub use options::{NodeTemplate, RunnerOptions};
pub use remove::remove_all;
pub use run::{RunError, run};

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
