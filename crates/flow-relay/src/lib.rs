//! The flows of all nodes as those of one: asks every node, merges what they tell by time, and says which is missing.
//!
//! ```text
//! node ─gRPC─▶ lane ─┐
//! node ─gRPC─▶ lane ─┼─▶ merge (by time, waits for nobody longer than [`Limits::patience`]) ─▶ trim ─▶ client
//! node ──✗─── lane ──┘                     └─▶ NodeStatusEvent: unavailable
//! ```
//! A slow client holds the lanes back, and what its nodes overwrite meanwhile they count and tell. A node that is away
//! while somebody follows is tried again, and asked from where it was left.
#![forbid(unsafe_code)]

mod ask;
mod gathering;
mod lane;
mod limits;
pub mod merge;
mod observer;
mod status;
mod target;
mod trim;
mod trouble;

pub use limits::Limits;
pub use observer::{Namespaces, Relay};
pub use target::{Target, Targets, follow_peers};
pub use trim::Trim;
