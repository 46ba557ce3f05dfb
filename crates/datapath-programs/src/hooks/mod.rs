//! One thin file per hook, and what they share: reading the packet, and the flow stage.

mod from_network;
mod from_overlay;
mod from_pod;
mod socket;
mod to_network;
mod to_overlay;
mod to_pod;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{DropReason, ObservationPoint};
use packet_headers::{Content, ETHERNET_HEADER, Headers, Packet, flags, parse};

use crate::code::{self, Code};
use crate::events;
use crate::scratch::Scratch;
use crate::services::{self, Translation};
use crate::skb::Skb;
use crate::track::{self, Known, Opening};
use crate::translate::{End, translate};

/// Reads the packet into `s`.
#[inline(always)]
fn read(skb: Skb, s: &mut Scratch, point: ObservationPoint) -> Result<Content, DropReason> {
    s.point = point as u8;
    // SAFETY: plain helper call.
    s.now = unsafe { bpf_ktime_get_coarse_ns() };
    s.gso_size = skb.gso_size();
    let segments = skb.gso_segments();
    s.segments = if segments == 0 { 1 } else { segments };
    match read_headers(skb, s) {
        IS_IP => Ok(Content::Ip),
        IS_ARP => Ok(Content::Arp),
        IS_OTHER => Ok(Content::Other(0)),
        number => {
            let reason = code::reason(number);
            // What the last packet left there must not be reported as this one's.
            s.headers = Headers::EMPTY;
            s.headers.length = skb.length().saturating_sub(ETHERNET_HEADER);
            Err(reason)
        }
    }
}

const IS_IP: u32 = 0;
const IS_ARP: u32 = 1;
const IS_OTHER: u32 = 2;

/// Parses; one of the numbers above, or a drop reason's.
#[inline(never)]
fn read_headers(skb: Skb, s: &mut Scratch) -> Code {
    match parse(&skb, &mut s.headers) {
        Ok(Content::Ip) => IS_IP,
        Ok(Content::Arp) => IS_ARP,
        Ok(Content::Other(_)) => IS_OTHER,
        Err(reason) => reason as Code,
    }
}

/// What the flow stage found out.
struct Flowing {
    /// The flow's entry, when there was one.
    known: Option<Known>,
}

impl Flowing {
    #[inline(always)]
    fn is_reply(&self) -> bool {
        self.known.is_some_and(|k| k.reply)
    }
    #[inline(always)]
    fn is(&self, flag: u16) -> bool {
        self.known.is_some_and(|k| k.is(flag))
    }
}

/// Finds the packet's flow. A reply of a translated flow gets its service's address back, except where the client
/// entered through another node, which does that.
#[inline(always)]
fn find_flow(skb: Skb, s: &mut Scratch) -> Result<Flowing, DropReason> {
    if s.headers.is(flags::ICMP_ERROR) {
        s.event_flags |= event_flags::RELATED;
        s.set_quoted_tuple();
    } else {
        s.set_tuple();
    }
    let known = track::find(skb, s);
    if let Some(known) = known {
        if known.reply {
            s.event_flags |= event_flags::REPLY;
        }
        if known.reply && known.is(flow_flags::SERVICE) && !known.is(flow_flags::VIA_ENTRY) {
            s.original = known.service_address;
            s.original_port = known.service_port;
            translate(skb, s, End::Source, known.service_address, known.service_port)?;
        }
    }
    Ok(Flowing { known })
}

/// For a packet without a flow: to a backend if it is for a service, and the flow that is found or must be opened
/// after that. `Ok(None)`: an ICMP error about nothing we know.
#[inline(always)]
fn translate_service(
    skb: Skb,
    s: &mut Scratch,
    destination_is_node: bool,
) -> Result<Option<(bool, Option<Known>)>, DropReason> {
    match services::to_backend(skb, s, destination_is_node)? {
        Translation::None => Ok(None),
        Translation::Done => {
            if s.headers.is(flags::ICMP_ERROR) {
                return Ok(Some((true, None)));
            }
            s.set_tuple();
            Ok(Some((true, track::find(skb, s))))
        }
    }
}

/// Opens the flow and reports it as having passed towards `point`.
#[inline(always)]
fn open_flow(skb: Skb, s: &mut Scratch, mut opening: Opening, point: ObservationPoint) -> Result<(), DropReason> {
    if s.original_port != 0 {
        opening.flags |= flow_flags::SERVICE;
        opening.service_address = s.original;
        opening.service_port = s.original_port;
    }
    track::open(s, &opening)?;
    s.tunnel = opening.entry_node;
    events::new_flow(skb, s, point);
    Ok(())
}
