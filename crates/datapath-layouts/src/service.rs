//! Services: frontends, their backends by slot, and the choice that a flow made.
//!
//! One change costs one change: adding a backend writes slot `n` and then `backends = n + 1`; removing one copies the
//! last slot over it, lowers the count, then deletes the last slot. A reader in between sees a whole state each time.

use crate::{Address, layout};

/// The frontend is a NodePort: its address is [`Address::V4_ANY`] or [`Address::ZERO`], standing for every node.
pub const FRONTEND_NODE_PORT: u32 = 1;
/// [`Frontend::service_id`] is a row of local endpoints and there are others elsewhere: while it is empty, packets are
/// dropped and not refused (`internalTrafficPolicy: Local`).
pub const FRONTEND_LOCAL_INTERNAL: u32 = 2;
/// The same of [`Frontend::external_id`] (`externalTrafficPolicy: Local`).
pub const FRONTEND_LOCAL_EXTERNAL: u32 = 4;
/// Only clients whose address the map `source_ranges` has under [`Frontend::service_id`] are served.
pub const FRONTEND_SOURCE_RANGES: u32 = 8;
/// Traffic from inside chooses by the row's Maglev table.
pub const FRONTEND_MAGLEV: u32 = 16;
/// Traffic from outside chooses by the row's Maglev table.
pub const FRONTEND_MAGLEV_EXTERNAL: u32 = 32;
/// The entry stands for the address as a whole (its key has port 0 and protocol 0): what no other entry serves is refused.
pub const FRONTEND_ADDRESS: u32 = 64;
/// What enters from outside goes to the backend's node as it is, and is answered from there (direct server return).
pub const FRONTEND_DSR: u32 = 128;
/// [`Frontend::service_id`] names the row of this node's endpoints. For the agent after a restart; no program asks.
pub const FRONTEND_ROW_LOCAL: u32 = 256;
/// The same of [`Frontend::external_id`].
pub const FRONTEND_ROW_LOCAL_EXTERNAL: u32 = 512;
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
    /// What is there: one row of backends for clients inside of the cluster, one for what enters from outside. Both may
    /// be the same row.
    pub struct Frontend, 32 {
        /// Names the row of slots for Pods and this node's processes. Several frontends (ClusterIP, NodePort) share one.
        pub service_id: u32,
        /// Slots `0..backends` of that row exist; 0 = nothing serves.
        pub backends: u32,
        /// Names the row for what enters through the node's device.
        pub external_id: u32,
        /// Slots of that row.
        pub external_backends: u32,
        /// `FRONTEND_*`.
        pub flags: u32,
        /// ClientIP affinity in seconds; 0 = none.
        pub affinity_seconds: u32,
        /// The port's other row, which neither of the two is; 0 = it never had one. With [`FRONTEND_DSR`] it is that of this node's
        /// backends, for what another node passed on as it came in. Otherwise nobody chooses from it, but connections that
        /// were made by it before a policy changed go on.
        pub local_id: u32,
        /// Slots of that row that are chosen from; 0 without [`FRONTEND_DSR`].
        pub local_backends: u32,
    }
}

impl Frontend {
    /// A frontend whose inside and outside share one row.
    #[must_use]
    pub const fn with_row(row: u32, backends: u32) -> Self {
        Self { service_id: row, backends, external_id: row, external_backends: backends, ..Self::ZERO }
    }
}

impl FrontendKey {
    /// The entry with [`FRONTEND_ADDRESS`].
    #[must_use]
    #[inline(always)]
    pub const fn whole_address(address: Address) -> Self {
        Self { address, port: 0, protocol: 0, cluster: 0 }
    }
}

layout! {
    /// One slot of a service.
    pub struct BackendKey, 8 {
        /// [`Frontend::service_id`] or [`Frontend::external_id`].
        pub service_id: u32,
        /// Below the row's number of slots.
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
        /// Backend's address; with [`SERVICE_FLOW_DIRECT`] the underlay address of its node.
        pub address: Address,
        /// The row that the backend was chosen from.
        pub service_id: u32,
        /// Backend's port, host order; with [`SERVICE_FLOW_DIRECT`] 0.
        pub port: u16,
        /// `SERVICE_FLOW_*`.
        pub flags: u16,
        /// [`Backend::id`] of what was chosen.
        pub backend_id: u32,
        /// Zero.
        pub reserved2: u32,
    }
}

