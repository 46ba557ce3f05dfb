//! Ports of a node that are a Pod's.

use crate::Protocol;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A port at the node's addresses that leads to one of its Pods (`hostPort` of a container's port).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// The node's port.
    pub port: u16,
    /// The Pod's port.
    pub target: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The one address of the node at which it is; `None` = all of them.
    pub address: Option<IpAddr>,
}
