//! Service translation per packet: for whatever the socket hooks could not see.

use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::service::{FRONTEND_ADDRESS, FRONTEND_DSR, FRONTEND_SOURCE_RANGES, SERVICE_FLOW_DIRECT};
use datapath_layouts::{Address, DropReason, Frontend, FrontendKey, ObservationPoint, RouteKind, ServiceFlow};
use datapath_logic::service::Side;
use datapath_logic::{conntrack, maglev, service, tuple};
use packet_headers::{flags, protocol};

use crate::backends;
use crate::code::{self, Code};
use crate::config::config;
use crate::maps::{FRONTENDS, SERVICE_FLOWS};
use crate::scratch::{Scratch, endpoint_of, in_source_ranges, route_of};
use crate::skb::Skb;
use crate::track;
use crate::translate::{End, translate};

/// The frontend that an address and port mean, if any. `is_node`: the address is some node's.
#[inline(always)]
pub fn frontend(address: &Address, port: u16, transport: u8, is_node: bool) -> Option<Frontend> {
    // SAFETY: the value is copied at once.
    if let Some(found) = unsafe { FRONTENDS.get(service::exact_key(*address, port, transport)) } {
        return Some(*found);
    }
    if !is_node || port < config!(node_port_first) || port > config!(node_port_last) {
        return None;
    }
    // SAFETY: as above.
    unsafe { FRONTENDS.get(service::node_port_key(address, port, transport)).copied() }
}

/// Whether an address belongs to this or another node.
#[inline(always)]
pub fn is_node(address: &Address) -> bool {
    if let Some(endpoint) = endpoint_of(address) {
        return endpoint.flags & FLAG_HOST != 0;
    }
    match route_of(address) {
        Some(route) => route.kind == RouteKind::RemoteNode as u8,
        None => false,
    }
}

/// Whether services have this address, so that a port of it that none of them serves is to be refused. An address that
/// is also a Pod's or a node's is theirs.
#[inline(always)]
pub fn is_of_services(address: &Address) -> bool {
    // SAFETY: the value is read at once.
    let Some(entry) = (unsafe { FRONTENDS.get(FrontendKey::whole_address(*address)) }) else { return false };
    if entry.flags & FRONTEND_ADDRESS == 0 || endpoint_of(address).is_some() {
        return false;
    }
    match route_of(address) {
        Some(route) => route.kind == RouteKind::World as u8 || route.kind == RouteKind::Services as u8,
        None => true,
    }
}

/// [`is_of_services`] of the packet's destination; what follows is the reason to drop it for.
#[inline(always)]
pub fn refuse_unused(s: &mut Scratch) -> Result<(), DropReason> {
    if unused_code(s) { Err(DropReason::ServiceAddress) } else { Ok(()) }
}

/// [`refuse_unused`] of what the host's stack sends. A connected UDP socket comes here: it was let connect, for that
/// sends nothing. What a service does serve, the socket hooks left alone for a reason that is not "unused".
#[inline(always)]
pub fn refuse_unused_of_host(s: &mut Scratch) -> Result<(), DropReason> {
    if !matches!(s.headers.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) || !unused_code(s) {
        return Ok(());
    }
    if frontend_into(s, false) {
        s.unused_port = 0;
        return Ok(());
    }
    Err(DropReason::ServiceAddress)
}

#[inline(never)]
fn unused_code(s: &mut Scratch) -> bool {
    let unused = is_of_services(&s.headers.destination);
    s.unused_port = u8::from(unused);
    unused
}

/// What became of the packet.
pub enum Translation {
    /// Not for a service.
    None,
    /// The destination is now a backend.
    Done,
    /// It is to go as it is to the node in `s.chosen`, whose backends answer its client themselves.
    Direct,
}

