//! The agent of a node: watches the cluster, plans, and writes what the datapath needs into the kernel.
#![deny(unsafe_code)]

pub mod error;
pub mod events;
pub mod facts;
pub mod services;
pub mod table;
pub mod topology;
pub mod watched;

pub use error::Error;
