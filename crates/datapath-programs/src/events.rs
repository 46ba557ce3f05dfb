//! Counting and reporting. An event that finds no room is counted, never silently lost.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{Address, DropReason, Event, EventKind, Flow, Observation, ObservationPoint, stats};
use packet_headers::flags;

use crate::config::config;
use crate::maps::{EVENTS, FOLLOWED, STATS};
use crate::scratch::Scratch;
use crate::skb::Skb;

/// Adds to a slot of this CPU.
#[inline(always)]
pub fn count(slot: u32, packets: u64, bytes: u64) {
    if let Some(value) = STATS.get_ptr_mut(slot) {
        // SAFETY: per-CPU value; programs on one CPU do not nest.
        unsafe {
            (*value).packets += packets;
            (*value).bytes += bytes;
        }
    }
}

/// Writes one record; `flow` fills the fields about a whole flow.
#[inline(never)]
fn emit(skb: Skb, s: &Scratch, kind: EventKind, reason: u32, flow: Option<&Flow>) {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(stats::EVENTS_LOST, 1, 0);
        return;
    };
    let h = &s.headers;
    let (mut marks, mut rule) = (s.event_flags, s.rule);
    if matches!(kind, EventKind::Audit) {
        marks |= s.audit.flags;
        rule = s.audit.rule;
    }
    // The end of a flow may be told by an answer, which was never translated to the service.
    let (original, original_port) = match flow {
        Some(flow) if flow.flags & (flow_flags::SERVICE | flow_flags::ASKED) != 0 => {
            (flow.service_address, flow.service_port)
        }
        _ => (s.original, s.original_port),
    };
    if original_port != 0 && marks & event_flags::ASKED == 0 {
        marks |= event_flags::TRANSLATED;
    }
    let event = entry.as_mut_ptr();
    // SAFETY: the ring gave room for one whole event, and every field is written; in place, because a copy of it
    // would take a third of the stack.
    unsafe {
        let now = bpf_ktime_get_ns();
        (*event).time_ns = now;
        (*event).source = h.source;
        (*event).destination = h.destination;
        (*event).original = original;
        (*event).tunnel = s.tunnel;
        if let Some(flow) = flow {
            (*event).forward_bytes = flow.forward.bytes;
            (*event).reply_bytes = flow.reply.bytes;
            (*event).forward_packets = flow.forward.packets;
            (*event).reply_packets = flow.reply.packets;
            // By the clock of its beginning.
            (*event).duration_ns = if matches!(kind, EventKind::NewFlow) { 0 } else { now.wrapping_sub(flow.created_ns) };
            (*event).handshake_ns = flow.handshake_ns;
            (*event).egress_rule = flow.source.rule;
            (*event).ingress_rule = flow.destination.rule;
            (*event).tcp_flags_forward = flow.tcp_flags_forward;
            (*event).tcp_flags_reply = flow.tcp_flags_reply;
        } else {
            (*event).forward_bytes = 0;
            (*event).reply_bytes = 0;
            (*event).forward_packets = 0;
            (*event).reply_packets = 0;
            (*event).duration_ns = 0;
            (*event).handshake_ns = 0;
            (*event).egress_rule = 0;
            (*event).ingress_rule = 0;
            (*event).tcp_flags_forward = 0;
            (*event).tcp_flags_reply = 0;
        }
        (*event).netns_cookie = 0;
        (*event).source_identity = s.source_identity;
        (*event).destination_identity = s.destination_identity;
        (*event).ifindex = skb.ifindex();
        (*event).length = h.length;
        (*event).rule = rule;
        (*event).source_port = h.source_port;
        (*event).destination_port = h.destination_port;
        (*event).original_port = original_port;
        (*event).kind = kind as u8;
        (*event).point = s.point;
        (*event).reason = reason as u8;
        (*event).protocol = h.protocol;
        (*event).tcp_flags = h.tcp_flags;
        (*event).icmp_type = h.icmp_type;
        (*event).icmp_code = h.icmp_code;
        (*event).flags = marks;
        (*event).cpu = bpf_get_smp_processor_id() as u16;
        (*event).followed = s.followed;
    }
    // The reader polls by time; a wake-up per event would cost more than the event.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    count(stats::EVENTS_WRITTEN, 1, 0);
}

/// A call to a service that a socket hook refused.
pub struct Call {
    pub netns_cookie: u64,
    pub to: Address,
    pub port: u16,
    /// The socket's own port, where it has one already; otherwise 0.
    pub own_port: u16,
    pub transport: u8,
}

