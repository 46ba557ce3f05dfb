//! `from_overlay`: what comes out of the tunnel. VXLAN device, ingress.

use aya_ebpf::bindings::{BPF_F_TUNINFO_IPV6, TC_ACT_SHOT, bpf_tunnel_key};
use aya_ebpf::helpers::generated::{bpf_skb_change_type, bpf_skb_get_tunnel_key};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{Address, DropReason, ObservationPoint, RouteKind, identity, stats};
use datapath_logic::delivery::{Way, overlay_claim, way};
use packet_headers::{flags, protocol};

use super::{IS_IP, IS_OTHER, Served, find_flow, open_flow, read, translate_service};
use crate::code::{self, Code};
use crate::config::config;
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;
use crate::enforce::{self, Here};
use crate::{alias, deliver, events, fragments, track};

/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;

#[classifier]
pub fn from_overlay(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    let code = read(skb, s, ObservationPoint::FromOverlay);
    match code::decode_verdict(stages(skb, s, code)) {
        Ok(verdict) => verdict,
        Err(reason) => events::dropped(skb, s, reason),
    }
}

/// Who sent the outer packet, into `s.tunnel`, and the VNI (24 bits); [`NO_KEY`] without metadata.
#[inline(never)]
fn tunnel_key(skb: Skb, s: &mut Scratch) -> u32 {
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    let size = size_of::<bpf_tunnel_key>() as u32;
    // SAFETY: the helper fills `size` bytes. Metadata of the other family is an error (EPROTO), so both are asked.
    unsafe {
        if bpf_skb_get_tunnel_key(skb.0, &raw mut key, size, 0) == 0 {
            let v4 = u32::from_ne_bytes(key.__bindgen_anon_1.remote_ipv4.to_ne_bytes()).to_be_bytes();
            s.tunnel = Address::from_v4(v4);
            return key.tunnel_id & 0xff_ffff;
        }
        if bpf_skb_get_tunnel_key(skb.0, &raw mut key, size, u64::from(BPF_F_TUNINFO_IPV6)) == 0 {
            s.tunnel = Address::from_words(key.__bindgen_anon_1.remote_ipv6);
            return key.tunnel_id & 0xff_ffff;
        }
    }
    NO_KEY
}

const NO_KEY: u32 = u32::MAX;

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
        // No neighbours are asked for through the overlay.
        events::count(stats::QUIET_DROPS, 1, 0);
        return Ok(TC_ACT_SHOT as i32);
    }
    let vni = tunnel_key(skb, s);
    if vni == NO_KEY {
        return Err(DropReason::NoTunnelKey);
    }
    let (cluster, claimed) = identity::from_vni(vni);
    if cluster != config!(cluster) {
        return Err(DropReason::InvalidVni);
    }
    let ours = endpoint_of(&s.headers.source).is_some();
    let source = route_of(&s.headers.source);
    let from_world = source.is_some_and(|r| r.kind == RouteKind::World as u8);
    let outer_is_node = !from_world || route_of(&s.tunnel).is_some_and(|r| r.kind == RouteKind::RemoteNode as u8);
    overlay_claim(ours, source, &s.tunnel, outer_is_node, claimed)?;
    s.source_identity = match source {
        // A node is who its address says, whatever it claims: no other node is this one.
        Some(node) if node.kind == RouteKind::RemoteNode as u8 => node.identity,
        _ => claimed,
    };
    fragments::resolve(s)?;
    // SAFETY: plain helper call. The inner MAC is nobody's here; without this the stack would ignore the packet.
    unsafe { bpf_skb_change_type(skb.0, PACKET_HOST) };

    let target = endpoint_of(&s.headers.destination);
    let to_host = target.is_some_and(|e| e.ifindex == 0);
    // Asked before the flow tables, because a service packet's own tuple is never in them.
    if (to_host || from_world && target.is_none())
        && let Some(verdict) = serve(skb, s, to_host, from_world)?
    {
        return Ok(verdict);
    }
    let connects = from_world && s.headers.protocol == protocol::TCP && target.is_some_and(|e| e.ifindex != 0);
    let mut aliased = connects && alias::apply(skb, s)?;
    let mut found = find_flow(skb, s)?;
    if found && from_world {
        if connects && track::is_syn(s) && track::entered_elsewhere(s) {
            alias::make(skb, s)?;
            (aliased, found) = (true, false);
        } else {
            track::follow_client(s);
        }
    }
    let route = if target.is_some() { None } else { route_of(&s.headers.destination) };
    match (way(target, route), target, route) {
        (Way::World, _, Some(route)) if found && s.known.reply && s.known.is(flow_flags::FORWARDED) => {
            // The answer of a backend elsewhere to a client that came in here.
            deliver::to_next_hop(skb, s, route)
        }
        (Way::Pod, Some(endpoint), _) => {
            s.event_flags |= event_flags::INGRESS;
            s.destination_identity = endpoint.identity;
            if !found {
                if s.headers.is(flags::ICMP_ERROR) {
                    return Err(DropReason::StaleOrUnroutable);
                }
                opening(s, from_world);
                if aliased {
                    s.opening.flags |= flow_flags::ALIASED;
                }
            }
            enforce::policy(skb, s, Here::Receiver, endpoint.policy_id, found)?;
            if !found {
                open_flow(skb, s, ObservationPoint::ToEndpoint)?;
            }
            deliver::to_pod(skb, s, endpoint, false)
        }
        (Way::Host, Some(endpoint), _) if endpoint.flags & FLAG_HOST != 0 => {
            s.destination_identity = identity::HOST;
            if !found {
                opening(s, from_world);
            }
            if found || !s.headers.is(flags::ICMP_ERROR) {
                let tracked = enforce::host(skb, s, Here::Receiver, endpoint.policy_id, found)?;
                if tracked && !found {
                    open_flow(skb, s, ObservationPoint::ToHost)?;
                }
            }
            Ok(deliver::to_host(skb, s))
        }
        (Way::Drop(reason), _, _) => Err(reason),
        // A node relays for nobody else.
        _ => Err(DropReason::StaleOrUnroutable),
    }
}

