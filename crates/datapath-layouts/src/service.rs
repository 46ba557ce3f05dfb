//! Services: frontends, their backends by slot, and the choice that a flow made.
//!
//! One change costs one change: adding a backend writes slot `n` and then `backends = n + 1`; removing one copies the
//! last slot over it, lowers the count, then deletes the last slot. A reader in between sees a whole state each time.

use crate::{Address, layout};

/// The frontend is a NodePort: its address is [`Address::V4_ANY`] or [`Address::ZERO`], standing for every node.
pub const FRONTEND_NODE_PORT: u32 = 1;
/// The backend is a Pod (or host-network Pod) of this node.
pub const BACKEND_LOCAL: u8 = 1;
/// The backend goes away: no new flow is sent to it while there is another.
pub const BACKEND_TERMINATING: u8 = 2;

layout! {
    /// What a client addresses.
    pub struct FrontendKey, 20 {
        /// Service address; the family's wildcard for NodePorts.
        pub address: Address,
        /// Port, host order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// Cluster; 0 = own.
        pub cluster: u8,
    }
}

layout! {
    /// What is there.
    pub struct Frontend, 16 {
        /// Names the slots in the backends' table. Several frontends (ClusterIP, NodePort) share one.
        pub service_id: u32,
        /// Slots `0..backends` exist; 0 = nothing serves.
        pub backends: u32,
        /// `FRONTEND_*`.
        pub flags: u32,
        /// ClientIP affinity in seconds; 0 = none.
        pub affinity_seconds: u32,
    }
}

layout! {
    /// One slot of a service.
    pub struct BackendKey, 8 {
        /// [`Frontend::service_id`].
        pub service_id: u32,
        /// Below [`Frontend::backends`].
        pub slot: u32,
    }
}

layout! {
    /// One backend.
    pub struct Backend, 24 {
        /// Pod (or host-network) address.
        pub address: Address,
        /// Number of the backend, stable while it exists; 0 is none.
        pub id: u32,
        /// Port, host order.
        pub port: u16,
        /// Cluster; 0 = own.
        pub cluster: u8,
        /// `BACKEND_*`.
        pub flags: u8,
    }
}

layout! {
    /// The backend that a per-packet translated flow was given; keyed by the flow as the client sees it.
    pub struct ServiceFlow, 40 {
        /// Last packet of either direction.
        pub last_seen_ns: u64,
        /// Backend's address.
        pub address: Address,
        /// [`Frontend::service_id`].
        pub service_id: u32,
        /// Backend's port, host order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
        /// [`Backend::id`].
        pub backend_id: u32,
        /// Zero.
        pub reserved2: u32,
    }
}
