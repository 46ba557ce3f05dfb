//! Masquerade: Pods speak to the world as their node.

use crate::{Address, layout};

/// [`NatKey::direction`]: from the Pod outwards.
pub const OUTWARD: u8 = 0;
/// [`NatKey::direction`]: from the world back.
pub const INWARD: u8 = 1;
/// [`NatKey::direction`]: a client (`local`) that came in by another node (`remote`, with the backend's port) and has
/// another port towards the backend, whose address the mapping carries.
pub const ENTERED: u8 = 2;
/// [`NatKey::direction`]: the same, back: from the port that it has here to its own.
pub const ENTERED_BACK: u8 = 3;

layout! {
    /// Outward: Pod's address and port with the remote end's. Inward: the node's address and the port it gave out.
    pub struct NatKey, 40 {
        /// Pod (outward) or node (inward).
        pub local: Address,
        /// The other end.
        pub remote: Address,
        /// Port (ICMP: id) of `local`, host order.
        pub local_port: u16,
        /// Port of `remote`; 0 for ICMP.
        pub remote_port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// [`OUTWARD`] or [`INWARD`].
        pub direction: u8,
        /// Zero.
        pub reserved: u16,
    }
}

layout! {
    /// What `local` becomes.
    pub struct NatMapping, 32 {
        /// Last packet.
        pub last_seen_ns: u64,
        /// Node (outward) or Pod (inward).
        pub address: Address,
        /// Port (ICMP: id), host order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
        /// Zero.
        pub reserved2: u32,
    }
}