/// What is for a service here; `None`: it is for none. Either a port of this node that is a Pod's (`hostPort`; NodePorts are no
/// matter here, for the sender's node has chosen their backend), or what a client outside sent to a service, and the node at
/// which it entered passed on as it was: that is served by this node's backends or by nobody (a second hop could become a
/// loop), and its answers leave straight from here.
#[inline(always)]
fn serve(skb: Skb, s: &mut Scratch, to_host: bool, from_world: bool) -> Result<Option<i32>, DropReason> {
    let to_node = !to_host && route_of(&s.headers.destination).is_some_and(|r| r.kind == RouteKind::RemoteNode as u8);
    if s.headers.is(flags::ICMP_ERROR) {
        s.set_quoted_tuple();
    } else {
        s.set_tuple();
    }
    let new = match translate_service(skb, s, to_node)? {
        Served::No | Served::Direct => return Ok(None),
        Served::Known if s.known.reply => return Err(DropReason::StaleOrUnroutable),
        Served::Known => {
            if !to_host {
                // No node is on its answers' way any more, not even the one it came by.
                s.tunnel = Address::ZERO;
            }
            track::follow_client(s);
            false
        }
        Served::New => true,
    };
    // A node relays for nobody else.
    let Some(endpoint) = endpoint_of(&s.headers.destination) else { return Err(DropReason::NoLocalEndpoint) };
    s.destination_identity = endpoint.identity;
    opening(s, from_world && to_host);
    if endpoint.flags & FLAG_HOST != 0 {
        if to_host {
            return Err(DropReason::StaleOrUnroutable);
        }
        if enforce::host(skb, s, Here::Receiver, endpoint.policy_id, !new)? && new {
            open_flow(skb, s, ObservationPoint::ToHost)?;
        }
        return Ok(Some(deliver::to_host(skb, s)));
    }
    s.event_flags |= event_flags::INGRESS;
    enforce::policy(skb, s, Here::Receiver, endpoint.policy_id, !new)?;
    if new {
        open_flow(skb, s, ObservationPoint::ToEndpoint)?;
    }
    deliver::to_pod(skb, s, endpoint, false).map(Some)
}

/// A client from outside entered at the sender: its answers go back there.
#[inline(always)]
fn opening(s: &mut Scratch, from_world: bool) {
    s.opening.plain(false, true);
    if from_world {
        s.opening.flags = flow_flags::VIA_ENTRY;
        s.opening.entry_node = s.tunnel;
    }
}
