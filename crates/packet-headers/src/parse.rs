//! A frame, read once.

use crate::icmp::{Meaning, meaning};
use crate::ip::{Extent, Fragment, Ip, ipv4, ipv6};
use crate::{ETHERNET_HEADER, Packet, protocol};
use datapath_layouts::{Address, DropReason};

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An IP packet; [`Headers`] are filled in.
    Ip,
    /// ARP.
    Arp,
    /// Something else, by its EtherType.
    Other(u16),
}

/// Bits of [`Headers::flags`].
pub mod flags {
    /// IPv6.
    pub const V6: u8 = 1;
    /// First fragment: has ports.
    pub const FIRST_FRAGMENT: u8 = 2;
    /// Later fragment: ports are known only from the first.
    pub const LATER_FRAGMENT: u8 = 4;
    /// Must not be fragmented on the way (always set for IPv6).
    pub const DONT_FRAGMENT: u8 = 8;
    /// An ICMP error; the quoted packet is in the `inner_*` fields.
    pub const ICMP_ERROR: u8 = 16;
}

/// The facts of one packet. Ports are in host byte order; for ICMP queries both "ports" are the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Headers {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// ICMP error: source of the quoted packet.
    pub inner_source: Address,
    /// ICMP error: destination of the quoted packet.
    pub inner_destination: Address,
    /// IP packet's length, bytes.
    pub length: u32,
    /// Transport header, from the frame's start.
    pub l4_offset: u32,
    /// ICMP error: quoted IP header, from the frame's start.
    pub inner_l3_offset: u32,
    /// ICMP error: quoted transport header.
    pub inner_l4_offset: u32,
    /// Identification of a fragmented datagram.
    pub fragment_id: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Quoted source port.
    pub inner_source_port: u16,
    /// Quoted destination port.
    pub inner_destination_port: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// Quoted transport protocol; 0 = nothing usable was quoted.
    pub inner_protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// [`flags`].
    pub flags: u8,
    /// Length of a TCP header with its options, bytes; 8 for UDP; 0 where it matters to nobody.
    pub transport_header: u8,
}

impl Headers {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        source: Address::ZERO,
        destination: Address::ZERO,
        inner_source: Address::ZERO,
        inner_destination: Address::ZERO,
        length: 0,
        l4_offset: 0,
        inner_l3_offset: 0,
        inner_l4_offset: 0,
        fragment_id: 0,
        source_port: 0,
        destination_port: 0,
        inner_source_port: 0,
        inner_destination_port: 0,
        protocol: 0,
        inner_protocol: 0,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        ttl: 0,
        flags: 0,
        transport_header: 0,
    };

    /// Whether this bit of [`flags`] is set.
    #[must_use]
    #[inline(always)]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Reads a frame into `headers`, with what an ICMP error quotes.
///
/// # Errors
/// The reason to drop it: truncated, contradictory, or a forbidden extension header.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<Content, DropReason> {
    let content = parse_outer(packet, headers)?;
    if content == Content::Ip && headers.is(flags::ICMP_ERROR) {
        parse_quoted(packet, headers);
    }
    Ok(content)
}

/// [`parse`] without the quote; the kernel's stack has no room for both at once.
///
/// # Errors
/// As [`parse`].
#[inline(always)]
pub fn parse_outer<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) -> Result<Content, DropReason> {
    let Some([high, low]) = packet.load::<2>(12) else { return Err(DropReason::Truncated) };
    let mut ip = Ip::EMPTY;
    match u16::from_be_bytes([high, low]) {
        protocol::ETHERTYPE_IPV4 => {
            headers.flags = 0;
            ipv4(packet, ETHERNET_HEADER, Extent::Whole, &mut ip)?;
        }
        protocol::ETHERTYPE_IPV6 => {
            headers.flags = flags::V6;
            ipv6(packet, ETHERNET_HEADER, Extent::Whole, &mut ip)?;
        }
        protocol::ETHERTYPE_ARP => return Ok(Content::Arp),
        other => return Ok(Content::Other(other)),
    }
    headers.source = ip.source;
    headers.destination = ip.destination;
    headers.length = ip.end - ETHERNET_HEADER;
    headers.l4_offset = ip.l4_offset;
    headers.fragment_id = ip.fragment_id;
    headers.protocol = ip.protocol;
    headers.ttl = ip.ttl;
    headers.source_port = 0;
    headers.destination_port = 0;
    headers.inner_protocol = 0;
    headers.tcp_flags = 0;
    headers.transport_header = if ip.protocol == protocol::UDP { 8 } else { 0 };
    headers.icmp_type = 0;
    headers.icmp_code = 0;
    if ip.dont_fragment {
        headers.flags |= flags::DONT_FRAGMENT;
    }
    match ip.fragment {
        Fragment::Whole => {}
        Fragment::First => headers.flags |= flags::FIRST_FRAGMENT,
        Fragment::Later => {
            headers.flags |= flags::LATER_FRAGMENT;
            return Ok(Content::Ip);
        }
    }
    transport(packet, &ip, headers)?;
    Ok(Content::Ip)
}

