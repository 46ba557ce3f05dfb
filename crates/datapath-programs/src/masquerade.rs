//! Pods speak to the world as their node.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use datapath_layouts::nat::{INWARD, OUTWARD};
use datapath_layouts::{Address, DropReason, NatKey, NatMapping, stats};
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
    code::decode(outward_code(skb, s))
}

#[inline(never)]
fn outward_code(skb: Skb, s: &mut Scratch) -> Code {
    code::encode(rewrite_outward(skb, s))
}

#[inline(always)]
fn rewrite_outward(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    let error = s.headers.is(flags::ICMP_ERROR);
    // An error quotes the packet that came in: its destination is the Pod.
    let (local, local_port, remote, port, transport) = if error {
        let h = &s.headers;
        (h.inner_destination, h.inner_destination_port, h.inner_source, h.inner_source_port, h.inner_protocol)
    } else {
        let h = &s.headers;
        (h.source, h.source_port, h.destination, h.destination_port, h.protocol)
    };
    let query = matches!(transport, protocol::ICMP | protocol::ICMPV6) && local_port != 0;
    if !matches!(transport, protocol::TCP | protocol::UDP) && !query {
        return Err(DropReason::NatProtocol);
    }
    let node = if local.is_v4() { config!(node_ipv4) } else { config!(node_ipv6) };
    if node.is_zero() {
        return Err(DropReason::NoNatMapping);
    }
    let remote_port = remote_port(transport, port);
    s.nat_key =
        NatKey { local, remote, local_port, remote_port, protocol: transport, direction: OUTWARD, reserved: 0 };
    let known = NAT.get_ptr_mut(&s.nat_key);
    let chosen = if let Some(mapping) = known {
        // SAFETY: a map value; only its time is written, a word.
        let mapping = unsafe { &mut *mapping };
        mapping.last_seen_ns = s.now;
        let chosen = mapping.port;
        // The way back may have been evicted while only we spoke; it is ours as long as nobody else took it.
        set_reverse(s, &node, chosen);
        let back = NatMapping { last_seen_ns: s.now, address: local, port: local_port, ..NatMapping::ZERO };
        match NAT.get_ptr_mut(&s.reverse_key) {
            // SAFETY: as above.
            Some(reverse) => unsafe { (*reverse).last_seen_ns = s.now },
            None => NAT.insert(&s.reverse_key, back, 0).map_err(|_| DropReason::NoNatMapping)?,
        }
        chosen
    } else if error {
        return Err(DropReason::NoNatMapping);
    } else {
        allocate(s, &node)?
    };
    translate(skb, s, End::Source, node, chosen)
}

#[inline(always)]
fn set_reverse(s: &mut Scratch, node: &Address, port: u16) {
    s.reverse_key = s.nat_key;
    s.reverse_key.local = *node;
    s.reverse_key.local_port = port;
    s.reverse_key.direction = INWARD;
}

/// Takes a port by making its way back: the insertion that finds no entry owns it.
#[inline(always)]
fn allocate(s: &mut Scratch, node: &Address) -> Result<u16, DropReason> {
    // SAFETY: plain helper call.
    let random = unsafe { bpf_get_prandom_u32() };
    let back =
        NatMapping { last_seen_ns: s.now, address: s.nat_key.local, port: s.nat_key.local_port, ..NatMapping::ZERO };
    let (first, last) = (config!(nat_port_first), config!(nat_port_last));
    for attempt in 0..nat::TRIES {
        let port = nat::candidate(s.nat_key.local_port, first, last, random, attempt);
        set_reverse(s, node, port);
        if NAT.insert(&s.reverse_key, back, u64::from(BPF_NOEXIST)).is_ok() {
            let forth = NatMapping { last_seen_ns: s.now, address: *node, port, ..NatMapping::ZERO };
            if NAT.insert(&s.nat_key, forth, 0).is_err() {
                let _ = NAT.remove(&s.reverse_key);
                return Err(DropReason::NoNatMapping);
            }
            return Ok(port);
        }
    }
    count(stats::NAT_EXHAUSTED, 1, 0);
    Err(DropReason::NoNatMapping)
}

/// A packet from the world to one of our ports: its destination becomes the Pod again. False: not ours.
#[inline(always)]
pub fn inward(skb: Skb, s: &mut Scratch) -> Result<bool, DropReason> {
    let h = &s.headers;
    let (local, local_port, remote, port, transport) = if h.is(flags::ICMP_ERROR) {
        (h.inner_source, h.inner_source_port, h.inner_destination, h.inner_destination_port, h.inner_protocol)
    } else {
        (h.destination, h.destination_port, h.source, h.source_port, h.protocol)
    };
    if local_port < config!(nat_port_first) || local_port > config!(nat_port_last) {
        return Ok(false);
    }
    let remote_port = remote_port(transport, port);
    s.nat_key = NatKey { local, remote, local_port, remote_port, protocol: transport, direction: INWARD, reserved: 0 };
    let Some(mapping) = NAT.get_ptr_mut(&s.nat_key) else { return Ok(false) };
    // SAFETY: a map value; only its time is written, a word.
    let mapping = unsafe { &mut *mapping };
    mapping.last_seen_ns = s.now;
    let (address, port) = (mapping.address, mapping.port);
    translate(skb, s, End::Destination, address, port)?;
    Ok(true)
}
