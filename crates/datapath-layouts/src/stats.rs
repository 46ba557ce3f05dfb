//! Counters per CPU: index = drop reason (see [`crate::DropReason`]); from [`FORWARDED`] on, what passed, per point.

use crate::layout;

/// Number of slots.
pub const SLOTS: u32 = 512;
/// First slot of what passed; plus the observation point's number.
pub const FORWARDED: u32 = 256;
/// Events that found no room in the ring.
pub const EVENTS_LOST: u32 = 500;
/// Events written.
pub const EVENTS_WRITTEN: u32 = 501;
/// Masquerade: searches that found no port.
pub const NAT_EXHAUSTED: u32 = 502;
/// Flows created.
pub const FLOWS_CREATED: u32 = 503;
/// Packets that the XDP program sent on to another node; they count as forwarded too.
pub const XDP_SENT_ON: u32 = 505;
/// Neighbour, router and multicast-listener chatter of Pods, dropped without an event.
pub const QUIET_DROPS: u32 = 504;

layout! {
    /// One slot on one CPU.
    pub struct StatsValue, 16 {
        /// Packets.
        pub packets: u64,
        /// Bytes of IP packets.
        pub bytes: u64,
    }
}
