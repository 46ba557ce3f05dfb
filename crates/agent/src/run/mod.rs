//! The agent at work: start-up in order, then one loop.

mod answers;
mod state;

pub use answers::{drops, forwarded, routing_name};
pub use state::{Maps, Parts, State};
