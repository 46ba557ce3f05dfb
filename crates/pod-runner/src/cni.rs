//! CNI from the runtime's side, as containerd does it: the network configuration of a folder, and plugins executed
//! with environment and standard input (CNI specification 1.1, "CNI Operations").

mod config;
mod plugin;

pub use plugin::{Attachment, CniError, Network, addresses};
