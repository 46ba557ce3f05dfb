//! Connection tracking in the kernel: finding, making, moving and reporting flows.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use datapath_layouts::event::event_flags;
use datapath_layouts::flow::{flow_flags, flow_state, half_state};
use datapath_layouts::{Address, Counters, DropReason, Flow, Half, ServiceFlow};
use datapath_logic::conntrack::{self, Progress, Seen};
use datapath_logic::tuple;
use packet_headers::{flags, protocol};

use crate::code::{self, Code};
use crate::events;
use crate::maps::{CONNTRACK, HALF_OPEN, SERVICE_FLOWS};
use crate::scratch::Scratch;
use crate::skb::Skb;

/// What the tables know about the packet's flow, copied out of the entry (which may be promoted or evicted).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Known {
    /// From responder to initiator.
    pub reply: bool,
    /// `flow_flags`.
    pub flags: u16,
    pub service_address: Address,
    pub service_port: u16,
    pub entry_node: Address,
    /// What policy said at the initiator's end, if that is here.
    pub source: Half,
    /// And at the responder's.
    pub destination: Half,
}

impl Known {
    #[inline(always)]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What is known about a new flow.
#[repr(C)]
pub struct Opening {
    pub service_address: Address,
    pub entry_node: Address,
    pub service_port: u16,
    pub flags: u16,
    /// What the initiator's end has said, if that is here.
    pub source: Half,
    /// What the responder's end has said, if that is here.
    pub destination: Half,
}

impl Opening {
    /// A plain flow between the ends that are here.
    #[inline(always)]
    pub fn plain(&mut self, source_here: bool, destination_here: bool) {
        self.service_address = Address::ZERO;
        self.entry_node = Address::ZERO;
        self.service_port = 0;
        self.flags = 0;
        // An end without a policy accepts; one that has a policy is judged before the flow is opened.
        accept(&mut self.source, source_here);
        accept(&mut self.destination, destination_here);
    }
}

#[inline(always)]
fn accept(half: &mut Half, here: bool) {
    *half = Half { state: if here { half_state::ACCEPTED } else { half_state::UNJUDGED }, ..Half::ZERO };
}

/// Finds the flow of `s.tuple` and, unless the packet is an ICMP error about it, counts the packet in.
/// True: `s.known` says what there was.
#[inline(always)]
pub fn find(skb: Skb, s: &mut Scratch) -> bool {
    find_into(skb, s) != 0
}

/// [`find`] as a subprogram: 1 or 0.
#[inline(never)]
fn find_into(skb: Skb, s: &mut Scratch) -> u32 {
    match find_entry(skb, s) {
        Some(()) => 1,
        None => 0,
    }
}

#[inline(always)]
fn find_entry(skb: Skb, s: &mut Scratch) -> Option<()> {
    let source_high = tuple::flow_key(&s.tuple, &mut s.key);
    let mut half_open = false;
    let entry = match CONNTRACK.get_ptr_mut(&s.key) {
        Some(entry) => entry,
        None => {
            half_open = true;
            HALF_OPEN.get_ptr_mut(&s.key)?
        }
    };
    // SAFETY: a map value; other CPUs may write the other direction's counters at the same time, which are words.
    let flow = unsafe { &mut *entry };
    let error = s.headers.is(flags::ICMP_ERROR);
    let transport = s.tuple.protocol;
    if conntrack::is_expired(flow, transport, s.now)
        || (!error && conntrack::reopens(flow, transport, s.headers.tcp_flags))
    {
        // Left in place it would shadow the fresh entry.
        let _ = if half_open { HALF_OPEN.remove(&s.key) } else { CONNTRACK.remove(&s.key) };
        return None;
    }
    let initiator_high = flow.flags & flow_flags::INITIATOR_HIGH != 0;
    s.known = Known {
        reply: source_high != initiator_high,
        flags: flow.flags,
        service_address: flow.service_address,
        service_port: flow.service_port,
        entry_node: flow.entry_node,
        source: flow.source,
        destination: flow.destination,
    };
    s.destination_identity = if s.known.reply { flow.source_identity } else { flow.destination_identity };
    if error {
        let h = &s.headers;
        if s.known.reply && conntrack::refuses(flow, h.protocol, h.icmp_type, h.icmp_code) {
            flow.flags |= flow_flags::REFUSED;
            flow.reply.last_seen_ns = s.now;
        }
        return Some(());
    }
    let seen = Seen {
        now: s.now,
        bytes: u64::from(s.headers.length),
        packets: u64::from(s.segments),
        tcp_flags: s.headers.tcp_flags,
        protocol: transport,
        reply: s.known.reply,
    };
    let progress = conntrack::advance(flow, &seen);
    if matches!(progress, Progress::Established) && flow.handshake_ns != 0 {
        flow.handshake_ns = exact_now().wrapping_sub(flow.created_ns);
    }
    match progress {
        Progress::Established if half_open => {
            if CONNTRACK.insert(&s.key, &*flow, 0).is_ok() {
                let _ = HALF_OPEN.remove(&s.key);
            }
        }
        Progress::Ended => {
            let reset = flow.state == flow_state::RESET;
            // The callers learn of the direction only after this; whoever reads the event needs it in there.
            if s.known.reply {
                s.event_flags |= event_flags::REPLY;
            }
            if s.known.is(flow_flags::ASKED) {
                s.event_flags |= event_flags::ASKED;
            }
            events::end_of_flow(skb, s, flow, reset);
        }
        Progress::Established | Progress::Continues => {}
    }
    Some(())
}

/// Counts the packet into the flow of `s.tuple`, if it is one of a client outside with a backend elsewhere, both of whom have
/// spoken, and the packet neither begins nor ends it: then there is nothing to report or to decide. 1 or 0.
#[inline(never)]
pub fn count_forwarded(s: &mut Scratch) -> u32 {
    let source_high = tuple::flow_key(&s.tuple, &mut s.key);
    let transport = s.tuple.protocol;
    let turns = protocol::tcp::SYN | protocol::tcp::FIN | protocol::tcp::RST;
    if transport == protocol::TCP && s.headers.tcp_flags & turns != 0 {
        return 0;
    }
    let Some(entry) = CONNTRACK.get_ptr_mut(&s.key) else { return 0 };
    // SAFETY: as in `find_entry`.
    let flow = unsafe { &mut *entry };
    let forward = source_high == (flow.flags & flow_flags::INITIATOR_HIGH != 0);
    let forwarded = flow.flags & (flow_flags::FORWARDED | flow_flags::VIA_ENTRY) == flow_flags::FORWARDED;
    let goes_on = flow.state == flow_state::ESTABLISHED && !conntrack::is_expired(flow, transport, s.now);
    if !(forward && forwarded && goes_on) {
        return 0;
    }
    let seen = Seen {
        now: s.now,
        bytes: u64::from(s.headers.length),
        packets: 1,
        tcp_flags: s.headers.tcp_flags,
        protocol: transport,
        reply: false,
    };
    conntrack::advance(flow, &seen);
    1
}

/// Whether the client of the flow that [`find`] just found came in by another way than it does now: by another node than
/// `s.tunnel`.
#[inline(always)]
pub fn entered_elsewhere(s: &Scratch) -> bool {
    let elsewhere = s.known.is(flow_flags::VIA_ENTRY) && !s.known.entry_node.same(&s.tunnel);
    elsewhere && !s.known.reply && !s.headers.is(flags::ICMP_ERROR)
}

/// A client has moved from one way in to another (a load balancer's address may): `s.tunnel`'s node, or this one when
/// `s.original` is set. Answers go by the way of its last packet. A SYN moves nothing: from the same port by another node
/// it is another connection.
#[inline(always)]
pub fn follow_client(s: &mut Scratch) {
    if entered_elsewhere(s) && !is_syn(s) {
        move_entry(s);
    }
}

/// A client that asks by another service than before, from the same port and for the same backend, is answered as by the
/// one that it asked last. Not with TCP, where that is another connection.
#[inline(always)]
pub fn follow_service(s: &mut Scratch) {
    // One that its socket had asked for by itself is not turned back yet.
    let same = s.known.service_port == s.original_port
        && s.known.service_address.same(&s.original)
        && !s.known.is(flow_flags::ASKED);
    if !same && !s.known.reply && !s.known.is(flow_flags::VIA_ENTRY) && s.tuple.protocol != protocol::TCP {
        move_entry(s);
    }
}

/// A TCP packet that begins a connection, or answers one that does.
#[inline(always)]
pub fn is_syn(s: &Scratch) -> bool {
    s.tuple.protocol == protocol::TCP && s.headers.tcp_flags & protocol::tcp::SYN != 0
}

#[inline(never)]
fn move_entry(s: &mut Scratch) -> u32 {
    let Some(flow) = entry(s) else { return 0 };
    flow.entry_node = s.tunnel;
    if s.original_port != 0 {
        flow.service_address = s.original;
        flow.service_port = s.original_port;
        flow.flags = flow.flags & !(flow_flags::VIA_ENTRY | flow_flags::ASKED) | flow_flags::SERVICE;
    }
    1
}

/// The entry that [`find`] found, wherever it is by now.
#[inline(always)]
pub fn entry(s: &Scratch) -> Option<&'static mut Flow> {
    let entry = CONNTRACK.get_ptr_mut(&s.key).or_else(|| HALF_OPEN.get_ptr_mut(&s.key))?;
    // SAFETY: as in `find_entry`.
    Some(unsafe { &mut *entry })
}

