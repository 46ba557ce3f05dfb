//! Addresses for Pods from the ranges of one node (`spec.podCIDRs`).
//!
//! [`Allocator`] decides and does no I/O; [`Ipam`] puts a journal on disk beneath it, so that no address is lost or
//! given twice whatever moment the process dies at: an allocation is on disk before anybody hears of it.
#![forbid(unsafe_code)]

mod allocator;
mod ipam;
mod journal;
mod range;
mod record;

pub use allocator::{Allocator, Exhausted, Owner, Timestamp, Usage};
pub use ipam::{Error, Ipam};
pub use journal::JournalError;
