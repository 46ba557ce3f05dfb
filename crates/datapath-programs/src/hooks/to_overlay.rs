//! `to_overlay`: the tunnel key for what the host's stack sends to Pods elsewhere. VXLAN device, egress.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::{DropReason, ObservationPoint, RouteKind, identity, mark, stats};
use packet_headers::{Content, flags};

use super::{find_flow, open_flow, read};
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;
use crate::track::Opening;
use crate::{deliver, events, fragments};

#[classifier]
pub fn to_overlay(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    if mark::kind(skb.mark()) == mark::ENCAPSULATED {
        // Another of our programs sent it here, with its key.
        skb.set_mark(0);
        return TC_ACT_OK as i32;
    }
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    match run(skb, s) {
        Ok(verdict) => verdict,
        Err(reason) => events::dropped(skb, s, reason),
    }
}

#[inline(always)]
fn run(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    if read(skb, s, ObservationPoint::FromHost)? != Content::Ip {
        events::count(stats::QUIET_DROPS, 1, 0);
        return Ok(TC_ACT_SHOT as i32);
    }
    fragments::resolve(s)?;
    s.source_identity = identity::HOST;
    let Some(route) = route_of(&s.headers.destination) else { return Err(DropReason::UnknownTarget) };
    if route.kind != RouteKind::RemotePods as u8 && route.kind != RouteKind::RemoteNode as u8 {
        // Link-local chatter of the device itself, and what no node has.
        events::count(stats::QUIET_DROPS, 1, 0);
        return Ok(TC_ACT_SHOT as i32);
    }
    if route.tunnel.is_zero() {
        return Err(DropReason::NoTunnelEndpoint);
    }
    // Only the node itself speaks here; a Pod's packet in the host's stack has lost its way.
    let Some(own) = endpoint_of(&s.headers.source) else { return Err(DropReason::InvalidSourceIp) };
    if own.ifindex != 0 {
        return Err(DropReason::InvalidSourceIp);
    }
    let flow = find_flow(skb, s)?;
    s.destination_identity = route.identity;
    s.tunnel = route.tunnel;
    if flow.known.is_none() && !s.headers.is(flags::ICMP_ERROR) {
        open_flow(skb, s, Opening { source_here: true, ..Opening::PLAIN }, ObservationPoint::ToOverlay)?;
    }
    deliver::set_tunnel(skb, &route.tunnel, identity::REMOTE_NODE)?;
    events::passed(skb, s, ObservationPoint::ToOverlay);
    Ok(TC_ACT_OK as i32)
}
