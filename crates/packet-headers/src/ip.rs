//! The two IP headers, as one thing.

use crate::{Packet, protocol};
use datapath_layouts::{Address, DropReason};

/// Most extension headers that are followed; more is an attack, not a packet.
const MAX_EXTENSIONS: usize = 6;
/// IPv6 extension header types (IANA "IPv6 Extension Header Types").
mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION: u8 = 60;
}

/// What an IP header says, whichever family. Filled in place: a result of this size would be copied on a stack that
/// has no room for copies.
#[derive(Clone, Copy)]
pub(crate) struct Ip {
    pub source: Address,
    pub destination: Address,
    /// Where the transport header starts, from the frame's start.
    pub l4_offset: u32,
    /// End of the IP packet, from the frame's start.
    pub end: u32,
    pub fragment_id: u32,
    pub protocol: u8,
    pub ttl: u8,
    /// Set when this is a fragment: the first (`offset == 0`) or a later one.
    pub fragment: Fragment,
    pub dont_fragment: bool,
}

impl Ip {
    pub(crate) const EMPTY: Self = Self {
        source: Address::ZERO,
        destination: Address::ZERO,
        l4_offset: 0,
        end: 0,
        fragment_id: 0,
        protocol: 0,
        ttl: 0,
        fragment: Fragment::Whole,
        dont_fragment: true,
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fragment {
    Whole,
    First,
    Later,
}

/// How much of the packet must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A packet on its way: all that the header announces.
    Whole,
    /// Quoted in an ICMP error: as much as the router cared to quote.
    Quoted,
}

/// IPv4 header at `offset` (RFC 791 §3.1).
#[inline(never)] // as ipv6
pub(crate) fn ipv4<P: Packet + ?Sized>(packet: &P, offset: u32, extent: Extent, ip: &mut Ip) -> Result<(), DropReason> {
    let Some(h) = packet.load::<20>(offset) else { return Err(DropReason::Truncated) };
    let header = u32::from(h[0] & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes([h[2], h[3]]));
    if h[0] >> 4 != 4 || header < 20 || (total != 0 && total < header) {
        return Err(DropReason::InvalidPacket);
    }
    // A segmented packet above 64 KiB (BIG TCP) announces 0: the frame's own length holds.
    let end = if total == 0 { packet.length() } else { offset + total };
    if extent == Extent::Whole && (end > packet.length() || end < offset + header) {
        return Err(DropReason::Truncated);
    }
    let position = u16::from_be_bytes([h[6], h[7]]);
    let (more, place) = (position & 0x2000 != 0, position & 0x1fff);
    let fragment = match (place, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    ip.source = Address::from_v4([h[12], h[13], h[14], h[15]]);
    ip.destination = Address::from_v4([h[16], h[17], h[18], h[19]]);
    ip.l4_offset = offset + header;
    ip.end = end;
    ip.fragment_id = u32::from(u16::from_be_bytes([h[4], h[5]]));
    ip.protocol = h[9];
    ip.ttl = h[8];
    ip.fragment = fragment;
    ip.dont_fragment = position & 0x4000 != 0;
    Ok(())
}

/// IPv6 header at `offset` with its extension headers (RFC 8200 §3, §4).
#[inline(never)] // in the kernel a subprogram, for the sake of its stack
pub(crate) fn ipv6<P: Packet + ?Sized>(packet: &P, offset: u32, extent: Extent, ip: &mut Ip) -> Result<(), DropReason> {
    let Some(h) = packet.load::<40>(offset) else { return Err(DropReason::Truncated) };
    if h[0] >> 4 != 6 {
        return Err(DropReason::InvalidPacket);
    }
    let payload = u32::from(u16::from_be_bytes([h[4], h[5]]));
    // 0 stands for a jumbogram or a segmented packet above 64 KiB: the frame's own length holds.
    let end = if payload == 0 { packet.length() } else { offset + 40 + payload };
    if extent == Extent::Whole && end > packet.length() {
        return Err(DropReason::Truncated);
    }
    copy16(&mut ip.source, &h, 8);
    copy16(&mut ip.destination, &h, 24);
    if ip.source.is_v4() || ip.destination.is_v4() {
        // v4-mapped addresses must not appear on the wire; here they would be taken for IPv4.
        return Err(DropReason::InvalidPacket);
    }
    ip.l4_offset = offset + 40;
    ip.end = end;
    ip.fragment_id = 0;
    ip.protocol = h[6];
    ip.ttl = h[7];
    ip.fragment = Fragment::Whole;
    ip.dont_fragment = true;
    extensions(packet, ip)
}

/// Walks the extension headers; leaves `ip` at the transport header.
#[inline(always)]
fn extensions<P: Packet + ?Sized>(packet: &P, ip: &mut Ip) -> Result<(), DropReason> {
    for _ in 0..MAX_EXTENSIONS {
        match ip.protocol {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION | extension::AUTHENTICATION => {
                let Some(e) = packet.load::<4>(ip.l4_offset) else { return Err(DropReason::Truncated) };
                if ip.protocol == extension::ROUTING && e[2] == 0 {
                    return Err(DropReason::InvalidExtensionHeader); // RFC 5095
                }
                let length = if ip.protocol == extension::AUTHENTICATION {
                    (u32::from(e[1]) + 2) * 4 // RFC 4302 §2.2
                } else {
                    (u32::from(e[1]) + 1) * 8
                };
                ip.protocol = e[0];
                ip.l4_offset += length;
            }
            extension::FRAGMENT => {
                let Some(e) = packet.load::<8>(ip.l4_offset) else { return Err(DropReason::Truncated) };
                if !matches!(ip.fragment, Fragment::Whole) {
                    return Err(DropReason::InvalidExtensionHeader);
                }
                let position = u16::from_be_bytes([e[2], e[3]]);
                ip.fragment_id = u32::from_be_bytes([e[4], e[5], e[6], e[7]]);
                ip.protocol = e[0];
                ip.l4_offset += 8;
                ip.fragment = match (position >> 3, position & 1) {
                    (0, 0) => Fragment::Whole, // an "atomic fragment", RFC 6946
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                if matches!(ip.fragment, Fragment::Later) {
                    return Ok(()); // what follows is payload
                }
            }
            extension::NO_NEXT => return Ok(()),
            _ => return Ok(()),
        }
        if ip.l4_offset > ip.end {
            return Err(DropReason::InvalidExtensionHeader);
        }
    }
    match ip.protocol {
        protocol::TCP | protocol::UDP | protocol::ICMPV6 | protocol::SCTP => Ok(()),
        _ => Err(DropReason::InvalidExtensionHeader),
    }
}

/// Sixteen bytes without a length that only run time knows.
#[inline(always)]
fn copy16(to: &mut Address, from: &[u8; 40], at: usize) {
    let mut i = 0;
    while i < 16 {
        to.0[i] = from[at + i];
        i += 1;
    }
}
