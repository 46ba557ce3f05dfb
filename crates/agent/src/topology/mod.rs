//! Nodes → where everything that is not on this node lies: `ipcache`, the node's own addresses, the host's routes.

mod apply;
mod plan;

pub use apply::{Applied, Apply};
pub use plan::{Desired, HostRoute, Input, desired, difference};
