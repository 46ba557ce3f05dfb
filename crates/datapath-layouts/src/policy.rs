//! Policy: who is judged, which class a peer is in, and what a class may do on a port.
//!
//! ```text
//! policy id, direction ─▶ Policy ─ table ─▶ policy_peers ─▶ class ─▶ policy_rows, policy_ranges ─▶ Row
//! peer's identity ─▶ identities ─▶ (identity, namespace, kind) ──┘
//! peer's address ─▶ policy_cidrs ─▶ CidrId ──────────────────────┘
//! ```
//! Three sides speak about a packet: the class of the peer's identity (first hit of identity, namespace, kind), the class
//! of the longest named prefix that holds its address, and the policy's base class for whoever it may be. The highest
//! precedence of the three wins, deny wins ties. Memory grows with the peers that are treated *differently*, neither with
//! replicas nor with peers × ports.
//!
//! What makes a change atomic: a class never changes (another content is another number), a table is named by its
//! [`Policy`], so that a policy as a whole changes with one write. `datapath_logic::policy` reads all this.

use crate::layout;

/// Whose packets: what the judged end receives, or sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// Into the subject.
    Ingress = 0,
    /// Out of the subject.
    Egress = 1,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// The row says nothing here.
    None = 0,
    /// Lets it pass.
    Allow = 1,
    /// Drops it.
    Deny = 2,
    /// The Admin tier leaves it to the tiers below.
    Pass = 3,
    /// Reserved: to a proxy.
    Redirect = 4,
    /// Reserved: passes once both ends are authenticated.
    Authenticate = 5,
}

impl Action {
    /// The action with this number; what nobody wrote says nothing.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Allow,
            2 => Self::Deny,
            3 => Self::Pass,
            4 => Self::Redirect,
            5 => Self::Authenticate,
            _ => Self::None,
        }
    }
}

/// What kind of peer an identity is: the last level at which its class is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Not in this node's tables (yet): denied wherever a deny could apply.
    Unknown = 0,
    /// The own node.
    Host = 1,
    /// Another node.
    RemoteNode = 2,
    /// A Pod of the own cluster.
    Pod = 3,
    /// A Pod of another cluster.
    RemotePod = 4,
    /// Outside of all clusters, IPv4.
    WorldIpv4 = 5,
    /// Outside of all clusters, IPv6.
    WorldIpv6 = 6,
    /// The API server, outside of the cluster's nodes.
    ApiServer = 7,
    /// A Pod that Malla does not manage.
    Unmanaged = 8,
    /// A Pod without a known identity.
    Init = 9,
    /// A health endpoint.
    Health = 10,
    /// The ingress proxy.
    Ingress = 11,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Unknown,
        Self::Host,
        Self::RemoteNode,
        Self::Pod,
        Self::RemotePod,
        Self::WorldIpv4,
        Self::WorldIpv6,
        Self::ApiServer,
        Self::Unmanaged,
        Self::Init,
        Self::Health,
        Self::Ingress,
    ];

    /// Whether the peer is outside of the cluster: there alone does a prefix of [`level::CIDR_OUTSIDE`] hold.
    #[must_use]
    #[inline(always)]
    pub const fn is_outside(self) -> bool {
        Self::number_is_outside(self as u8)
    }

    /// The same of a kind's number.
    #[must_use]
    #[inline(always)]
    pub const fn number_is_outside(kind: u8) -> bool {
        kind == Self::WorldIpv4 as u8 || kind == Self::WorldIpv6 as u8 || kind == Self::ApiServer as u8
    }
}

/// [`Policy::flags`].
pub mod policy_flags {
    /// What no row speaks about is denied; otherwise it is allowed.
    pub const DEFAULT_DENY: u32 = 1;
    /// The table has entries for identities.
    pub const IDENTITIES: u32 = 2;
    /// The table has entries for namespaces.
    pub const NAMESPACES: u32 = 4;
    /// The table has entries for kinds.
    pub const KINDS: u32 = 8;
    /// The table has entries for prefixes.
    pub const CIDRS: u32 = 16;
    /// The policy did not fit into the tables: everything is denied. There is no table.
    pub const OVERFLOW: u32 = 32;
}