/// Ports, flags, and what an ICMP error quotes.
#[inline(always)]
fn transport<P: Packet + ?Sized>(packet: &P, ip: &Ip, headers: &mut Headers) -> Result<(), DropReason> {
    let v6 = headers.is(flags::V6);
    match ip.protocol {
        protocol::TCP => {
            let Some(t) = packet.load::<14>(ip.l4_offset) else { return Err(DropReason::Truncated) };
            let header = u32::from(t[12] >> 4) * 4;
            if header < 20 {
                return Err(DropReason::InvalidPacket);
            }
            if ip.l4_offset + header > ip.end {
                return Err(DropReason::Truncated);
            }
            headers.source_port = u16::from_be_bytes([t[0], t[1]]);
            headers.destination_port = u16::from_be_bytes([t[2], t[3]]);
            headers.tcp_flags = t[13];
            headers.transport_header = header as u8;
        }
        protocol::UDP | protocol::SCTP => {
            let Some(t) = packet.load::<8>(ip.l4_offset) else { return Err(DropReason::Truncated) };
            if ip.l4_offset + 8 > ip.end {
                return Err(DropReason::Truncated);
            }
            headers.source_port = u16::from_be_bytes([t[0], t[1]]);
            headers.destination_port = u16::from_be_bytes([t[2], t[3]]);
        }
        // Each only with its own family: the other's numbers mean something else there.
        protocol::ICMP | protocol::ICMPV6 if (ip.protocol == protocol::ICMPV6) == v6 => {
            let Some(t) = packet.load::<8>(ip.l4_offset) else { return Err(DropReason::Truncated) };
            if ip.l4_offset + 8 > ip.end {
                return Err(DropReason::Truncated);
            }
            headers.icmp_type = t[0];
            headers.icmp_code = t[1];
            match meaning(ip.protocol, t[0]) {
                Meaning::Query => {
                    headers.source_port = u16::from_be_bytes([t[4], t[5]]);
                    headers.destination_port = headers.source_port;
                }
                Meaning::Error if !headers.is(flags::FIRST_FRAGMENT) => headers.flags |= flags::ICMP_ERROR,
                Meaning::Error | Meaning::Other => {}
            }
        }
        _ => {}
    }
    Ok(())
}

/// The packet that an ICMP error (its headers read by [`parse_outer`]) is about. What can't be read is no error of the outer packet: it stays unrelated.
#[inline(always)]
pub fn parse_quoted<P: Packet + ?Sized>(packet: &P, headers: &mut Headers) {
    let offset = headers.l4_offset + 8;
    let mut inner = Ip::EMPTY;
    let read = if headers.is(flags::V6) {
        ipv6(packet, offset, Extent::Quoted, &mut inner)
    } else {
        ipv4(packet, offset, Extent::Quoted, &mut inner)
    };
    if read.is_err() {
        return;
    }
    if inner.fragment == Fragment::Later {
        return;
    }
    let (source_port, destination_port) = match inner.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let Some(t) = packet.load::<4>(inner.l4_offset) else { return };
            (u16::from_be_bytes([t[0], t[1]]), u16::from_be_bytes([t[2], t[3]]))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let Some(t) = packet.load::<6>(inner.l4_offset) else { return };
            if meaning(inner.protocol, t[0]) != Meaning::Query {
                return;
            }
            let id = u16::from_be_bytes([t[4], t[5]]);
            (id, id)
        }
        _ => return,
    };
    headers.inner_source = inner.source;
    headers.inner_destination = inner.destination;
    headers.inner_l3_offset = offset;
    headers.inner_l4_offset = inner.l4_offset;
    headers.inner_source_port = source_port;
    headers.inner_destination_port = destination_port;
    headers.inner_protocol = inner.protocol;
}
