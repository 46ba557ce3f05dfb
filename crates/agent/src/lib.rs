//! The agent of a node: watches the cluster, plans, and writes what the datapath needs into the kernel.
//!
//! ```text
//! API ─watch─▶ cluster ─told─▶ run::State ─plan─▶ topology, services, identities, policies ─apply─▶ maps, routes
//! CNI ───────▶ pod-network ──▶ pods ──────────────────────────────────────▶ maps, programs on links
//! ring ──────▶ events ──────▶ server (agent.sock) ◀─ questions ─ malla status, malla monitor
//! maps ──────▶ collector: forgets what is over ─▶ sockets: ends those bound to it
//! ```
//! Invariants: the loop in [`run`] is the only writer of services and routes; planning does no I/O; nothing is removed
//! before the API has told everything; a killed agent leaves traffic as it is, and its successor goes on from the pins.
#![deny(unsafe_code)]

mod announcing;
pub mod cli;
pub mod cluster;
pub mod collector;
pub mod deeds;
pub mod error;
pub mod events;
pub mod facts;
mod fast_path;
mod health_checks;
pub mod identities;
pub mod keeping;
mod kernel;
pub mod kernel_datapath;
pub mod loaded;
pub mod neighbours;
mod node_conditions;
pub mod node_config;
pub mod node_metrics;
mod own_thread;
pub mod pods;
pub mod policies;
pub mod probes;
pub mod run;
pub mod server;
mod service_conditions;
mod service_events;
pub mod services;
mod serving_flows;
pub mod settings_file;
mod small_http;
pub mod sockets;
pub mod status;
pub mod table;
pub mod topology;
pub mod trouble;
pub mod watched;

pub use error::Error;