/// The flow's packets go to [`ServiceFlow::address`] through the tunnel as they are; the backend is that node's choice.
pub const SERVICE_FLOW_DIRECT: u16 = 1;

/// Entries of a Maglev table: a prime (Maglev, NSDI 2016 §3.4), about a hundred times the backends of a usual service.
pub const MAGLEV_SIZE: usize = 1021;

layout! {
    /// A row's Maglev table: a flow's hash, scaled to [`MAGLEV_SIZE`], → slot. A slot that the row has not means "choose at random".
    pub struct MaglevTable, 2048 {
        /// Numbers of slots, host order.
        pub slots: [u16; MAGLEV_SIZE],
        /// Zero; a verifier that sees the index as a byte offset alone wants room behind the last entry.
        pub reserved: [u16; 3],
    }
}

layout! {
    /// A client that comes back to the same backend (`sessionAffinity: ClientIP`).
    pub struct AffinityKey, 20 {
        /// The client's address; for sockets that are translated when they connect, [`AffinityKey::of_netns`]'s.
        pub client: Address,
        /// The row.
        pub service_id: u32,
    }
}

impl AffinityKey {
    /// The client that a network namespace is: a socket has no address yet when it connects. No packet has a source like
    /// this (multicast, RFC 4291 §2.7).
    #[must_use]
    #[inline(always)]
    pub const fn of_netns(cookie: u64, service_id: u32) -> Self {
        let [a, b, c, d, e, f, g, h] = cookie.to_be_bytes();
        Self { client: Address([0xff, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]), service_id }
    }
}

layout! {
    /// The backend that a client had last.
    pub struct Affinity, 32 {
        /// When it was last given, or last used; ns.
        pub last_used_ns: u64,
        /// Backend's address.
        pub address: Address,
        /// [`Backend::id`].
        pub backend_id: u32,
        /// Backend's port, host order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
    }
}

layout! {
    /// A backend that still is in a row: an [`Affinity`] to any other is void.
    pub struct AffinityMemberKey, 8 {
        /// The row.
        pub service_id: u32,
        /// [`Backend::id`].
        pub backend_id: u32,
    }
}

layout! {
    /// Clients that a frontend serves, by longest prefix (`loadBalancerSourceRanges`). `bpf_lpm_trie_key` of `linux/bpf.h`.
    pub struct SourceRangeKey, 24 {
        /// Bits of what follows that must match, the row's 32 included; host byte order.
        pub prefix_len: u32,
        /// [`Frontend::service_id`], whichever side the client is on.
        pub service_id: u32,
        /// The prefix; bits behind the length are zero.
        pub address: Address,
    }
}

impl SourceRangeKey {
    /// A prefix as people write it; bits behind the length are cleared.
    #[must_use]
    pub fn from_ip(service_id: u32, ip: core::net::IpAddr, length: u8) -> Self {
        // The row takes the place of the cluster before the address: the same number of bits.
        let prefix = crate::PrefixKey::from_ip(ip, length);
        Self { prefix_len: prefix.prefix_len, service_id, address: prefix.address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_masked_and_carry_their_row() {
        let key = SourceRangeKey::from_ip(7, "203.0.113.77".parse().unwrap(), 24);
        assert_eq!((key.prefix_len, key.service_id), (32 + 96 + 24, 7));
        assert_eq!(key.address, Address::from_v4([203, 0, 113, 0]));
        assert_eq!(SourceRangeKey::from_ip(7, "::".parse().unwrap(), 0).prefix_len, 32);
    }

    #[test]
    fn a_namespace_is_no_address_of_a_client() {
        let key = AffinityKey::of_netns(0x0102_0304_0506_0708, 7);
        assert!(!key.client.is_v4() && key.client.0[0] == 0xff && key.client.0[15] == 8);
    }
}
