//! Where everything that is not on this node lies: the `ipcache`, by longest prefix.

use crate::{Address, layout};

/// What a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RouteKind {
    /// Outside of the cluster.
    World = 1,
    /// Pods of another node.
    RemotePods = 2,
    /// Another node's address.
    RemoteNode = 3,
    /// Pods of this node: an address here that is no endpoint does not exist.
    LocalPods = 4,
    /// Service addresses: what no frontend claims is refused, never sent to the world.
    Services = 5,
}

impl RouteKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::World,
            2 => Self::RemotePods,
            3 => Self::RemoteNode,
            4 => Self::LocalPods,
            5 => Self::Services,
            _ => return None,
        })
    }
}

/// Sent through the tunnel to [`Route::tunnel`]; otherwise natively to [`Route::next_hop`].
pub const FLAG_TUNNEL: u8 = 1;

layout! {
    /// How a prefix is reached and who it is.
    pub struct Route, 48 {
        /// Underlay address of the node that has it; zero = none (world).
        pub tunnel: Address,
        /// Next hop on `ifindex` for native delivery; zero = the destination is on the link itself.
        pub next_hop: Address,
        /// Identity of what is there, unless something more exact is known.
        pub identity: u32,
        /// Device for native delivery; 0 = there is no way.
        pub ifindex: u32,
        /// Largest packet on that way, bytes; 0 = the device's.
        pub mtu: u32,
        /// [`RouteKind`].
        pub kind: u8,
        /// `FLAG_*`.
        pub flags: u8,
        /// Zero.
        pub reserved: u16,
    }
}
