//! Rewriting one end of a packet: address, port, every checksum, and in an ICMP error the quoted packet too.

use datapath_layouts::{Address, DropReason};
use packet_headers::{ETHERNET_HEADER, flags, protocol};

use crate::code::{self, Code};
use crate::scratch::Scratch;
use crate::skb::Skb;

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// Offset of an end's address in the IP header at `l3`.
#[inline(always)]
const fn address_offset(l3: u32, end: End, v6: bool) -> u32 {
    match (end, v6) {
        (End::Source, false) => l3 + 12,
        (End::Destination, false) => l3 + 16,
        (End::Source, true) => l3 + 8,
        (End::Destination, true) => l3 + 24,
    }
}

#[inline(always)]
fn store_address(skb: Skb, offset: u32, address: &Address, v6: bool) -> Result<(), DropReason> {
    if v6 { skb.store(offset, &address.0) } else { skb.store(offset, &address.v4_octets()) }
}

/// Gives `end` the address and port in `s.chosen` (see [`rewrite`]).
#[inline(always)]
pub fn translate(skb: Skb, s: &mut Scratch, end: End) -> Result<(), DropReason> {
    code::decode(match end {
        End::Source => rewrite_source(skb, s),
        End::Destination => rewrite_destination(skb, s),
    })
}

#[inline(never)]
fn rewrite_source(skb: Skb, s: &mut Scratch) -> Code {
    code::encode(rewrite(skb, s, End::Source, s.chosen, s.chosen_port as u16))
}

#[inline(never)]
fn rewrite_destination(skb: Skb, s: &mut Scratch) -> Code {
    code::encode(rewrite(skb, s, End::Destination, s.chosen, s.chosen_port as u16))
}

/// Gives `end` another address and port. In an ICMP error the quoted packet goes the other way, so its other end is
/// rewritten; the outer address only when it was the translated one (and not a router's on the way).
#[inline(always)]
fn rewrite(skb: Skb, s: &mut Scratch, end: End, address: Address, port: u16) -> Result<(), DropReason> {
    let v6 = s.headers.is(flags::V6);
    if s.headers.is(flags::ICMP_ERROR) {
        return translate_error(skb, s, end, address, port, v6);
    }
    let old = if end == End::Source { s.headers.source } else { s.headers.destination };
    let old_port = if end == End::Source { s.headers.source_port } else { s.headers.destination_port };
    let transport = s.headers.protocol;
    let l4 = s.headers.l4_offset;
    if !s.headers.is(flags::LATER_FRAGMENT) {
        if let Some(checksum) = protocol::checksum_offset(transport) {
            let udp = transport == protocol::UDP;
            if protocol::has_pseudo_header(transport) {
                skb.replace_address(l4 + checksum, &old, &address, true, udp)?;
            }
            if port != old_port {
                let offset = match (transport, end) {
                    (protocol::ICMP | protocol::ICMPV6, _) => l4 + 4,
                    (_, End::Source) => l4,
                    (_, End::Destination) => l4 + 2,
                };
                skb.replace_port(l4 + checksum, old_port.to_be(), port.to_be(), udp)?;
                skb.store(offset, &port.to_be_bytes())?;
            }
        } else if port != old_port {
            // SCTP's checksum is a CRC over everything: a port can't be changed without the whole packet.
            return Err(DropReason::UnknownL4Protocol);
        }
    }
    rewrite_outer(skb, end, &old, &address, v6)?;
    if end == End::Source {
        s.headers.source = address;
        s.headers.source_port = port;
    } else {
        s.headers.destination = address;
        s.headers.destination_port = port;
    }
    if matches!(transport, protocol::ICMP | protocol::ICMPV6) {
        s.headers.source_port = port;
        s.headers.destination_port = port;
    }
    Ok(())
}

/// The address in the outer IP header, with IPv4's header checksum.
#[inline(always)]
fn rewrite_outer(skb: Skb, end: End, old: &Address, new: &Address, v6: bool) -> Result<(), DropReason> {
    if !v6 {
        skb.replace_l3(ETHERNET_HEADER + 10, old.words()[3], new.words()[3], 4)?;
    }
    store_address(skb, address_offset(ETHERNET_HEADER, end, v6), new, v6)
}

#[inline(always)]
fn translate_error(
    skb: Skb,
    s: &mut Scratch,
    end: End,
    address: Address,
    port: u16,
    v6: bool,
) -> Result<(), DropReason> {
    let h = &mut s.headers;
    let inner_end = if end == End::Source { End::Destination } else { End::Source };
    let (inner_old, inner_port) = if inner_end == End::Source {
        (h.inner_source, h.inner_source_port)
    } else {
        (h.inner_destination, h.inner_destination_port)
    };
    let outer_old = if end == End::Source { h.source } else { h.destination };
    let checksum = h.l4_offset + 2;
    // The quoted port or id. Its own transport checksum is left as it was quoted: nobody can verify a cut packet.
    if port != inner_port {
        let offset = match (h.inner_protocol, inner_end) {
            (protocol::ICMP | protocol::ICMPV6, _) => h.inner_l4_offset + 4,
            (_, End::Source) => h.inner_l4_offset,
            (_, End::Destination) => h.inner_l4_offset + 2,
        };
        skb.replace_port(checksum, inner_port.to_be(), port.to_be(), false)?;
        skb.store(offset, &port.to_be_bytes())?;
    }
    let inner_offset = address_offset(h.inner_l3_offset, inner_end, v6);
    if v6 {
        skb.replace_address(checksum, &inner_old, &address, false, false)?;
    } else {
        // The quoted header's checksum takes up the change, so that ICMP's own sum over both stays as it is.
        skb.replace_l3(h.inner_l3_offset + 10, inner_old.words()[3], address.words()[3], 4)?;
    }
    store_address(skb, inner_offset, &address, v6)?;
    if outer_old.same(&inner_old) {
        if v6 {
            skb.replace_address(checksum, &outer_old, &address, true, false)?;
        }
        rewrite_outer(skb, end, &outer_old, &address, v6)?;
        if end == End::Source {
            h.source = address;
        } else {
            h.destination = address;
        }
    }
    if inner_end == End::Source {
        h.inner_source = address;
        h.inner_source_port = port;
    } else {
        h.inner_destination = address;
        h.inner_destination_port = port;
    }
    if matches!(h.inner_protocol, protocol::ICMP | protocol::ICMPV6) {
        // A quoted ping has one id, which is both of its "ports".
        h.inner_source_port = port;
        h.inner_destination_port = port;
    }
    Ok(())
}

/// One hop less to live. `Err(TtlExceeded)` when none was left.
#[inline(always)]
pub fn decrement_ttl(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    let ttl = s.headers.ttl;
    if ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    let new = ttl - 1;
    if s.headers.is(flags::V6) {
        skb.store(ETHERNET_HEADER + 7, &[new])?;
    } else {
        // The checksum works on 16-bit words: TTL is the high byte of the word it shares with the protocol.
        let transport = s.headers.protocol;
        let from = u16::from_ne_bytes([ttl, transport]);
        let to = u16::from_ne_bytes([new, transport]);
        skb.replace_l3(ETHERNET_HEADER + 10, u32::from(from), u32::from(to), 2)?;
        skb.store(ETHERNET_HEADER + 8, &[new])?;
    }
    s.headers.ttl = new;
    Ok(())
}