/// Remembers that `s.tuple` was refused, and where: neither its answers nor its next packets pass as something new.
#[inline(always)]
pub fn bury(s: &mut Scratch) {
    if conntrack::may_open(s.tuple.protocol, s.headers.tcp_flags) {
        // Without room the next packet is judged afresh: it is refused again.
        let _ = open_code(s);
    }
}

/// [`open`] as a subprogram.
#[inline(never)]
pub fn open_code(s: &mut Scratch) -> Code {
    code::encode(open(s))
}

/// Makes an entry for `s.tuple` (whose key [`find`] left in `s.key`), with the packet counted in. The caller has asked
/// [`conntrack::may_open`].
#[inline(always)]
fn open(s: &mut Scratch) -> Result<(), DropReason> {
    let transport = s.tuple.protocol;
    let source_high = tuple::flow_key(&s.tuple, &mut s.key);
    let mut state_flags = s.opening.flags;
    if source_high {
        state_flags |= flow_flags::INITIATOR_HIGH;
    }
    if transport == protocol::TCP && s.headers.tcp_flags & protocol::tcp::SYN == 0 {
        state_flags |= flow_flags::MIDSTREAM;
    }
    // Field by field: the whole as a value would take a third of the stack.
    let (source, destination) = (s.source_identity, s.destination_identity);
    let flow = &mut s.flow;
    // By the exact clock, which costs more than the ticks of `s.now`: once for a flow, since a handshake may be shorter than a tick.
    flow.created_ns = exact_now();
    clear(&mut flow.forward);
    clear(&mut flow.reply);
    flow.handshake_ns = 0;
    flow.source = s.opening.source;
    flow.destination = s.opening.destination;
    // Where policy was not asked, the peer is remembered all the same.
    flow.source.peer_identity = destination;
    flow.destination.peer_identity = source;
    flow.service_address = s.opening.service_address;
    flow.entry_node = s.opening.entry_node;
    flow.source_identity = source;
    flow.destination_identity = destination;
    flow.service_port = s.opening.service_port;
    flow.flags = state_flags;
    flow.state = flow_state::NEW;
    flow.tcp_flags_forward = 0;
    flow.tcp_flags_reply = 0;
    flow.reserved = 0;
    let seen = Seen {
        now: s.now,
        bytes: u64::from(s.headers.length),
        packets: u64::from(s.segments),
        tcp_flags: s.headers.tcp_flags,
        protocol: transport,
        reply: false,
    };
    conntrack::advance(&mut s.flow, &seen);
    HALF_OPEN.insert(&s.key, &s.flow, 0).map_err(|_| DropReason::ConntrackInsert)
}

#[inline(always)]
fn exact_now() -> u64 {
    // SAFETY: plain helper call.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn clear(counters: &mut Counters) {
    counters.packets = 0;
    counters.bytes = 0;
    counters.last_seen_ns = 0;
}

/// The backend that this flow (as its client sees it, `s.service_key`) was given earlier.
#[inline(always)]
pub fn service_flow(s: &Scratch) -> Option<&'static mut ServiceFlow> {
    let entry = SERVICE_FLOWS.get_ptr_mut(&s.service_key)?;
    // SAFETY: a map value; its fields are words that one CPU at a time writes.
    Some(unsafe { &mut *entry })
}
