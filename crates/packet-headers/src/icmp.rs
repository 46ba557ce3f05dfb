//! ICMP and ICMPv6: which messages are errors about another packet, which carry an id, which are neighbour chatter.

use crate::protocol;

/// What a message means to connection tracking.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Quotes the packet that it is about.
    Error,
    /// A query or its answer, matched by id.
    Query,
    /// Anything else.
    Other,
}

/// Meaning of a type (RFC 792; RFC 4443 §2.1).
#[inline(always)]
pub(crate) fn meaning(protocol: u8, icmp_type: u8) -> Meaning {
    if protocol == protocol::ICMPV6 {
        match icmp_type {
            1..=4 => Meaning::Error,
            128 | 129 => Meaning::Query,
            _ => Meaning::Other,
        }
    } else {
        match icmp_type {
            3 | 4 | 5 | 11 | 12 => Meaning::Error,
            0 | 8 | 13 | 14 => Meaning::Query,
            _ => Meaning::Other,
        }
    }
}

/// Neighbour and router discovery and multicast listener reports: a Pod's kernel sends them by itself; they concern
/// nobody else (its only neighbour is fixed).
#[must_use]
#[inline(always)]
pub const fn is_neighbour_chatter(protocol: u8, icmp_type: u8) -> bool {
    protocol == protocol::ICMPV6 && matches!(icmp_type, 130..=137 | 143)
}
