//! Connection tracking: one entry finds both directions of a flow.

use crate::{Address, layout};

layout! {
    /// A flow, whichever direction a packet has: the end with the smaller (address, port) is *low*.
    pub struct FlowKey, 40 {
        /// The smaller end's address.
        pub low: Address,
        /// The larger end's address.
        pub high: Address,
        /// The smaller end's port (ICMP: the echo id at both ends), host order.
        pub low_port: u16,
        /// The larger end's port.
        pub high_port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// Cluster of the smaller end's address.
        pub low_cluster: u8,
        /// Cluster of the larger end's address.
        pub high_cluster: u8,
        /// Zero.
        pub reserved: u8,
    }
}

layout! {
    /// One direction's share.
    pub struct Counters, 24 {
        /// Packets (a GSO packet counts as its segments).
        pub packets: u64,
        /// Bytes of IP packets.
        pub bytes: u64,
        /// Last packet.
        pub last_seen_ns: u64,
    }
}

layout! {
    /// What accepted the flow at one end. While policy, epoch, peer and generation stand, no policy is looked up.
    pub struct Half, 24 {
        /// Policy that judged; 0 = none applies.
        pub policy_id: u32,
        /// The policy's epoch, read before the lookup.
        pub epoch: u32,
        /// Identity of the peer as judged.
        pub peer_identity: u32,
        /// Generation of the peer's entry.
        pub peer_generation: u32,
        /// The rule that decided; 0 = no rule.
        pub rule: u32,
        /// [`half_state`].
        pub state: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

/// States of a [`Half`].
pub mod half_state {
    /// This end is not on this node, or has not been judged.
    pub const UNJUDGED: u8 = 0;
    /// Accepted.
    pub const ACCEPTED: u8 = 1;
    /// Refused; replies do not pass either.
    pub const DENIED: u8 = 2;
}

/// States of [`Flow::state`]; TCP's as seen from the middle (RFC 9293 §3.3.2), the first two for every protocol.
pub mod flow_state {
    /// Only the initiator has spoken.
    pub const NEW: u8 = 0;
    /// Both have spoken (TCP: and the handshake is done).
    pub const ESTABLISHED: u8 = 1;
    /// TCP: the responder answered with SYN-ACK.
    pub const SYN_RECEIVED: u8 = 2;
    /// TCP: one side has closed.
    pub const CLOSING: u8 = 3;
    /// TCP: both sides have closed.
    pub const CLOSED: u8 = 4;
    /// TCP: reset.
    pub const RESET: u8 = 5;
}

/// Flags of [`Flow::flags`].
pub mod flow_flags {
    /// The initiator is the key's *high* end.
    pub const INITIATOR_HIGH: u16 = 1;
    /// The initiator sent FIN.
    pub const FIN_FORWARD: u16 = 2;
    /// The responder sent FIN.
    pub const FIN_REPLY: u16 = 4;
    /// `service_address`/`service_port` hold what the initiator addressed; replies get it as their source.
    pub const SERVICE: u16 = 8;
    /// Replies go through the tunnel to `entry_node`, where the client entered.
    pub const VIA_ENTRY: u16 = 16;
    /// This node only forwards between client and a backend elsewhere (NodePort).
    pub const FORWARDED: u16 = 32;
    /// The end of this flow was reported.
    pub const END_REPORTED: u16 = 64;
    /// Picked up in the middle: no handshake was seen.
    pub const MIDSTREAM: u16 = 128;
    /// The client has another port here than it uses itself (with [`VIA_ENTRY`]).
    pub const ALIASED: u16 = 256;
    /// `service_address`/`service_port` hold what the initiator's socket asked for: its call was translated, its packets are not.
    pub const ASKED: u16 = 512;
    /// An ICMP error said that nobody listens at the responder's port, before it had said anything.
    pub const REFUSED: u16 = 1024;
}

layout! {
    /// A tracked flow.
    pub struct Flow, 160 {
        /// First packet, by the exact clock; all other times of it are of the kernel's last tick.
        pub created_ns: u64,
        /// Initiator to responder.
        pub forward: Counters,
        /// Responder to initiator. Without a packet its time is that of the last refusal ([`flow_flags::REFUSED`]).
        pub reply: Counters,
        /// SYN to the ACK that ended the handshake, ns; 0 = not seen.
        pub handshake_ns: u64,
        /// The initiator's end.
        pub source: Half,
        /// The responder's end.
        pub destination: Half,
        /// What the initiator addressed, when that was a service ([`flow_flags::SERVICE`], [`flow_flags::ASKED`]).
        pub service_address: Address,
        /// Underlay address of the node through which the client came in.
        pub entry_node: Address,
        /// Identity of the initiator.
        pub source_identity: u32,
        /// Identity of the responder.
        pub destination_identity: u32,
        /// Port of the service, host order.
        pub service_port: u16,
        /// [`flow_flags`].
        pub flags: u16,
        /// [`flow_state`].
        pub state: u8,
        /// Every TCP flag seen from the initiator.
        pub tcp_flags_forward: u8,
        /// Every TCP flag seen from the responder.
        pub tcp_flags_reply: u8,
        /// Zero.
        pub reserved: u8,
    }
}
