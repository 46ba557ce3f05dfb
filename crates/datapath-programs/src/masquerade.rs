//! Pods speak to the world as their node.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use datapath_layouts::nat::{INWARD, OUTWARD};
use datapath_layouts::{DropReason, NatKey, NatMapping, stats};
use datapath_logic::nat;
use packet_headers::{flags, protocol};

use crate::code::{self, Code};
use crate::config::config;
use crate::events::count;
use crate::maps::NAT;
use crate::scratch::Scratch;
use crate::skb::Skb;
use crate::translate::{End, translate};

/// The remote port as the key has it: ICMP's id belongs to the local end alone.
#[inline(always)]
const fn remote_port(transport: u8, port: u16) -> u16 {
    if matches!(transport, protocol::ICMP | protocol::ICMPV6) { 0 } else { port }
}

/// Source becomes the node's address, with a port that is free towards this destination.
#[inline(always)]
pub fn outward(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    match find_outward(s) {
        KNOWN => {}
        UNKNOWN if !s.headers.is(flags::ICMP_ERROR) => code::decode(allocate(s))?,
        UNKNOWN => return Err(DropReason::NoNatMapping),
        number => return Err(code::reason(number)),
    }
    translate(skb, s, End::Source)
}

/// What [`find_outward`] says besides drop reasons.
const KNOWN: Code = 0;
const UNKNOWN: Code = 1;

/// Fills `s.nat_key`; when the flow has its port already, leaves it with the node's address in `s.chosen`.
#[inline(never)]
fn find_outward(s: &mut Scratch) -> Code {
    let h = &s.headers;
    let key = &mut s.nat_key;
    // An error quotes the packet that came in: its destination is the Pod.
    if h.is(flags::ICMP_ERROR) {
        key.local = h.inner_destination;
        key.local_port = h.inner_destination_port;
        key.remote = h.inner_source;
        key.remote_port = remote_port(h.inner_protocol, h.inner_source_port);
        key.protocol = h.inner_protocol;
    } else {
        key.local = h.source;
        key.local_port = h.source_port;
        key.remote = h.destination;
        key.remote_port = remote_port(h.protocol, h.destination_port);
        key.protocol = h.protocol;
    }
    key.direction = OUTWARD;
    key.reserved = 0;
    let query = matches!(key.protocol, protocol::ICMP | protocol::ICMPV6) && key.local_port != 0;
    if !matches!(key.protocol, protocol::TCP | protocol::UDP) && !query {
        return DropReason::NatProtocol as Code;
    }
    s.chosen = if key.local.is_v4() { config!(node_ipv4) } else { config!(node_ipv6) };
    if s.chosen.is_zero() {
        return DropReason::NoNatMapping as Code;
    }
    let Some(mapping) = NAT.get_ptr_mut(&s.nat_key) else { return UNKNOWN };
    // SAFETY: a map value; only its time is written, a word.
    let mapping = unsafe { &mut *mapping };
    mapping.last_seen_ns = s.now;
    s.chosen_port = u32::from(mapping.port);
    // The way back may have been evicted while only we spoke; it is ours as long as nobody else took it.
    set_reverse(s);
    match NAT.get_ptr_mut(&s.reverse_key) {
        // SAFETY: as above.
        Some(reverse) => unsafe { (*reverse).last_seen_ns = s.now },
        None => {
            if put_reverse(s, 0) != 0 {
                return DropReason::NoNatMapping as Code;
            }
        }
    }
    KNOWN
}

/// Key of the way back to `s.nat_key`'s Pod, from what was chosen.
#[inline(always)]
fn set_reverse(s: &mut Scratch) {
    s.reverse_key = s.nat_key;
    s.reverse_key.local = s.chosen;
    s.reverse_key.local_port = s.chosen_port as u16;
    s.reverse_key.direction = INWARD;
}

/// Writes the way back; 0 = done.
#[inline(never)]
fn put_reverse(s: &Scratch, map_flags: u64) -> u32 {
    let back =
        NatMapping { last_seen_ns: s.now, address: s.nat_key.local, port: s.nat_key.local_port, ..NatMapping::ZERO };
    u32::from(NAT.insert(&s.reverse_key, back, map_flags).is_err())
}

/// Writes the way out; 0 = done.
#[inline(never)]
fn put_forward(s: &Scratch) -> u32 {
    let forth = NatMapping { last_seen_ns: s.now, address: s.chosen, port: s.chosen_port as u16, ..NatMapping::ZERO };
    u32::from(NAT.insert(&s.nat_key, forth, 0).is_err())
}

/// Takes a port by making its way back: the insertion that finds no entry owns it.
#[inline(never)]
fn allocate(s: &mut Scratch) -> Code {
    // SAFETY: plain helper call.
    let random = unsafe { bpf_get_prandom_u32() };
    let (first, last) = (config!(nat_port_first), config!(nat_port_last));
    for attempt in 0..nat::TRIES {
        s.chosen_port = u32::from(nat::candidate(s.nat_key.local_port, first, last, random, attempt));
        set_reverse(s);
        if put_reverse(s, u64::from(BPF_NOEXIST)) == 0 {
            if put_forward(s) == 0 {
                return 0;
            }
            let _ = NAT.remove(&s.reverse_key);
            return DropReason::NoNatMapping as Code;
        }
    }
    count(stats::NAT_EXHAUSTED, 1, 0);
    DropReason::NoNatMapping as Code
}

/// A packet from the world to one of our ports: its destination becomes the Pod again. False: not ours.
#[inline(always)]
pub fn inward(skb: Skb, s: &mut Scratch) -> Result<bool, DropReason> {
    if !find_inward(s) {
        return Ok(false);
    }
    translate(skb, s, End::Destination)?;
    Ok(true)
}

/// Leaves the Pod's address and port in `s.chosen`; false: not ours.
#[inline(never)]
fn find_inward(s: &mut Scratch) -> bool {
    let h = &s.headers;
    let (local, local_port, remote, port, transport) = if h.is(flags::ICMP_ERROR) {
        (h.inner_source, h.inner_source_port, h.inner_destination, h.inner_destination_port, h.inner_protocol)
    } else {
        (h.destination, h.destination_port, h.source, h.source_port, h.protocol)
    };
    if local_port < config!(nat_port_first) || local_port > config!(nat_port_last) {
        return false;
    }
    let remote_port = remote_port(transport, port);
    s.nat_key = NatKey { local, remote, local_port, remote_port, protocol: transport, direction: INWARD, reserved: 0 };
    let Some(mapping) = NAT.get_ptr_mut(&s.nat_key) else { return false };
    // SAFETY: a map value; only its time is written, a word.
    let mapping = unsafe { &mut *mapping };
    mapping.last_seen_ns = s.now;
    s.chosen = mapping.address;
    s.chosen_port = u32::from(mapping.port);
    true
}
