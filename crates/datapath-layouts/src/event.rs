//! The record that programs put into the ring: always the same size.

use crate::{Address, layout};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// A packet was dropped; `reason` says why.
    Drop = 1,
    /// The first packet of a flow was judged.
    NewFlow = 2,
    /// A packet passed (only while somebody traces).
    Trace = 3,
    /// A flow ended (FIN from both, or RST); the counters are whole.
    EndOfFlow = 4,
    /// A flow passed that a policy in audit mode would have dropped; `reason` and `rule` say why. Once per flow, end and
    /// reading of the policy clock.
    Audit = 5,
}

impl EventKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Drop,
            2 => Self::NewFlow,
            3 => Self::Trace,
            4 => Self::EndOfFlow,
            5 => Self::Audit,
            _ => return None,
        })
    }
}

macro_rules! points {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Where a packet was seen: Hubble's `TraceObservationPoint`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ObservationPoint { $($(#[$meta])* $name = $number,)* }
        impl ObservationPoint {
            /// The point with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
            /// Hubble's name, in the form `hubble observe` prints.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}
points! {
    /// Handed to the host's stack.
    ToHost = 2, "to-host";
    /// Handed to the kernel's routing.
    ToStack = 3, "to-stack";
    /// Put into the tunnel.
    ToOverlay = 4, "to-overlay";
    /// Came from a Pod.
    FromEndpoint = 5, "from-endpoint";
    /// Came from the host's stack.
    FromHost = 7, "from-host";
    /// Came out of the tunnel.
    FromOverlay = 9, "from-overlay";
    /// Came from the node's device.
    FromNetwork = 10, "from-network";
    /// Left through the node's device.
    ToNetwork = 11, "to-network";
    /// Given to a Pod.
    ToEndpoint = 101, "to-endpoint";
}

/// Flags of [`Event::flags`].
pub mod event_flags {
    /// The packet goes from responder to initiator.
    pub const REPLY: u8 = 1;
    /// An ICMP error about a tracked flow.
    pub const RELATED: u8 = 2;
    /// `original_*` hold the service address before translation.
    pub const TRANSLATED: u8 = 4;
    /// The flow ended by a reset.
    pub const RESET: u8 = 8;
    /// A later fragment: ports are from its first.
    pub const FRAGMENT: u8 = 16;
    /// The program's direction: into a Pod (ingress at the endpoint).
    pub const INGRESS: u8 = 32;
    /// `original_*` hold the service that the initiator's socket asked for: its call was translated, not its packets.
    pub const ASKED: u8 = 64;
}

/// How an end of a flow is known: [`Event::reason`] of [`EventKind::EndOfFlow`].
pub mod end {
    /// By the packet.
    pub const SEEN: u8 = 0;
    /// Nobody has spoken for as long as its entry lives. Told by the agent, as the next.
    pub const SILENT: u8 = 1;
    /// A Pod at one end is no more.
    pub const GONE: u8 = 2;
    /// As [`SILENT`], and an ICMP error had said last that nobody listens at the responder's port.
    pub const REFUSED: u8 = 3;
}

layout! {
    /// One event.
    pub struct Event, 176 {
        /// When, monotonic clock (`bpf_ktime_get_ns`, exact).
        pub time_ns: u64,
        /// Source as the packet has it when reported.
        pub source: Address,
        /// Destination as the packet has it when reported.
        pub destination: Address,
        /// What the initiator addressed before translation (with [`event_flags::TRANSLATED`] or [`event_flags::ASKED`]).
        pub original: Address,
        /// Other end of the tunnel, where one was used; zero = none.
        pub tunnel: Address,
        /// End of flow: bytes of the initiator.
        pub forward_bytes: u64,
        /// End of flow: bytes of the responder.
        pub reply_bytes: u64,
        /// End of flow: packets of the initiator.
        pub forward_packets: u64,
        /// End of flow: packets of the responder.
        pub reply_packets: u64,
        /// End of flow: ns since its first packet.
        pub duration_ns: u64,
        /// End of flow: length of the handshake, ns; 0 = not seen.
        pub handshake_ns: u64,
        /// A call that a socket hook refused: the network namespace of its socket, which has no address yet. Otherwise 0.
        pub netns_cookie: u64,
        /// Identity of the source.
        pub source_identity: u32,
        /// Identity of the destination.
        pub destination_identity: u32,
        /// Device on which the program ran.
        pub ifindex: u32,
        /// Bytes of the packet, from its IP header.
        pub length: u32,
        /// The rule that decided; 0 = none.
        pub rule: u32,
        /// Source port (ICMP: id), host order.
        pub source_port: u16,
        /// Destination port (ICMP: id), host order.
        pub destination_port: u16,
        /// Port of `original`, host order.
        pub original_port: u16,
        /// [`EventKind`].
        pub kind: u8,
        /// [`ObservationPoint`] of the program that reports.
        pub point: u8,
        /// [`crate::DropReason`]; 0 = not dropped. Of [`EventKind::Audit`], the one that it would have been; of
        /// [`EventKind::EndOfFlow`], one of [`end`].
        pub reason: u8,
        /// IP protocol number.
        pub protocol: u8,
        /// TCP flags of the packet.
        pub tcp_flags: u8,
        /// ICMP type.
        pub icmp_type: u8,
        /// ICMP code.
        pub icmp_code: u8,
        /// [`event_flags`].
        pub flags: u8,
        /// CPU on which it happened.
        pub cpu: u16,
        /// A flow that begins or ended: the rule that let it out of its initiator; 0 = none, or that end is not here.
        pub egress_rule: u32,
        /// And the one that let it into its responder.
        pub ingress_rule: u32,
        /// End of flow: every TCP flag of the initiator.
        pub tcp_flags_forward: u8,
        /// End of flow: every TCP flag of the responder.
        pub tcp_flags_reply: u8,
        /// Who follows this packet: one bit per place in [`crate::Followed`]; 0 = nobody.
        pub followed: u16,
    }
}
