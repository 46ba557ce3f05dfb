//! `from_pod`: what leaves a Pod. Host side of its veth, ingress.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::config::VXLAN_PORT;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{DropReason, ObservationPoint, RouteKind, identity, stats};
use datapath_logic::delivery::{Way, way};
use datapath_logic::service;
use packet_headers::{Packet, flags, is_neighbour_chatter, protocol};

use super::{IS_ARP, IS_IP, IS_OTHER, Served, find_flow, open_flow, read, return_to_itself, translate_service};
use crate::code::{self, Code};
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;
use crate::enforce::{self, Here};
use crate::{alias, asked, deliver, events, fragments, masquerade, refusal};

#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    let code = read(skb, s, ObservationPoint::FromEndpoint);
    match code::decode_verdict(stages(skb, s, code)) {
        Ok(verdict) => verdict,
        Err(reason) => refusal::answer_or_drop(skb, s, reason),
    }
}

/// A Pod's kernel talks of neighbours by itself; nobody wants an event for that.
#[inline(always)]
fn quiet() -> i32 {
    events::count(stats::QUIET_DROPS, 1, 0);
    TC_ACT_SHOT as i32
}

#[inline(never)]
fn stages(skb: Skb, s: &mut Scratch, code: Code) -> i32 {
    code::encode_verdict(run(skb, s, code))
}

#[inline(always)]
fn run(skb: Skb, s: &mut Scratch, code: Code) -> Result<i32, DropReason> {
    match code {
        IS_IP => {}
        IS_ARP => return Ok(quiet()),
        IS_OTHER => return Err(DropReason::UnsupportedL3Protocol),
        number => return Err(code::reason(number)),
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

    let mut found = find_flow(skb, s)?;
    let mut new = !found;
    if new {
        let is_node = crate::services::in_node_port_range(s.headers.destination_port)
            && crate::services::is_node(&s.headers.destination);
        match translate_service(skb, s, is_node)? {
            Served::New => {}
            Served::Known => {
                new = false;
                found = true;
            }
            Served::No if s.headers.is(flags::ICMP_ERROR) => return Err(DropReason::StaleOrUnroutable),
            // Only what comes by the node's device is passed on.
            Served::Direct => return Err(DropReason::StaleOrUnroutable),
            Served::No => {}
        }
    }
    let reply = found && s.known.reply;
    if reply && service::is_hairpin(&s.headers.destination) && !s.headers.is(flags::ICMP_ERROR) {
        return_to_itself(skb, s)?;
    }
    if reply && s.known.is(flow_flags::VIA_ENTRY) {
        enforce::policy(skb, s, Here::Sender, own.policy_id, true)?;
        // The client waits at the node through which it came in, for an answer from the address it called.
        if s.known.is(flow_flags::ALIASED) && !s.headers.is(flags::ICMP_ERROR) {
            alias::undo(skb, s)?;
        }
        s.tunnel = s.known.entry_node;
        return deliver::to_overlay(skb, s, own.identity);
    }

    let target = endpoint_of(&s.headers.destination);
    let route = if target.is_some() { None } else { route_of(&s.headers.destination) };
    s.destination_identity = match (target, route) {
        (Some(endpoint), _) => endpoint.identity,
        (None, Some(route)) => route.identity,
        (None, None) => identity::UNKNOWN,
    };
    let chosen = way(target, route);
    if new && s.original_port == 0 && matches!(chosen, Way::World | Way::Drop(DropReason::ServiceAddress)) {
        crate::services::refuse_unused(s)?;
    }
    if new {
        s.opening.plain(true, matches!(chosen, Way::Pod));
        asked::look(skb, s);
    }
    if let Way::Drop(reason) = chosen {
        return Err(unroutable(s, reason));
    }
    if is_tunnel_to_node(s, matches!(chosen, Way::Host) || route.is_some_and(|r| r.kind == RouteKind::RemoteNode as u8))
    {
        return Err(DropReason::TunnelFromPod);
    }
    // Nobody is kept from themselves.
    if target.is_none_or(|endpoint| endpoint.ifindex != own.ifindex) {
        enforce::policy(skb, s, Here::Sender, own.policy_id, !new)?;
        if let Some(endpoint) = target {
            if matches!(chosen, Way::Pod) {
                enforce::policy(skb, s, Here::Receiver, endpoint.policy_id, !new)?;
            } else {
                new &= enforce::host(skb, s, Here::Receiver, endpoint.policy_id, !new)?;
            }
        }
    }
    if let (Way::Tunnel, Some(route)) = (chosen, route) {
        s.tunnel = route.tunnel;
    }
    if new {
        let point = match chosen {
            Way::Host => ObservationPoint::ToHost,
            Way::Pod => ObservationPoint::ToEndpoint,
            Way::Tunnel => ObservationPoint::ToOverlay,
            _ => ObservationPoint::ToNetwork,
        };
        open_flow(skb, s, point)?;
    }
    match (chosen, target, route) {
        (Way::Host, _, _) => Ok(deliver::to_host(skb, s)),
        (Way::Pod, Some(endpoint), _) => deliver::to_pod(skb, s, endpoint, false),
        (Way::Tunnel, _, Some(_)) => deliver::to_overlay(skb, s, own.identity),
        (Way::Native, _, Some(route)) => deliver::to_next_hop(skb, s, route),
        (Way::World, _, Some(route)) => {
            if s.headers.ttl <= 1 {
                return Err(DropReason::TtlExceeded); // before the source is rewritten: the Pod must be told
            }
            if datapath_logic::mtu::too_big(&s.headers, s.gso_size, route.mtu) {
                return Err(deliver::too_big(s, route.mtu));
            }
            // What answers somebody outside already has the address that was called, or is routed as it is.
            if !reply {
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
