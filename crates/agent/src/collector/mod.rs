//! Forgets what is over: expired flows with everything that hangs on them, and flows to backends and Pods that are gone.
//!
//! The tables are LRU and would forget by themselves when full; collecting keeps them small, so that a flood evicts the
//! forgotten first and `malla bpf conntrack` shows what is alive.

mod nodes;
mod plan;
mod run;

pub use plan::{Gone, Judge};
pub use run::{Collected, Collector, Handle, Tables, Totals};