/// Sends the packet to a backend when its destination is a service: the flow's own backend, or a fresh choice.
#[inline(always)]
pub fn to_backend(skb: Skb, s: &mut Scratch, destination_is_node: bool) -> Result<Translation, DropReason> {
    match select_code(s, u32::from(destination_is_node)) {
        NO_SERVICE => Ok(Translation::None),
        DIRECT => Ok(Translation::Direct),
        SELECTED => {
            s.original = s.tuple.destination;
            s.original_port = s.tuple.destination_port;
            translate(skb, s, End::Destination)?;
            Ok(Translation::Done)
        }
        number => Err(code::reason(number)),
    }
}

/// What [`choose_for`] left in `s.chosen`.
pub enum Choice {
    /// Nothing: it is for no service, or refused.
    None,
    /// A backend.
    Backend,
    /// A node whose backends answer the client themselves.
    Node,
}

/// The choice for the flow of `s.tuple`, remembered as [`to_backend`] would, with nothing written into the packet.
#[inline(always)]
pub fn choose_for(s: &mut Scratch, destination_is_node: bool) -> Choice {
    match select_code(s, u32::from(destination_is_node)) {
        SELECTED => Choice::Backend,
        DIRECT => Choice::Node,
        _ => Choice::None,
    }
}

/// What [`select_code`] says besides drop reasons.
const NO_SERVICE: Code = 0;
const SELECTED: Code = 1;
const DIRECT: Code = 2;

/// Leaves the backend in `s.chosen`.
#[inline(never)]
fn select_code(s: &mut Scratch, destination_is_node: u32) -> Code {
    match select(s, destination_is_node != 0) {
        Ok(code) => code,
        Err(reason) => reason as Code,
    }
}

#[inline(always)]
fn select(s: &mut Scratch, destination_is_node: bool) -> Result<Code, DropReason> {
    let error = s.headers.is(flags::ICMP_ERROR);
    if !matches!(s.tuple.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Ok(NO_SERVICE);
    }
    tuple::flow_key(&s.tuple, &mut s.service_key);
    if error {
        // About a packet of a flow that was translated here, or about nothing that we know.
        let Some(flow) = track::service_flow(s) else { return Ok(NO_SERVICE) };
        return Ok(if may_resume(s, flow) { resume(s, flow) } else { NO_SERVICE });
    }
    if !frontend_into(s, destination_is_node) {
        return Ok(NO_SERVICE);
    }
    let direct = s.frontend.flags & FRONTEND_DSR != 0;
    if s.point == ObservationPoint::FromOverlay as u8 && !direct && endpoint_of(&s.tuple.destination).is_none() {
        return Ok(NO_SERVICE); // no node has a reason to pass this on, and it is no port of this one
    }
    let syn = s.tuple.protocol == protocol::TCP
        && s.headers.tcp_flags & (protocol::tcp::SYN | protocol::tcp::ACK) == protocol::tcp::SYN;
    if let Some(flow) = track::service_flow(s) {
        // A SYN that comes long after the last packet is a new connection on a used port, not a retransmission.
        let lifetime = if syn { SYN_AGAIN_NS } else { conntrack::TCP_ESTABLISHED_NS };
        // Any of the rows: a policy that changes moves new flows only. But no node serves what is passed on once the
        // Service does not ask for that.
        let row = flow.service_id;
        let ours = row == s.frontend.service_id || row == s.frontend.external_id || row == s.frontend.local_id;
        let passed = flow.flags & SERVICE_FLOW_DIRECT == 0 || direct;
        if s.now.saturating_sub(flow.last_seen_ns) < lifetime && ours && passed && may_resume(s, flow) {
            flow.last_seen_ns = s.now;
            return Ok(resume(s, flow));
        }
    }
    code::decode(choose_code(s))?;
    Ok(if s.service_flow.flags & SERVICE_FLOW_DIRECT != 0 { DIRECT } else { SELECTED })
}

/// What another node passed on goes no further: a flow that this node had passed on itself is one to be chosen for anew.
#[inline(always)]
fn may_resume(s: &Scratch, flow: &ServiceFlow) -> bool {
    flow.flags & SERVICE_FLOW_DIRECT == 0 || s.point == ObservationPoint::FromNetwork as u8
}

