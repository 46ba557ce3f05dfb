//! `to_pod`: what the host's stack sends into a Pod. Host side of its veth, egress.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use datapath_layouts::event::event_flags;
use datapath_layouts::{DropReason, ObservationPoint, identity, stats};
use packet_headers::{flags, is_neighbour_chatter};

use super::{IS_IP, IS_OTHER, find_flow, open_flow, read};
use crate::code::{self, Code};
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;
use crate::enforce::{self, Here};
use crate::{asked, deliver, events, fragments};

#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    let skb = Skb(ctx.skb.skb);
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
    if code != IS_IP || is_neighbour_chatter(s.headers.protocol, s.headers.icmp_type) {
        // The Pod's only neighbour is fixed: whatever the host's stack mutters on this link is for nobody.
        events::count(stats::QUIET_DROPS, 1, 0);
        return Ok(TC_ACT_SHOT as i32);
    }
    s.event_flags |= event_flags::INGRESS;
    fragments::resolve(s)?;
    let Some(target) = endpoint_of(&s.headers.destination) else { return Err(DropReason::NoLocalEndpoint) };
    if target.ifindex != skb.ifindex() {
        return Err(DropReason::NoLocalEndpoint);
    }
    let own = endpoint_of(&s.headers.source);
    s.source_identity = match own {
        Some(own) => own.identity,
        None => route_of(&s.headers.source).map_or(identity::WORLD, |r| r.identity),
    };
    let policy_of_node = enforce::policy_of_node(own, &s.headers.source);
    let found = find_flow(skb, s)?;
    s.destination_identity = target.identity;
    // An ICMP error of the host's own stack about a packet it saw (as from a host port that nobody serves) may be
    // about a flow that was never tracked; it comes from the node itself, so it passes.
    let mut opens = !found && !s.headers.is(flags::ICMP_ERROR);
    if opens {
        s.opening.plain(true, true);
        asked::look(skb, s);
    }
    if found || opens {
        let tracked = enforce::host(skb, s, Here::Sender, policy_of_node, found)?;
        opens &= tracked;
        enforce::policy(skb, s, Here::Receiver, target.policy_id, found)?;
    }
    if opens {
        open_flow(skb, s, ObservationPoint::ToEndpoint)?;
    }
    deliver::to_pod(skb, s, target, true)
}
