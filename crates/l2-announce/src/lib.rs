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
//! Two such holders can meet: one lost the API and the Lease ran out, the other one took it, was not heard, and lost the API
//! too. So a probe carries the version of the Lease that its sender wrote last. The API made these versions one after the
//! other, so the two agree on who came later: the later one does not yield, and the earlier one does not answer it.
//!
//! Invariant: two parts decide, and both are pure: [`wanted`] what this node stands for, [`election`] whether it has it.

#![deny(unsafe_code)]

pub mod election;
mod endpoints;
mod error;
pub mod frames;
mod leases;
pub mod packet_socket;
mod policy_status;
mod responder;
mod run;
pub mod wanted;
mod watch;

pub use error::Error;
pub use run::{Settings, run};
