//! Names of the maps, the version of each layout, and their sizes.
//!
//! A map is pinned as `<name>_v<version>`. Change a key or a value and its version goes up: the next agent then loads
//! the new map beside the old one instead of misreading it.

/// One map of the datapath.
#[derive(Clone, Copy, Debug)]
pub struct MapInfo {
    /// Name in the object, at most 15 bytes.
    pub name: &'static str,
    /// Version of key and value layout.
    pub version: u32,
    /// Entries in the `lab` profile.
    pub lab: u32,
    /// Entries in the `node` profile.
    pub node: u32,
}

macro_rules! maps {
    ($($(#[$meta:meta])* $id:ident = $name:literal, v $version:literal, lab $lab:expr, node $node:expr;)*) => {
        $($(#[$meta])* pub const $id: MapInfo = MapInfo { name: $name, version: $version, lab: $lab, node: $node };)*
        /// Every map that is pinned.
        pub const ALL: &[MapInfo] = &[$($id),*];
    };
}

maps! {
    /// [`crate::AddressKey`] → [`crate::Endpoint`]; hash.
    ENDPOINTS = "endpoints", v 1, lab 1024, node 4096;
    /// [`crate::PrefixKey`] → [`crate::Route`]; LPM.
    IPCACHE = "ipcache", v 1, lab 4096, node 512_000;
    /// [`crate::AddressKey`] → [`crate::Neighbour`]; hash. Both addresses of each node on the link.
    NEIGHBOURS = "neighbours", v 1, lab 1024, node 16_384;
    /// [`crate::FrontendKey`] → [`crate::Frontend`]; hash.
    FRONTENDS = "frontends", v 2, lab 16_384, node 262_144;
    /// [`crate::BackendKey`] → [`crate::Backend`]; hash.
    BACKENDS = "backends", v 1, lab 65_536, node 1_048_576;
    /// `u32` (row) → [`crate::MaglevTable`]; hash, 2 KiB of kernel memory each while it exists.
    MAGLEV = "maglev", v 1, lab 4096, node 65_536;
    /// [`crate::AffinityKey`] → [`crate::Affinity`]; LRU.
    AFFINITY = "affinity", v 1, lab 4096, node 131_072;
    /// [`crate::AffinityMemberKey`] → `u8`; hash.
    AFFINITY_MEMBER = "affinity_member", v 1, lab 16_384, node 262_144;
    /// [`crate::SourceRangeKey`] → `u8`; LPM.
    SOURCE_RANGES = "source_ranges", v 1, lab 4096, node 65_536;
    /// [`crate::FlowKey`] → [`crate::Flow`]; LRU. Flows that both ends have spoken in.
    CONNTRACK = "conntrack", v 1, lab 16_384, node 524_288;
    /// [`crate::FlowKey`] → [`crate::Flow`]; LRU. Flows of one voice: a SYN flood evicts only its like.
    HALF_OPEN = "half_open", v 1, lab 8192, node 131_072;
    /// [`crate::FlowKey`] → [`crate::ServiceFlow`]; LRU.
    SERVICE_FLOWS = "service_flows", v 1, lab 8192, node 262_144;
    /// [`crate::NatKey`] → [`crate::NatMapping`]; LRU.
    NAT = "nat", v 1, lab 8192, node 262_144;
    /// [`crate::FragmentKey`] → [`crate::FragmentPorts`]; LRU.
    FRAGMENTS = "fragments", v 1, lab 1024, node 8192;
    /// [`crate::SocketReverseKey`] → [`crate::SocketReverse`]; LRU.
    SOCKET_REVERSE = "socket_reverse", v 1, lab 8192, node 262_144;
    /// `u64` (network namespace, `SO_NETNS_COOKIE`) → `u8`; hash. Pods whose sockets the socket hooks leave alone.
    UNTRANSLATED = "untranslated", v 1, lab 1024, node 4096;
    /// `u32` → [`crate::TcpEndPlace`]; array that the agent has in its memory, and reads within a tenth of a second.
    TCP_ENDS = "tcp_ends", v 2, lab crate::tcp::PLACES, node crate::tcp::PLACES;
    /// [`crate::Event`]s; ring buffer, size in bytes.
    EVENTS = "events", v 2, lab 1 << 20, node 8 << 20;
    /// `u32` → [`crate::StatsValue`]; per-CPU array.
    STATS = "stats", v 1, lab 512, node 512;
    /// [`crate::PolicyKey`] → [`crate::Policy`]; hash.
    POLICIES = "policies", v 1, lab 2048, node 16_384;
    /// `u32` (identity) → [`crate::IdentityInfo`]; hash.
    IDENTITIES = "identities", v 1, lab 8192, node 131_072;
    /// [`crate::PeerKey`] → `u32` (class); hash.
    POLICY_PEERS = "policy_peers", v 1, lab 32_768, node 1_048_576;
    /// [`crate::PrefixKey`] → [`crate::CidrId`]; LPM.
    POLICY_CIDRS = "policy_cidrs", v 1, lab 4096, node 65_536;
    /// [`crate::RowKey`] → [`crate::Row`]; hash.
    POLICY_ROWS = "policy_rows", v 1, lab 32_768, node 524_288;
    /// [`crate::RangeKey`] → [`crate::Row`]; LPM.
    POLICY_RANGES = "policy_ranges", v 1, lab 8192, node 131_072;
    /// One `u32`; array. Goes up after every change of what the maps above say, and of an endpoint's policy.
    POLICY_CLOCK = "policy_clock", v 1, lab 1, node 1;
    /// One [`crate::Followed`]; array. Whose packets are told one by one.
    FOLLOWED = "followed", v 1, lab 1, node 1;
}