#[inline(always)]
fn resume(s: &mut Scratch, flow: &ServiceFlow) -> Code {
    s.chosen = flow.address;
    s.chosen_port = u32::from(flow.port);
    if flow.flags & SERVICE_FLOW_DIRECT != 0 { DIRECT } else { SELECTED }
}

/// A fresh choice for `s.tuple` among `s.frontend`'s backends.
#[inline(never)]
fn choose_code(s: &mut Scratch) -> Code {
    code::encode(choose(s))
}

#[inline(always)]
fn choose(s: &mut Scratch) -> Result<(), DropReason> {
    if s.frontend.flags & FRONTEND_SOURCE_RANGES != 0 && !in_source_ranges(s.frontend.service_id, &s.tuple.source) {
        return Err(DropReason::SourceRange);
    }
    let side = match s.point {
        point if point == ObservationPoint::FromNetwork as u8 => Side::Outside,
        point if point == ObservationPoint::FromOverlay as u8 && s.frontend.flags & FRONTEND_DSR != 0 => Side::PassedOn,
        _ => Side::Inside,
    };
    let row = service::row(&s.frontend, side);
    s.affinity_key.client = s.tuple.source;
    s.affinity_key.service_id = row.id;
    let hash = if !row.maglev {
        0
    } else if s.frontend.affinity_seconds != 0 {
        maglev::hash_client(&s.tuple.source)
    } else {
        let t = &s.tuple;
        maglev::hash_flow(&t.source, &t.destination, (t.source_port, t.destination_port), t.protocol, &s.frontend)
    };
    backends::choose(&s.affinity_key, &s.frontend, &row, hash, s.now, &mut s.affinity)?;
    let backend = &s.affinity;
    s.chosen = backend.address;
    s.chosen_port = u32::from(backend.port);
    let entry = &mut s.service_flow;
    entry.last_seen_ns = s.now;
    entry.address = backend.address;
    entry.service_id = row.id;
    entry.port = backend.port;
    entry.flags = 0;
    entry.backend_id = backend.backend_id;
    entry.reserved2 = 0;
    if s.frontend.flags & FRONTEND_DSR != 0 && matches!(side, Side::Outside) {
        pass_on(s);
    }
    SERVICE_FLOWS.insert(&s.service_key, &s.service_flow, 0).map_err(|_| DropReason::ConntrackInsert)
}

/// A choice that is on another node becomes that node.
#[inline(always)]
fn pass_on(s: &mut Scratch) {
    if endpoint_of(&s.chosen).is_some() {
        return;
    }
    let Some(route) = route_of(&s.chosen) else { return };
    let remote = route.kind == RouteKind::RemotePods as u8 || route.kind == RouteKind::RemoteNode as u8;
    if remote && !route.tunnel.is_zero() {
        s.chosen = route.tunnel;
        s.chosen_port = 0;
        s.service_flow.address = route.tunnel;
        s.service_flow.port = 0;
        s.service_flow.flags = SERVICE_FLOW_DIRECT;
    }
}

/// [`frontend`] of the tuple's destination, into `s.frontend`.
#[inline(never)]
pub fn frontend_into(s: &mut Scratch, is_node: bool) -> bool {
    match frontend(&s.tuple.destination, s.tuple.destination_port, s.tuple.protocol, is_node) {
        Some(found) => {
            s.frontend = found;
            true
        }
        None => false,
    }
}

/// Retransmitted SYNs come within this (Linux gives up after about 127 s, but doubles from 1 s: the backend may have
/// gone by then, and another is as good for a connection that never was).
const SYN_AGAIN_NS: u64 = 8_000_000_000;

/// Whether a packet to this node's own address could concern us at all.
#[inline(always)]
pub fn in_node_port_range(port: u16) -> bool {
    port >= config!(node_port_first) && port <= config!(node_port_last)
}
