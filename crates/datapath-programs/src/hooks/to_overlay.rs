//! `to_overlay`: the tunnel key for what the host's stack sends to Pods elsewhere. VXLAN device, egress.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::{DropReason, ObservationPoint, RouteKind, identity, mark, stats};
use packet_headers::flags;

use super::{IS_IP, IS_OTHER, find_flow, open_flow, read};
use crate::code::{self, Code};
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::enforce::{self, Here};
use crate::skb::Skb;
use crate::{asked, deliver, events, fragments};

#[classifier]
pub fn to_overlay(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    if mark::kind(skb.mark()) == mark::ENCAPSULATED {
        // Another of our programs sent it here, with its key.
        skb.set_mark(0);
        return TC_ACT_OK as i32;
    }
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    let code = read(skb, s, ObservationPoint::FromHost);
    match code::decode_verdict(stages(skb, s, code)) {
        Ok(verdict) => verdict,
        Err(reason) => events::dropped(skb, s, reason),
    }
}

#[inline(never)]
fn stages(skb: Skb, s: &mut Scratch, code: Code) -> i32 {
    code::encode_verdict(run(skb, s, code))
}

#[inline(always)]
fn run(skb: Skb, s: &mut Scratch, code: Code) -> Result<i32, DropReason> {
    if code > IS_OTHER {
        return Err(code::reason(code));
    }
    if code != IS_IP {
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
    let found = find_flow(skb, s)?;
    s.destination_identity = route.identity;
    s.tunnel = route.tunnel;
    let opens = !found && !s.headers.is(flags::ICMP_ERROR);
    if opens {
        s.opening.plain(true, false);
        asked::look(skb, s);
    }
    if found || opens {
        let tracked = enforce::host(skb, s, Here::Sender, own.policy_id, found)?;
        if opens && tracked {
            open_flow(skb, s, ObservationPoint::ToOverlay)?;
        }
    }
    deliver::set_tunnel(skb, &route.tunnel, identity::REMOTE_NODE)?;
    events::passed(skb, s, ObservationPoint::ToOverlay);
    Ok(TC_ACT_OK as i32)
}
