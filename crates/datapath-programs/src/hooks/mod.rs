//! One thin file per hook, and what they share: reading the packet, and the flow stage.

mod from_network;
mod from_overlay;
mod from_pod;
mod socket;
mod tcp_end;
mod to_network;
mod to_overlay;
mod to_pod;
mod xdp_from_network;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{DropReason, Half, ObservationPoint};
use datapath_logic::{conntrack, service};
use packet_headers::{Content, ETHERNET_HEADER, Headers, Packet, flags, parse_outer, parse_quoted};

use crate::code::{self, Code};
use crate::events;
use crate::scratch::Scratch;
use crate::services::{self, Translation};
use crate::skb::Skb;
use crate::track;
use crate::translate::{End, translate};

/// Reads the packet into `s`: one of the numbers below, or a drop reason's. Called from the program itself, not from
/// its stages, so that their stacks don't add up.
#[inline(always)]
fn read(skb: Skb, s: &mut Scratch, point: ObservationPoint) -> Code {
    s.point = point as u8;
    // SAFETY: plain helper call.
    s.now = unsafe { bpf_ktime_get_coarse_ns() };
    s.gso_size = skb.gso_size();
    let segments = skb.gso_segments();
    s.segments = if segments == 0 { 1 } else { segments };
    let code = read_headers(skb, s);
    if code == IS_IP {
        if s.headers.is(flags::ICMP_ERROR) {
            read_quote(skb, s);
        }
        events::arrived(skb, s);
    } else {
        // What the last packet left there must not be reported as this one's.
        s.headers = Headers::EMPTY;
        s.headers.length = skb.length().saturating_sub(ETHERNET_HEADER);
    }
    code
}

const IS_IP: Code = 0;
const IS_ARP: Code = 1;
const IS_OTHER: Code = 2;

#[inline(never)]
fn read_headers(skb: Skb, s: &mut Scratch) -> Code {
    match parse_outer(&skb, &mut s.headers) {
        Ok(Content::Ip) => IS_IP,
        Ok(Content::Arp) => IS_ARP,
        Ok(Content::Other(_)) => IS_OTHER,
        Err(reason) => reason as Code,
    }
}

#[inline(never)]
fn read_quote(skb: Skb, s: &mut Scratch) {
    parse_quoted(&skb, &mut s.headers);
}

/// Finds the packet's flow: true, and `s.known` says what there was. A reply of a translated flow gets its service's
/// address back, except where the client entered through another node, which does that.
#[inline(always)]
fn find_flow(skb: Skb, s: &mut Scratch) -> Result<bool, DropReason> {
    if s.headers.is(flags::ICMP_ERROR) {
        s.event_flags |= event_flags::RELATED;
        s.set_quoted_tuple();
    } else {
        s.set_tuple();
    }
    if !track::find(skb, s) {
        return Ok(false);
    }
    if s.known.is(flow_flags::ASKED) {
        s.event_flags |= event_flags::ASKED;
        s.original = s.known.service_address;
        s.original_port = s.known.service_port;
    }
    if s.known.reply {
        s.event_flags |= event_flags::REPLY;
        if s.known.is(flow_flags::SERVICE) && !s.known.is(flow_flags::VIA_ENTRY) {
            s.original = s.known.service_address;
            s.original_port = s.known.service_port;
            s.chosen = s.known.service_address;
            s.chosen_port = u32::from(s.known.service_port);
            translate(skb, s, End::Source)?;
        }
    }
    Ok(true)
}

/// What service translation made of a packet that no table knew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    /// It is for no service.
    No,
    /// It goes to a backend; the flow is known (`s.known`), or it is an ICMP error that needs none.
    Known,
    /// It goes to a backend and opens a flow.
    New,
    /// It goes as it is to the node in `s.chosen`.
    Direct,
}

/// For a packet without a flow: to a backend, if it is for a service.
#[inline(always)]
fn translate_service(skb: Skb, s: &mut Scratch, destination_is_node: bool) -> Result<Served, DropReason> {
    match services::to_backend(skb, s, destination_is_node)? {
        Translation::None => Ok(Served::No),
        Translation::Direct => Ok(Served::Direct),
        Translation::Done => {
            if s.headers.is(flags::ICMP_ERROR) {
                s.known.reply = false;
                // No end of its flow is asked for it.
                (s.known.source, s.known.destination) = (Half::ZERO, Half::ZERO);
                return Ok(Served::Known);
            }
            if s.headers.source.same(&s.headers.destination) {
                hide_from_itself(skb, s)?;
            }
            s.set_tuple();
            if !track::find(skb, s) {
                return Ok(Served::New);
            }
            track::follow_service(s);
            Ok(Served::Known)
        }
    }
}

/// A Pod that reaches itself by a service: no kernel accepts a packet from its own address, so it comes from another.
#[inline(always)]
fn hide_from_itself(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    s.chosen = if s.headers.is(flags::V6) { service::HAIRPIN_V6 } else { service::HAIRPIN_V4 };
    s.chosen_port = u32::from(s.headers.source_port);
    translate(skb, s, End::Source)
}

/// The answer to [`hide_from_itself`]: back to the Pod that it comes from.
#[inline(always)]
fn return_to_itself(skb: Skb, s: &mut Scratch) -> Result<(), DropReason> {
    s.chosen = s.tuple.source;
    s.chosen_port = u32::from(s.headers.destination_port);
    translate(skb, s, End::Destination)
}

/// Opens the flow that `s.opening` describes and reports it as having passed towards `point`.
#[inline(always)]
fn open_flow(skb: Skb, s: &mut Scratch, point: ObservationPoint) -> Result<(), DropReason> {
    code::decode(open_flow_code(skb, s, point))
}

#[inline(never)]
fn open_flow_code(skb: Skb, s: &mut Scratch, point: ObservationPoint) -> Code {
    if !conntrack::may_open(s.tuple.protocol, s.headers.tcp_flags) {
        return 0; // it passes, but there is no flow to tell of
    }
    if s.original_port != 0 && s.event_flags & event_flags::ASKED == 0 {
        s.opening.flags |= flow_flags::SERVICE;
        s.opening.service_address = s.original;
        s.opening.service_port = s.original_port;
    }
    let opened = track::open_code(s);
    if opened == 0 {
        events::new_flow(skb, s, point);
    }
    opened
}
