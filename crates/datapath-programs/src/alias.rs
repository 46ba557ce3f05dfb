//! A client that uses one port towards the NodePorts of two nodes has two connections, which are one at a backend that
//! both lead to. The second one gets another source port there, and loses it again on its way back to the node by which
//! it entered. TCP only: datagrams know no connection, and their answers follow the client.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use datapath_layouts::nat::{ENTERED, ENTERED_BACK};
use datapath_layouts::{Address, DropReason, NatKey, NatMapping};
use datapath_logic::{nat, tuple};

use crate::code::{self, Code};
use crate::maps::{CONNTRACK, HALF_OPEN, NAT};
use crate::scratch::Scratch;
use crate::skb::Skb;
use crate::translate::{End, translate};

/// Ports that a client may seem to have: those that no service is offered on.
const FIRST: u16 = 1024;
const LAST: u16 = 65535;
/// How many are tried; nearly all are free towards one backend.
const TRIES: u32 = 8;

/// A packet from the tunnel whose connection has another port here: it gets it.
#[inline(always)]
pub fn apply(skb: Skb, s: &mut Scratch) -> Result<bool, DropReason> {
    if !find(s) {
        return Ok(false);
    }
    translate(skb, s, End::Source)?;
    Ok(true)
}

#[inline(never)]
fn find(s: &mut Scratch) -> bool {
    set_key(s);
    let Some(mapping) = NAT.get_ptr_mut(&s.nat_key) else { return false };
    // SAFETY: a map value; only its time is written, a word.
    let mapping = unsafe { &mut *mapping };
    if !mapping.address.same(&s.headers.destination) {
        return false;
    }
    mapping.last_seen_ns = s.now;
    s.chosen = s.headers.source;
    s.chosen_port = u32::from(mapping.port);
    true
}

/// `s.nat_key` for a packet that came in by `s.tunnel`'s node.
#[inline(always)]
fn set_key(s: &mut Scratch) {
    let h = &s.headers;
    s.nat_key = NatKey {
        local: h.source,
        remote: s.tunnel,
        local_port: h.source_port,
        remote_port: h.destination_port,
        protocol: h.protocol,
        direction: ENTERED,
        reserved: 0,
    };
}

/// A SYN from a port that has a connection by another node already: it gets a port of its own.
#[inline(always)]
pub fn make(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    code::decode(allocate(s))?;
    translate(skb, s, End::Source)?;
    s.set_tuple();
    Ok(())
}

#[inline(never)]
fn allocate(s: &mut Scratch) -> Code {
    set_key(s);
    // SAFETY: plain helper call.
    let random = unsafe { bpf_get_prandom_u32() };
    s.chosen = s.headers.source;
    for attempt in 1..=TRIES {
        let port = nat::candidate(s.nat_key.local_port, FIRST, LAST, random, attempt);
        s.reverse_key = s.nat_key;
        s.reverse_key.local_port = port;
        s.reverse_key.direction = ENTERED_BACK;
        if put(&s.reverse_key, s.now, &s.headers.destination, s.nat_key.local_port, u64::from(BPF_NOEXIST)) != 0 {
            continue;
        }
        s.tuple.source_port = port;
        tuple::flow_key(&s.tuple, &mut s.key);
        let taken = CONNTRACK.get_ptr(&s.key).is_some() || HALF_OPEN.get_ptr(&s.key).is_some();
        if !taken && put(&s.nat_key, s.now, &s.headers.destination, port, 0) == 0 {
            s.chosen_port = u32::from(port);
            return 0;
        }
        let _ = NAT.remove(&s.reverse_key);
    }
    DropReason::NoNatMapping as Code
}

/// 0 = written. The backend's address, so that what it has goes with it.
#[inline(never)]
fn put(key: &NatKey, now: u64, backend: &Address, port: u16, map_flags: u64) -> u32 {
    let mapping = NatMapping { last_seen_ns: now, address: *backend, port, ..NatMapping::ZERO };
    u32::from(NAT.insert(key, mapping, map_flags).is_err())
}

/// An answer to such a connection (`s.known`): to the port that its client has.
#[inline(always)]
pub fn undo(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    if !find_back(s) {
        return Err(DropReason::StaleOrUnroutable);
    }
    translate(skb, s, End::Destination)
}

#[inline(never)]
fn find_back(s: &mut Scratch) -> bool {
    let h = &s.headers;
    s.nat_key = NatKey {
        local: h.destination,
        remote: s.known.entry_node,
        local_port: h.destination_port,
        remote_port: h.source_port,
        protocol: h.protocol,
        direction: ENTERED_BACK,
        reserved: 0,
    };
    let Some(mapping) = NAT.get_ptr_mut(&s.nat_key) else { return false };
    // SAFETY: a map value; only its time is written, a word.
    let mapping = unsafe { &mut *mapping };
    mapping.last_seen_ns = s.now;
    s.chosen = s.headers.destination;
    s.chosen_port = u32::from(mapping.port);
    true
}
