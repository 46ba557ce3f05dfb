//! `malla container-shim`: the parent of one container process.
//!
//! It makes the container's namespaces, writes what the container prints into its log, and leaves a record of how it
//! ended. It is small, has one thread, and needs nobody: when the lab's supervisor dies, the shim and its container
//! go on, and the next supervisor finds them by their files.

mod child;
mod log_file;
mod records;
mod run;

pub use log_file::{LogFile, rotated};
pub use records::{Exit, Mount, Running, ShimConfig, StartFailure, Told};
pub use run::run;
