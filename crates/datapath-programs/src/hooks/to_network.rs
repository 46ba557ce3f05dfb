//! `to_network`: what leaves the node. The node's device, egress.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::config::VXLAN_PORT;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{DropReason, ObservationPoint, RouteKind, identity, mark};
use packet_headers::{flags, protocol};

use super::{IS_IP, find_flow, open_flow, read};
use crate::code::{self, Code};
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::enforce::{self, Here};
use crate::skb::Skb;
use crate::{asked, deliver, events, fragments, refusal, services};

#[classifier]
pub fn to_network(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
    if mark::kind(skb.mark()) == mark::FORWARDED {
        // Judged by the program that sent it here.
        skb.set_mark(0);
        return TC_ACT_OK as i32;
    }
    let Some(s) = Scratch::take() else { return TC_ACT_SHOT as i32 };
    let code = read(skb, s, ObservationPoint::FromHost);
    match code::decode_verdict(stages(skb, s, code)) {
        Ok(verdict) => verdict,
        // The host's own flows to services are translated at the socket: what comes here found nobody.
        Err(DropReason::ServiceAddress) => refusal::answer_or_drop(skb, s, DropReason::ServiceAddress),
        Err(reason) => events::dropped(skb, s, reason),
    }
}

#[inline(never)]
fn stages(skb: Skb, s: &mut Scratch, code: Code) -> i32 {
    code::encode_verdict(run(skb, s, code))
}

#[inline(always)]
fn run(skb: Skb, s: &mut Scratch, code: Code) -> Result<i32, DropReason> {
    if code != IS_IP {
        return Ok(TC_ACT_OK as i32);
    }
    let own = endpoint_of(&s.headers.source);
    if own.is_some_and(|e| e.ifindex != 0) {
        // A Pod's address from the host's stack: nobody of ours sent it, and it must not be seen outside, be it a
        // fragment or what looks like a tunnel.
        return Err(DropReason::StaleOrUnroutable);
    }
    if s.headers.protocol == protocol::UDP && s.headers.destination_port == VXLAN_PORT {
        return Ok(TC_ACT_OK as i32);
    }
    if fragments::resolve(s).is_err() {
        return Ok(TC_ACT_OK as i32); // the host's own fragments; ports matter only for translated flows
    }
    s.source_identity = identity::HOST;
    let policy_id = enforce::policy_of_node(own, &s.headers.source);
    let found = find_flow(skb, s)?;
    if !found || policy_id != 0 {
        let route = route_of(&s.headers.destination);
        s.destination_identity = route.map_or(identity::WORLD, |r| r.identity);
        if !found {
            s.opening.plain(true, false);
            asked::look(skb, s);
        }
        if let (Some(route), false) = (route, found) {
            services::refuse_unused_of_host(s)?;
            if route.kind == RouteKind::Services as u8 {
                // The socket hooks knew nothing of it, and out there nobody does.
                return Err(DropReason::ServiceAddress);
            }
        }
        if enforce::is_of_the_link(s) || !found && s.headers.is(flags::ICMP_ERROR) {
            return Ok(TC_ACT_OK as i32);
        }
        let tracked = enforce::host(skb, s, Here::Sender, policy_id, found)?;
        if !found {
            // The host's flows to Pods elsewhere are tracked in any case, so that the answer is known as one. Not its answers
            // to those that began while nobody judged the node: a policy that comes later would take them for its own flows.
            let elsewhere = route.is_some_and(|r| r.kind == RouteKind::RemotePods as u8);
            if tracked && (policy_id != 0 || elsewhere && enforce::may_begin(s)) {
                open_flow(skb, s, ObservationPoint::ToNetwork)?;
            }
            return Ok(TC_ACT_OK as i32);
        }
    }
    if s.known.reply && s.known.is(flow_flags::VIA_ENTRY) {
        // A host-network backend answers a client that came in elsewhere. There this is a node, and none speaks as `host`.
        s.tunnel = s.known.entry_node;
        return deliver::to_overlay(skb, s, identity::REMOTE_NODE);
    }
    events::passed(skb, s, ObservationPoint::ToNetwork);
    Ok(TC_ACT_OK as i32)
}
