//! Addresses of Services on the local segment: one node answers for each, chosen through a Lease.
//!
//! ```text
//! policies, Services, own Node ─▶ wanted (pure) ─▶ election (pure) ⇄ Lease of the Service
//!                                                     │ holds
//!                                                     ▼
//!                     segment ◀─ ARP, NDP ─ responder (one per device)
//! ```
//! The agent answers itself, and nothing about this is pinned: a node whose agent is gone stops answering, its Lease runs
//! out, and another node takes over. A responder in the kernel would go on claiming an address that another node already
//! has. What outlives the agent are the flows and the Service tables, which every node has.
//!
//! A holder that can't reach the API goes on answering, since else every address would go away with the API. It yields as
//! soon as it hears another node claim the address (a new holder announces it, and answers the probes that a holder
//! without the API sends), or learns that the Lease is another's.
//!
//! Invariant: two parts decide, and both are pure: [`wanted`] what this node stands for, [`election`] whether it has it.

#![deny(unsafe_code)]

pub mod election;
mod error;
pub mod frames;
mod leases;
pub mod packet_socket;
mod responder;
mod run;
pub mod wanted;
mod watch;

pub use error::Error;
pub use run::{Settings, run};