/// A socket hook refused a call to a service: no packet will tell of it.
#[inline(never)]
pub fn call_refused(call: &Call, reason: u32) {
    count(reason, 1, 0);
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(stats::EVENTS_LOST, 1, 0);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the ring gave room for one whole event, whose every bit pattern is one; zero first, then what is known.
    unsafe {
        let words = event.cast::<u64>();
        let mut i = 0;
        while i < size_of::<Event>() / 8 {
            core::ptr::write_volatile(words.add(i), 0);
            i += 1;
        }
        (*event).time_ns = bpf_ktime_get_ns();
        (*event).destination = call.to;
        (*event).netns_cookie = call.netns_cookie;
        (*event).source_port = call.own_port;
        (*event).destination_port = call.port;
        (*event).kind = EventKind::Drop as u8;
        (*event).point = ObservationPoint::FromEndpoint as u8;
        (*event).reason = reason as u8;
        (*event).protocol = call.transport;
        (*event).cpu = bpf_get_smp_processor_id() as u16;
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    count(stats::EVENTS_WRITTEN, 1, 0);
}

/// Counts and reports a drop; the verdict to return.
#[inline(always)]
pub fn dropped(skb: Skb, s: &Scratch, reason: DropReason) -> i32 {
    // An unused port is refused in the words for a service without endpoints; whoever reads the event wants to know.
    let reason = if s.unused_port != 0 { DropReason::ServiceAddress } else { reason };
    count(reason as u32, 1, u64::from(s.headers.length));
    emit(skb, s, EventKind::Drop, reason as u32, None);
    aya_ebpf::bindings::TC_ACT_SHOT as i32
}

/// Whether anybody wants to know of flows; of whom somebody follows he does.
#[inline(always)]
fn are_flows_told(s: &Scratch) -> bool {
    config!(observation) != Observation::Drops as u32 || s.followed != 0
}

/// The flow that was just opened (`s.flow`) passed towards `point`.
#[inline(always)]
pub fn new_flow(skb: Skb, s: &mut Scratch, point: ObservationPoint) {
    count(stats::FLOWS_CREATED, 1, 0);
    if !are_flows_told(s) {
        return;
    }
    let own = core::mem::replace(&mut s.point, point as u8);
    emit(skb, s, EventKind::NewFlow, 0, Some(&s.flow));
    s.point = own;
}

/// A flow that policy held back goes on: told as a new one, where it is met.
#[inline(always)]
pub fn new_flow_here(skb: Skb, s: &Scratch) {
    if are_flows_told(s) {
        emit(skb, s, EventKind::NewFlow, 0, None);
    }
}

/// A flow passes that a policy in audit mode denies, as `s.audit` says.
#[inline(always)]
pub fn audited(skb: Skb, s: &Scratch, reason: u32) {
    emit(skb, s, EventKind::Audit, reason, None);
}

/// A flow ended.
#[inline(always)]
pub fn end_of_flow(skb: Skb, s: &mut Scratch, flow: &Flow, reset: bool) {
    if reset {
        s.event_flags |= event_flags::RESET;
    }
    if are_flows_told(s) {
        emit(skb, s, EventKind::EndOfFlow, 0, Some(flow));
    }
}

/// Who follows the packet at hand, by one of its ends as they now stand (for an ICMP error: of the packet that it quotes).
#[inline(always)]
pub fn follow(s: &mut Scratch) {
    // SAFETY: a map value; a change of it by the agent at the same time may miss this packet, or tell one too many.
    let Some(followed) = FOLLOWED.get_ptr(0).map(|f| unsafe { &*f }) else { return };
    if followed.ports != 0 {
        s.followed |= followed_at() as u16;
    }
}

/// At which places. A global function, which the verifier goes through once: each end may or may not be one of sixteen.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn followed_at() -> u32 {
    let (Some(s), Some(followed)) = (Scratch::current(), FOLLOWED.get_ptr(0)) else { return 0 };
    // SAFETY: as above.
    let (h, followed) = (&s.headers, unsafe { &*followed });
    let mut places = followed.places(&h.source, h.source_port, h.protocol)
        | followed.places(&h.destination, h.destination_port, h.protocol);
    if h.is(flags::ICMP_ERROR) {
        places |= followed.places(&h.inner_source, h.inner_source_port, h.inner_protocol)
            | followed.places(&h.inner_destination, h.inner_destination_port, h.inner_protocol);
    }
    u32::from(places)
}

/// A packet that somebody follows came to this program, as it was.
#[inline(always)]
pub fn arrived(skb: Skb, s: &mut Scratch) {
    follow(s);
    if s.followed != 0 {
        emit(skb, s, EventKind::Trace, 0, None);
    }
}

/// A packet passed towards `point`: counted; reported only while somebody traces.
#[inline(always)]
pub fn passed(skb: Skb, s: &mut Scratch, point: ObservationPoint) {
    count(stats::FORWARDED + point as u32, u64::from(s.segments), u64::from(s.headers.length));
    if config!(observation) == Observation::Packets as u32 || s.followed != 0 {
        let own = core::mem::replace(&mut s.point, point as u8);
        emit(skb, s, EventKind::Trace, 0, None);
        s.point = own;
    }
}
