//! What one packet does to a tracked flow.

use datapath_layouts::Flow;
use datapath_layouts::flow::{flow_flags, flow_state};
use packet_headers::protocol::{self, tcp};

const SECOND: u64 = 1_000_000_000;
/// TCP with data possible: as long as Cilium's default, far beyond usual keep-alives (RFC 5382 asks for > 2 h 4 min).
pub const TCP_ESTABLISHED_NS: u64 = 6 * 3600 * SECOND;
/// TCP before its handshake or after its end (RFC 5382 REQ-5: at least 4 min is for idle transitory; 60 s as Linux
/// closes TIME-WAIT).
pub const TCP_TRANSITORY_NS: u64 = 60 * SECOND;
/// UDP both ways (RFC 4787 REQ-5 asks for at least 2 min).
pub const UDP_REPLIED_NS: u64 = 180 * SECOND;
/// SCTP both ways: a few of its heartbeats, which come every 30 s (RFC 9260 §16), as Linux has it.
pub const SCTP_REPLIED_NS: u64 = 210 * SECOND;
/// Anything one-sided, and ICMP (RFC 5508 REQ-1: 60 s).
pub const OTHER_NS: u64 = 60 * SECOND;

/// One packet as connection tracking sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Now, ns.
    pub now: u64,
    /// IP bytes.
    pub bytes: u64,
    /// Packets on the wire (segments of a GSO packet).
    pub packets: u64,
    /// TCP flags; 0 for others.
    pub tcp_flags: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// From responder to initiator.
    pub reply: bool,
}

/// What the packet changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing that anybody must act on.
    Continues,
    /// Both ends have spoken: the flow belongs into the main table.
    Established,
    /// The flow is over (both FINs, or a reset) and this packet made it so.
    Ended,
}

/// How long the flow may stay silent, ns.
#[must_use]
#[inline(always)]
pub const fn lifetime_ns(flow_protocol: u8, state: u8) -> u64 {
    match (flow_protocol, state) {
        (protocol::TCP, flow_state::ESTABLISHED) => TCP_ESTABLISHED_NS,
        (protocol::TCP, _) => TCP_TRANSITORY_NS,
        (protocol::UDP, flow_state::ESTABLISHED) => UDP_REPLIED_NS,
        (protocol::SCTP, flow_state::ESTABLISHED) => SCTP_REPLIED_NS,
        _ => OTHER_NS,
    }
}

/// When either end was last heard.
#[must_use]
#[inline(always)]
pub const fn last_seen_ns(flow: &Flow) -> u64 {
    if flow.forward.last_seen_ns > flow.reply.last_seen_ns {
        flow.forward.last_seen_ns
    } else {
        flow.reply.last_seen_ns
    }
}

/// Whether the entry stands for a flow that is no more.
#[must_use]
#[inline(always)]
pub const fn is_expired(flow: &Flow, flow_protocol: u8, now: u64) -> bool {
    now > last_seen_ns(flow).saturating_add(lifetime_ns(flow_protocol, flow.state))
}

/// Whether a packet starts the flow anew over an entry that has ended: a SYN after FINs or a reset (RFC 6191).
#[must_use]
#[inline(always)]
pub const fn reopens(flow: &Flow, flow_protocol: u8, tcp_flags: u8) -> bool {
    flow_protocol == protocol::TCP
        && (tcp_flags & (tcp::SYN | tcp::ACK)) == tcp::SYN
        && matches!(flow.state, flow_state::CLOSED | flow_state::RESET | flow_state::CLOSING)
}

/// Whether an ICMP error on the way to the initiator says that nobody listens at the port it asked: "port unreachable"
/// (RFC 792, RFC 4443 §3.1), to a flow that has not been answered.
#[must_use]
#[inline(always)]
pub const fn refuses(flow: &Flow, error_protocol: u8, icmp_type: u8, icmp_code: u8) -> bool {
    let port_unreachable =
        matches!((error_protocol, icmp_type, icmp_code), (protocol::ICMP, 3, 3) | (protocol::ICMPV6, 1, 4));
    port_unreachable && flow.state == flow_state::NEW
}

/// Whether a first packet may make an entry: a lone reset closes nothing that is known.
#[must_use]
#[inline(always)]
pub const fn may_open(flow_protocol: u8, tcp_flags: u8) -> bool {
    !(flow_protocol == protocol::TCP && tcp_flags & tcp::RST != 0)
}

/// Counts the packet and moves the state. For a new flow, call it on the fresh entry.
#[inline(always)]
pub fn advance(flow: &mut Flow, seen: &Seen) -> Progress {
    let counters = if seen.reply { &mut flow.reply } else { &mut flow.forward };
    counters.packets = counters.packets.wrapping_add(seen.packets);
    counters.bytes = counters.bytes.wrapping_add(seen.bytes);
    counters.last_seen_ns = seen.now;
    if seen.protocol == protocol::TCP {
        return advance_tcp(flow, seen);
    }
    if seen.reply && flow.state == flow_state::NEW {
        flow.state = flow_state::ESTABLISHED;
        return Progress::Established;
    }
    Progress::Continues
}

#[inline(always)]
fn advance_tcp(flow: &mut Flow, seen: &Seen) -> Progress {
    let bits = seen.tcp_flags;
    if seen.reply {
        flow.tcp_flags_reply |= bits;
    } else {
        flow.tcp_flags_forward |= bits;
    }
    if bits & tcp::RST != 0 {
        let first = !matches!(flow.state, flow_state::RESET | flow_state::CLOSED);
        flow.state = flow_state::RESET;
        return if first { Progress::Ended } else { Progress::Continues };
    }
    if bits & tcp::FIN != 0 {
        flow.flags |= if seen.reply { flow_flags::FIN_REPLY } else { flow_flags::FIN_FORWARD };
        let both = flow_flags::FIN_REPLY | flow_flags::FIN_FORWARD;
        if flow.flags & both == both {
            let first = !matches!(flow.state, flow_state::RESET | flow_state::CLOSED);
            flow.state = flow_state::CLOSED;
            return if first { Progress::Ended } else { Progress::Continues };
        }
        if !matches!(flow.state, flow_state::RESET | flow_state::CLOSED) {
            // A FIN in an entry that was never promoted (picked up late) still promotes it: both have spoken.
            let was_new = matches!(flow.state, flow_state::NEW | flow_state::SYN_RECEIVED);
            flow.state = flow_state::CLOSING;
            return if was_new { Progress::Established } else { Progress::Continues };
        }
        return Progress::Continues;
    }
    match flow.state {
        flow_state::NEW if seen.reply => {
            if bits & tcp::SYN != 0 {
                flow.state = flow_state::SYN_RECEIVED;
                Progress::Continues
            } else {
                flow.state = flow_state::ESTABLISHED;
                Progress::Established
            }
        }
        flow_state::NEW if bits & tcp::SYN == 0 && flow.flags & flow_flags::MIDSTREAM == 0 => {
            // The SYN-ACK went another way (a reply that this hook does not see).
            flow.state = flow_state::ESTABLISHED;
            Progress::Established
        }
        flow_state::SYN_RECEIVED if !seen.reply && bits & tcp::SYN == 0 => {
            flow.state = flow_state::ESTABLISHED;
            // By the clock of ticks, and more than nothing; a caller with a finer clock asks it now, once for a connection.
            flow.handshake_ns = seen.now.saturating_sub(flow.created_ns).max(1);
            Progress::Established
        }
        _ => Progress::Continues,
    }
}

#[cfg(test)]
mod tests;
