//! `from_pod`: what leaves a Pod. Host side of its veth, ingress.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::config::VXLAN_PORT;
use datapath_layouts::{DropReason, ObservationPoint, RouteKind, identity, stats};
use datapath_logic::delivery::{Way, way};
use packet_headers::{Content, Packet, flags, is_neighbour_chatter, protocol};

use super::{find_flow, open_flow, read, translate_service};
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;
use crate::track::Opening;
use crate::{deliver, events, fragments, icmp_error, masquerade};

#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    match run(skb, s) {
        Ok(verdict) => verdict,
        Err(DropReason::TtlExceeded) => match icmp_error::time_exceeded(skb, s) {
            Ok(verdict) => verdict,
            Err(reason) => events::dropped(skb, s, reason),
        },
        Err(reason) => events::dropped(skb, s, reason),
    }
}

/// A Pod's kernel talks of neighbours by itself; nobody wants an event for that.
#[inline(always)]
fn quiet() -> i32 {
    events::count(stats::QUIET_DROPS, 1, 0);
    TC_ACT_SHOT as i32
}

#[inline(always)]
fn run(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    match read(skb, s, ObservationPoint::FromEndpoint)? {
        Content::Ip => {}
        Content::Arp => return Ok(quiet()),
        Content::Other(_) => {
            s.headers = packet_headers::Headers::EMPTY;
            return Err(DropReason::UnsupportedL3Protocol);
        }
    }
    if is_neighbour_chatter(s.headers.protocol, s.headers.icmp_type) {
        return Ok(quiet());
    }
    let Some(own) = endpoint_of(&s.headers.source) else { return Err(DropReason::InvalidSourceIp) };
    if own.ifindex != skb.ifindex() || own.flags & FLAG_HOST != 0 {
        return Err(DropReason::InvalidSourceIp);
    }
    if skb.load::<6>(6) != Some(own.mac) {
        return Err(DropReason::InvalidSourceMac);
    }
    s.source_identity = own.identity;
    fragments::resolve(s)?;

    let mut flow = find_flow(skb, s)?;
    let mut new = flow.known.is_none();
    if new {
        let is_node = crate::services::in_node_port_range(s.headers.destination_port)
            && crate::services::is_node(&s.headers.destination);
        match translate_service(skb, s, is_node)? {
            Some((_, known)) => {
                new = known.is_none() && !s.headers.is(flags::ICMP_ERROR);
                flow.known = known;
            }
            None if s.headers.is(flags::ICMP_ERROR) => return Err(DropReason::StaleOrUnroutable),
            None => {}
        }
    }
    if flow.is_reply() && flow.is(flow_flags::VIA_ENTRY) {
        // The client waits at the node through which it came in, for an answer from the address it called.
        let Some(known) = flow.known else { return Err(DropReason::UnknownTarget) };
        return deliver::to_overlay(skb, s, known.entry_node, own.identity);
    }

    let destination = s.headers.destination;
    let target = endpoint_of(&destination);
    let route = if target.is_some() { None } else { route_of(&destination) };
    s.destination_identity = match (target, route) {
        (Some(endpoint), _) => endpoint.identity,
        (None, Some(route)) => route.identity,
        (None, None) => identity::UNKNOWN,
    };
    let chosen = way(target, route);
    if let Way::Drop(reason) = chosen {
        return Err(unroutable(s, reason));
    }
    if is_tunnel_to_node(s, matches!(chosen, Way::Host) || route.is_some_and(|r| r.kind == RouteKind::RemoteNode as u8))
    {
        return Err(DropReason::TunnelFromPod);
    }
    if new {
        let opening =
            Opening { source_here: true, destination_here: matches!(chosen, Way::Pod), ..Opening::PLAIN };
        let point = match chosen {
            Way::Host => ObservationPoint::ToHost,
            Way::Pod => ObservationPoint::ToEndpoint,
            Way::Tunnel => ObservationPoint::ToOverlay,
            _ => ObservationPoint::ToNetwork,
        };
        open_flow(skb, s, opening, point)?;
    }
    match (chosen, target, route) {
        (Way::Host, _, _) => Ok(deliver::to_host(skb, s)),
        (Way::Pod, Some(endpoint), _) => deliver::to_pod(skb, s, endpoint, false),
        (Way::Tunnel, _, Some(route)) => deliver::to_overlay(skb, s, route.tunnel, own.identity),
        (Way::Native, _, Some(route)) => deliver::to_next_hop(skb, s, route),
        (Way::World, _, Some(route)) => {
            if s.headers.ttl <= 1 {
                return Err(DropReason::TtlExceeded); // before the source is rewritten: the Pod must be told
            }
            if datapath_logic::mtu::too_big(&s.headers, s.gso_size, route.mtu) {
                return icmp_error::too_big(skb, s, route.mtu);
            }
            // What answers somebody outside already has the address that was called, or is routed as it is.
            if !flow.is_reply() {
                masquerade::outward(skb, s)?;
            }
            deliver::to_next_hop(skb, s, route)
        }
        _ => Err(DropReason::UnknownTarget),
    }
}

/// Multicast and broadcast are nobody's route here: one reason for them, whatever the table said.
#[inline(always)]
fn unroutable(s: &Scratch, reason: DropReason) -> DropReason {
    let to = &s.headers.destination;
    let multicast = if to.is_v4() { to.0[12] >= 224 } else { to.0[0] == 0xff };
    if multicast { DropReason::StaleOrUnroutable } else { reason }
}

/// A Pod that speaks VXLAN to a node could claim any identity.
#[inline(always)]
fn is_tunnel_to_node(s: &Scratch, to_node: bool) -> bool {
    to_node && s.headers.protocol == protocol::UDP && s.headers.destination_port == VXLAN_PORT
}