layout! {
    /// Whose policy, for which direction.
    pub struct PolicyKey, 8 {
        /// The subject's policy: [`crate::Endpoint::policy_id`].
        pub policy_id: u32,
        /// [`Direction`].
        pub direction: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

impl PolicyKey {
    /// Set in the policy id of a shadow ([`Policy::shadow`]).
    pub const SHADOW: u32 = 1 << 31;

    /// The key of a subject's direction.
    #[must_use]
    #[inline(always)]
    pub const fn new(policy_id: u32, direction: Direction) -> Self {
        Self { policy_id, direction: direction as u8, reserved: [0; 3] }
    }
}

layout! {
    /// One direction of a subject. A policy id other than 0 whose entry is missing denies everything: nobody is
    /// unprotected because a table came late.
    pub struct Policy, 24 {
        /// Changes with everything that could change a verdict, and never comes again.
        pub epoch: u32,
        /// Names the peers in `policy_peers`.
        pub table: u32,
        /// Class that speaks about every peer; 0 = none.
        pub base_class: u32,
        /// [`policy_flags`].
        pub flags: u32,
        /// Policy id by which a packet that passes is judged once more, only to report it (`malla.dev/audit`); 0 = none.
        pub shadow: u32,
        /// Zero.
        pub reserved: u32,
    }
}

layout! {
    /// What is known about an identity.
    pub struct IdentityInfo, 12 {
        /// Number of its namespace on this node; 0 = none.
        pub namespace: u32,
        /// Changes when the number means somebody else than before; never 0.
        pub generation: u32,
        /// [`Kind`].
        pub kind: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

/// [`PeerKey::level`].
pub mod level {
    /// `value` is an identity.
    pub const IDENTITY: u8 = 0;
    /// `value` is the number of a namespace.
    pub const NAMESPACE: u8 = 1;
    /// `value` is a [`super::Kind`].
    pub const KIND: u8 = 2;
    /// `value` is a [`super::CidrId`], for peers inside of the cluster.
    pub const CIDR: u8 = 3;
    /// `value` is a [`super::CidrId`], for peers outside: the prefixes of both scopes.
    pub const CIDR_OUTSIDE: u8 = 4;
    /// `value` is a [`super::CidrId`], for peers of whom it is not known.
    pub const CIDR_UNKNOWN: u8 = 5;
}

layout! {
    /// A peer, or all peers of one sort.
    pub struct PeerKey, 12 {
        /// [`Policy::table`].
        pub table: u32,
        /// What `level` says.
        pub value: u32,
        /// [`level`].
        pub level: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

/// The upper bits of a class' number: what it is worth looking for. The number as a whole is the class' name.
pub mod class_flags {
    /// There are rows of TCP alone; otherwise rows of protocol 0 speak for it.
    pub const TCP: u32 = 1 << 31;
    /// There are rows of UDP alone.
    pub const UDP: u32 = 1 << 30;
    /// There are rows of SCTP alone.
    pub const SCTP: u32 = 1 << 29;
    /// There are rows of other protocols alone (ICMP, ICMPv6, …).
    pub const OTHER: u32 = 1 << 28;
    /// There are port ranges.
    pub const RANGES: u32 = 1 << 27;
    /// All of them; the rest is a number.
    pub const ALL: u32 = TCP | UDP | SCTP | OTHER | RANGES;

    /// The flag of an IP protocol.
    #[must_use]
    #[inline(always)]
    pub const fn of_protocol(protocol: u8) -> u32 {
        match protocol {
            6 => TCP,
            17 => UDP,
            132 => SCTP,
            _ => OTHER,
        }
    }
}

/// [`RowKey::scope`].
pub mod row_scope {
    /// One port (ICMP: one type; its code does not count).
    pub const PORT: u8 = 0;
    /// All ports of the protocol that no other row speaks about; with protocol 0, all protocols.
    pub const PROTOCOL: u8 = 1;
}

layout! {
    /// A class and what of it.
    pub struct RowKey, 8 {
        /// The class, with its [`class_flags`].
        pub class: u32,
        /// Port of the destination, host order; ICMP: the type. 0 with [`row_scope::PROTOCOL`].
        pub port: u16,
        /// IP protocol number; 0 = every protocol that the class has no rows for.
        pub protocol: u8,
        /// [`row_scope`].
        pub scope: u8,
    }
}

layout! {
    /// Ports of a class that are neither one nor all; `bpf_lpm_trie_key` of `linux/bpf.h`.
    pub struct RangeKey, 12 {
        /// Bits of what follows that must match: [`Self::HEAD_BITS`] and the port's; host order.
        pub prefix_len: u32,
        /// The class, **network byte order** (any order would do, this one sorts).
        pub class: [u8; 4],
        /// IP protocol number.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
        /// The first ports' common bits, **network byte order**.
        pub port: [u8; 2],
    }
}

impl RangeKey {
    /// Bits before the port.
    pub const HEAD_BITS: u32 = 48;
    /// A whole port.
    pub const FULL: u32 = Self::HEAD_BITS + 16;

    /// Key of the ports that share their first `bits` bits with `port`.
    #[must_use]
    #[inline(always)]
    pub const fn new(class: u32, protocol: u8, port: u16, bits: u32) -> Self {
        Self {
            prefix_len: Self::HEAD_BITS + bits,
            class: class.to_be_bytes(),
            protocol,
            reserved: 0,
            port: port.to_be_bytes(),
        }
    }
}

/// [`Outcome::flags`].
pub mod outcome_flags {
    /// The rule asks for its verdicts to be logged.
    pub const LOG: u8 = 1;
}

/// [`Outcome::match_type`], Hubble's numbers (`policy_match_type` of flow.proto).
pub mod match_type {
    /// No rule.
    pub const NONE: u8 = 0;
    /// By the peer.
    pub const L3_ONLY: u8 = 1;
    /// By the peer and the port.
    pub const L3_L4: u8 = 2;
    /// By the port.
    pub const L4_ONLY: u8 = 3;
    /// A rule for everything.
    pub const ALL: u8 = 4;
    /// By the peer and the protocol.
    pub const L3_PROTO: u8 = 5;
    /// By the protocol.
    pub const PROTO_ONLY: u8 = 6;
}

layout! {
    /// What the best rule of some tiers says.
    pub struct Outcome, 12 {
        /// The higher one wins.
        pub precedence: u32,
        /// Number of the rule; 0 = none of an object.
        pub rule: u32,
        /// [`Action`].
        pub action: u8,
        /// [`match_type`] of the rule.
        pub match_type: u8,
        /// [`outcome_flags`].
        pub flags: u8,
        /// Zero.
        pub reserved: u8,
    }
}

layout! {
    /// What a class may do there. Two outcomes, because an Admin rule of one side may pass to what another side says below.
    pub struct Row, 24 {
        /// The Admin tier.
        pub admin: Outcome,
        /// Every tier below it.
        pub rest: Outcome,
    }
}

layout! {
    /// Names a prefix.
    pub struct CidrId, 4 {
        /// Never 0.
        pub id: u32,
    }
}
