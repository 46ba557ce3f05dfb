//! The lab's cluster DNS: Kubernetes' DNS-based service discovery, schema version 1.1.0, and the way out for all other
//! names. On a real cluster CoreDNS does this.
//!
//! ```text
//! API server ─watch→ table (one writer) ←─ resolve (pure) ── server (UDP, TCP) ← questions
//!                                              └─ not ours → forward → upstream
//! ```
//! Messages are read and written by hickory-proto; bytes in and bytes out are [`message`]'s, what is true is
//! [`resolve`]'s, and only [`server`] and [`forward`] have sockets.
//!
//! Invariant: nothing that arrives in a packet ends the process, and every question that can be read is answered within
//! [`forward::PATIENCE`].
#![forbid(unsafe_code)]

pub mod cli;
mod forward;
mod message;
mod resolve;
mod reverse;
mod server;
mod table;
mod watch;
mod zone_file;

pub use forward::PATIENCE;
