//! `from_network`: what reaches the node. The node's device, ingress.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{DropReason, ObservationPoint, RouteKind, Routing, identity};
use datapath_logic::delivery::{Way, way};
use packet_headers::flags;

use super::{IS_IP, Served, find_flow, open_flow, read, translate_service};
use crate::code::{self, Code};
use crate::config::config;
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;
use crate::enforce::{self, Here};
use crate::{deliver, events, fragments, masquerade, origin, refusal, services, track};

#[classifier]
pub fn from_network(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    if skb.is_for_another_machine() {
        return TC_ACT_OK as i32; // flooded by a switch, or the device is promiscuous: the kernel drops it
    }
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    let code = read(skb, s, ObservationPoint::FromNetwork);
    let not_from_there = if code == IS_IP { origin::judge(skb, s) } else { 0 };
    if not_from_there != 0 {
        return events::dropped(skb, s, code::reason(not_from_there));
    }
    match code::decode_verdict(stages(skb, s, code)) {
        Ok(verdict) => verdict,
        Err(reason) => refusal::answer_or_drop(skb, s, reason),
    }
}

#[inline(never)]
fn stages(skb: Skb, s: &mut Scratch, code: Code) -> i32 {
    code::encode_verdict(run(skb, s, code))
}

#[inline(always)]
fn run(skb: Skb, s: &mut Scratch, code: Code) -> Result<i32, DropReason> {
    // What we can't read is the host's to judge; whatever it sends on into a Pod passes `to_pod`.
    if code != IS_IP {
        return Ok(TC_ACT_OK as i32);
    }
    if origin::is_tunnel(s) {
        return Ok(TC_ACT_OK as i32); // comes back through `from_overlay`
    }
    let mut target = endpoint_of(&s.headers.destination);
    let mut to_host = target.is_some_and(|e| e.ifindex == 0);
    if fragments::resolve(s).is_err() {
        // A later fragment of what the host alone was sent: it knows better.
        return if target.is_some() && !to_host { Err(DropReason::FragmentWithoutFirst) } else { Ok(TC_ACT_OK as i32) };
    }
    let mut unmasked = false;
    if to_host && masquerade::inward(skb, s)? {
        unmasked = true;
        events::follow(s);
        target = endpoint_of(&s.headers.destination);
        to_host = false;
    }

    if let (Some(endpoint), false) = (target, to_host) {
        // Straight to one of our Pods: native routing, or an answer from the world.
        if !unmasked && !may_send(s.source_kind) {
            return Err(DropReason::InvalidSourceIp);
        }
        let found = find_flow(skb, s)?;
        s.destination_identity = endpoint.identity;
        s.event_flags |= event_flags::INGRESS;
        if !found {
            if s.headers.is(flags::ICMP_ERROR) {
                return Err(DropReason::StaleOrUnroutable);
            }
            s.opening.plain(false, true);
        }
        enforce::policy(skb, s, Here::Receiver, endpoint.policy_id, found)?;
        if !found {
            open_flow(skb, s, ObservationPoint::ToEndpoint)?;
        }
        return deliver::to_pod(skb, s, endpoint, false);
    }

    if unmasked {
        return answer_for_client(skb, s);
    }

    // A service of ours? Asked before the flow tables, because a service packet's own tuple is never in them.
    if s.headers.is(flags::ICMP_ERROR) {
        s.set_quoted_tuple();
    } else {
        s.set_tuple();
    }
    if mtu_refused(s) {
        // Judged before the destination is rewritten: the client must see its own packet quoted.
        refuse_large(s, to_host)?;
    }
    let new = match translate_service(skb, s, to_host)? {
        Served::No => {
            if !to_host {
                services::refuse_unused(s)?;
            }
            let policy_id = enforce::policy_of_node(target, &s.headers.destination);
            return if policy_id == 0 { Ok(TC_ACT_OK as i32) } else { for_this_node(skb, s, policy_id) };
        }
        Served::Direct => {
            // No flow is opened: its answers don't come by here, and the node that answers tracks and reports it.
            s.tunnel = s.chosen;
            s.destination_identity = identity::REMOTE_NODE;
            return deliver::to_overlay(skb, s, identity::WORLD);
        }
        Served::Known if s.known.reply => return Err(DropReason::StaleOrUnroutable),
        Served::Known => false,
        Served::New => true,
    };
    if !new {
        track::follow_client(s);
    }
    let target = endpoint_of(&s.headers.destination);
    let route = if target.is_some() { None } else { route_of(&s.headers.destination) };
    s.destination_identity = target.map_or_else(|| route.map_or(0, |r| r.identity), |e| e.identity);
    match (way(target, route), target, route) {
        (Way::Pod, Some(endpoint), _) => {
            s.event_flags |= event_flags::INGRESS;
            s.opening.plain(false, true);
            enforce::policy(skb, s, Here::Receiver, endpoint.policy_id, !new)?;
            if new {
                open_flow(skb, s, ObservationPoint::ToEndpoint)?;
            }
            deliver::to_pod(skb, s, endpoint, false)
        }
        (Way::Host, Some(endpoint), _) => {
            s.opening.plain(false, true);
            if enforce::host(skb, s, Here::Receiver, endpoint.policy_id, !new)? && new {
                open_flow(skb, s, ObservationPoint::ToHost)?;
            }
            Ok(deliver::to_host(skb, s))
        }
        (Way::Tunnel | Way::Native, _, Some(route)) => {
            // Always through the tunnel, also with native routing: the client's address must reach the backend, and
            // the backend's node must know where to send the answer.
            if route.tunnel.is_zero() {
                return Err(DropReason::NoTunnelEndpoint);
            }
            s.tunnel = route.tunnel;
            if new {
                s.opening.plain(false, false);
                s.opening.flags = flow_flags::FORWARDED;
                open_flow(skb, s, ObservationPoint::ToOverlay)?;
            }
            deliver::to_overlay(skb, s, identity::WORLD)
        }
        (Way::World, _, Some(route)) => {
            // An endpoint outside of the cluster knows no way back by us but our own address.
            if new {
                s.opening.plain(false, false);
                s.opening.flags = flow_flags::FORWARDED;
                open_flow(skb, s, ObservationPoint::ToNetwork)?;
            }
            masquerade::outward(skb, s)?;
            deliver::to_next_hop(skb, s, route)
        }
        (Way::Drop(reason), _, _) => Err(reason),
        _ => Err(DropReason::StaleOrUnroutable),
    }
}

