//! What has an address on this node.

use crate::layout;

/// The address is the node's own: deliver to the host's stack.
pub const FLAG_HOST: u16 = 1;

layout! {
    /// A local Pod, or (with [`FLAG_HOST`]) the node itself. Found by exact address.
    pub struct Endpoint, 32 {
        /// Host side of the Pod's veth; 0 for the host.
        pub ifindex: u32,
        /// Number of the endpoint on this node.
        pub id: u32,
        /// Security identity.
        pub identity: u32,
        /// Policy of its identity; 0 = none: everything is allowed.
        pub policy_id: u32,
        /// MAC address inside the Pod: the only source a frame from it may have.
        pub mac: [u8; 6],
        /// `FLAG_*`.
        pub flags: u16,
        /// MAC address of the host side, the Pod's only neighbour.
        pub host_mac: [u8; 6],
        /// Largest packet the Pod's link takes, bytes.
        pub mtu: u16,
    }
}
