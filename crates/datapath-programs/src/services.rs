//! Service translation per packet: for whatever the socket hooks could not see.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::{Address, Backend, BackendKey, DropReason, Frontend, RouteKind, ServiceFlow};
use datapath_logic::{conntrack, service, tuple};
use packet_headers::{flags, protocol};

use crate::config::config;
use crate::config::CONFIG;
use crate::maps::{BACKENDS, FRONTENDS, SERVICE_FLOWS};
use crate::scratch::{Scratch, endpoint_of, route_of};
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

/// A backend for a new flow.
#[inline(always)]
pub fn choose(found: &Frontend) -> Result<Backend, DropReason> {
    if found.backends == 0 {
        return Err(DropReason::NoBackend);
    }
    // SAFETY: plain helper call.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut key = BackendKey { service_id: found.service_id, slot: service::random_slot(random, found.backends) };
    // SAFETY: the value is copied at once.
    if let Some(backend) = unsafe { BACKENDS.get(key) } {
        return Ok(*backend);
    }
    // The last slot went between the two reads; the first one is there as long as any is.
    key.slot = 0;
    // SAFETY: as above.
    unsafe { BACKENDS.get(key) }.copied().ok_or(DropReason::NoBackend)
}

/// What became of the packet.
pub enum Translation {
    /// Not for a service.
    None,
    /// The destination is now a backend.
    Done,
}

/// Sends the packet to a backend when its destination is a service: the flow's own backend, or a fresh choice.
#[inline(always)]
pub fn to_backend(skb: Skb, s: &mut Scratch, destination_is_node: bool) -> Result<Translation, DropReason> {
    let error = s.headers.is(flags::ICMP_ERROR);
    if !matches!(s.tuple.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Ok(Translation::None);
    }
    tuple::flow_key(&s.tuple, &mut s.service_key);
    let (address, port) = (s.tuple.destination, s.tuple.destination_port);
    let syn = s.tuple.protocol == protocol::TCP
        && s.headers.tcp_flags & (protocol::tcp::SYN | protocol::tcp::ACK) == protocol::tcp::SYN;
    let (to, to_port) = if error {
        // About a packet of a flow that was translated here, or about nothing that we know.
        let Some(flow) = track::service_flow(s) else { return Ok(Translation::None) };
        (flow.address, flow.port)
    } else {
        let Some(found) = frontend(&address, port, s.tuple.protocol, destination_is_node) else {
            return Ok(Translation::None);
        };
        // A SYN that comes long after the last packet is a new connection on a used port, not a retransmission.
        let fresh = |last: u64| s.now.wrapping_sub(last) < if syn { SYN_AGAIN_NS } else { conntrack::TCP_ESTABLISHED_NS };
        match track::service_flow(s) {
            Some(flow) if fresh(flow.last_seen_ns) && flow.service_id == found.service_id => {
                flow.last_seen_ns = s.now;
                (flow.address, flow.port)
            }
            _ => {
                let backend = choose(&found)?;
                let entry = ServiceFlow {
                    last_seen_ns: s.now,
                    address: backend.address,
                    service_id: found.service_id,
                    port: backend.port,
                    reserved: 0,
                    backend_id: backend.id,
                    reserved2: 0,
                };
                SERVICE_FLOWS.insert(s.service_key, entry, 0).map_err(|_| DropReason::ConntrackInsert)?;
                (backend.address, backend.port)
            }
        }
    };
    s.original = address;
    s.original_port = port;
    translate(skb, s, End::Destination, to, to_port)?;
    Ok(Translation::Done)
}

/// Retransmitted SYNs come within this (Linux gives up after about 127 s, but doubles from 1 s: the backend may have
/// gone by then, and another is as good for a connection that never was).
const SYN_AGAIN_NS: u64 = 8_000_000_000;

/// Whether a packet to this node's own address could concern us at all.
#[inline(always)]
pub fn in_node_port_range(port: u16) -> bool {
    let _ = &CONFIG;
    port >= config!(node_port_first) && port <= config!(node_port_last)
}