/// For the node itself, about which there is a policy: from here on its flows are tracked.
#[inline(always)]
fn for_this_node(skb: Skb, s: &mut Scratch, policy_id: u32) -> Result<i32, DropReason> {
    if enforce::is_of_the_link(s) {
        return Ok(TC_ACT_OK as i32);
    }
    let found = find_flow(skb, s)?;
    s.destination_identity = identity::HOST;
    // Of an error about what nobody tracks the node's own stack knows better; it makes no connection.
    if found || !s.headers.is(flags::ICMP_ERROR) {
        if !found {
            s.opening.plain(false, true);
        }
        if enforce::host(skb, s, Here::Receiver, policy_id, found)? && !found {
            open_flow(skb, s, ObservationPoint::ToHost)?;
        }
    }
    Ok(deliver::to_host(skb, s))
}

/// What came to a port of masquerade and is no Pod's: the answer of an endpoint outside to a client outside, who asked
/// this node.
#[inline(always)]
fn answer_for_client(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    if !find_flow(skb, s)? || !s.known.reply || !s.known.is(flow_flags::FORWARDED) {
        return Err(DropReason::StaleOrUnroutable);
    }
    match route_of(&s.headers.destination) {
        Some(route) if route.kind == RouteKind::World as u8 && route.ifindex != 0 => {
            deliver::to_next_hop(skb, s, route)
        }
        _ => Err(DropReason::NoNextHop),
    }
}

/// Who may send to a Pod without the tunnel: the world, and with native routing the other nodes and their Pods.
#[inline(always)]
fn may_send(kind: u8) -> bool {
    kind == RouteKind::World as u8 || config!(routing) == Routing::Native as u32
}

#[inline(always)]
fn mtu_refused(s: &Scratch) -> bool {
    datapath_logic::mtu::too_big(&s.headers, s.gso_size, config!(overlay_mtu))
}

/// A large packet for a service: refused unless its flow's backend is on this node. A packet that opens a flow is
/// never that large with TCP; with UDP the backend is not chosen yet, and the smaller size is the safe answer.
#[inline(always)]
fn refuse_large(s: &mut Scratch, is_node: bool) -> Result<(), DropReason> {
    if !services::frontend_into(s, is_node) {
        return Ok(());
    }
    datapath_logic::tuple::flow_key(&s.tuple, &mut s.service_key);
    let local = match track::service_flow(s) {
        Some(flow) => endpoint_of(&flow.address).is_some(),
        None => false,
    };
    if local { Ok(()) } else { Err(deliver::too_big(s, config!(overlay_mtu))) }
}
