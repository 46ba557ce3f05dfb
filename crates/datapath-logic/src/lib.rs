//! The datapath's decisions, without the datapath: pure functions over packet facts and map values, the same in the
//! kernel programs, in tests, and wherever a decision has to be explained.
//!
//! Invariant: no map, no packet, no clock; time and randomness come in as arguments.
#![no_std]
#![forbid(unsafe_code)]

pub mod conntrack;
pub mod delivery;
pub mod encapsulation;
mod hash;
pub mod maglev;
pub mod mtu;
pub mod nat;
pub mod policy;
pub mod service;
pub mod tcp_end;
pub mod tuple;
