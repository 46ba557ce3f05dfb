//! Services translated once per socket: what the application believes it talks to.

use crate::{Address, layout};

layout! {
    /// A socket and the backend it was given.
    pub struct SocketReverseKey, 32 {
        /// `bpf_get_socket_cookie`.
        pub cookie: u64,
        /// Backend's address.
        pub address: Address,
        /// Backend's port, host order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

layout! {
    /// The service it asked for.
    pub struct SocketReverse, 24 {
        /// Service address as the application gave it.
        pub address: Address,
        /// Service port, host order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
        /// [`crate::Frontend::service_id`].
        pub service_id: u32,
    }
}
