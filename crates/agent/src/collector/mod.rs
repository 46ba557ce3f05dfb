//! Forgets what is over: expired flows with everything that hangs on them, and flows to backends and Pods that are gone.
//! Sockets that a hook had bound to such a backend are ended, so that their owners need not wait to find out.
//!
//! The tables are LRU and would forget by themselves when full; collecting keeps them small, so that a flood evicts the
//! forgotten first and `malla bpf conntrack` shows what is alive.

#[cfg(test)]
pub(crate) mod memory;
mod nodes;
mod plan;
mod run;

pub use plan::{Gone, Judge, Present};
pub use run::{Collected, Collector, Handle, Sockets, Tables, Totals};
