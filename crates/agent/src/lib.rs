//! The agent of a node: watches the cluster, plans, and writes what the datapath needs into the kernel.
#![deny(unsafe_code)]

pub mod cluster;
pub mod collector;
pub mod error;
pub mod events;
pub mod facts;
mod kernel;
pub mod loaded;
pub mod node_config;
pub mod pods;
pub mod run;
pub mod server;
pub mod services;
pub mod status;
pub mod table;
pub mod topology;
pub mod watched;

pub use error::Error;
