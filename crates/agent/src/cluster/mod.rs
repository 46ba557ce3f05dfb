//! The Kubernetes API, as far as an agent needs it: its watches, its own Node, one condition.

mod client;
mod node;
mod served;
mod watch;

pub use client::connect;
pub use node::{from_kubernetes, own_node, report_ready};
pub use watch::{Heard, Input, WatchState, Watches, start};
