//! What people write about who may speak to whom → one rule form → the tables by which the kernel decides.
//!
//! ```text
//! NetworkPolicy, … ──dialect──▶ rule::Policy ──plan::Planner──▶ ordered changes ──▶ (agent) maps
//!                                    │                               │
//!                                reference  ◀── property tests ──▶ datapath_logic::policy::judge
//! ```
//! Everything is pure: no map, no API, no clock. [`reference`] is the slow and obvious judge, straight from the semantics;
//! the planner shares nothing with it but [`rule`].
#![forbid(unsafe_code)]

mod describe;
pub mod dialect;
pub mod explain;
pub mod failsafe;
pub mod matrix;
pub mod plan;
pub mod prove;
pub mod reach;
pub mod reference;
pub mod rule;
pub mod selector;
pub mod simulate;
pub mod snapshot;
pub mod subject;
pub mod told;
pub mod wire;
