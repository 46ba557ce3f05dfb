//! Connection tracking in the kernel: finding, making, moving and reporting flows.

use datapath_layouts::flow::{flow_flags, flow_state, half_state};
use datapath_layouts::{Address, DropReason, Flow, Half, ServiceFlow};
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
}

impl Known {
    #[inline(always)]
    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What is known about a new flow.
pub struct Opening {
    pub flags: u16,
    pub service_address: Address,
    pub service_port: u16,
    pub entry_node: Address,
    /// The initiator is on this node.
    pub source_here: bool,
    /// The responder is on this node.
    pub destination_here: bool,
}

impl Opening {
    pub const PLAIN: Self = Self {
        flags: 0,
        service_address: Address::ZERO,
        service_port: 0,
        entry_node: Address::ZERO,
        source_here: false,
        destination_here: false,
    };
}

/// Finds the flow of `s.tuple` and, unless the packet is an ICMP error about it, counts the packet in.
#[inline(always)]
pub fn find(skb: Skb, s: &mut Scratch) -> Option<Known> {
    if find_into(skb, s) != 0 { Some(s.known) } else { None }
}

/// [`find`] as a subprogram: 1 and `s.known`, or 0.
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
    };
    s.destination_identity = if s.known.reply { flow.source_identity } else { flow.destination_identity };
    if error {
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
    match conntrack::advance(flow, &seen) {
        Progress::Established if half_open => {
            if CONNTRACK.insert(&s.key, &*flow, 0).is_ok() {
                let _ = HALF_OPEN.remove(&s.key);
            }
        }
        Progress::Ended => {
            let reset = flow.state == flow_state::RESET;
            events::end_of_flow(skb, s, flow, reset);
        }
        Progress::Established | Progress::Continues => {}
    }
    Some(())
}

/// Makes an entry for `s.tuple` (whose key [`find`] left in `s.key`), with the packet counted in.
#[inline(always)]
pub fn open(s: &mut Scratch, opening: &Opening) -> Result<(), DropReason> {
    code::decode(open_entry(s, opening))
}

#[inline(never)]
fn open_entry(s: &mut Scratch, opening: &Opening) -> Code {
    code::encode(make_entry(s, opening))
}

#[inline(always)]
fn make_entry(s: &mut Scratch, opening: &Opening) -> Result<(), DropReason> {
    let transport = s.tuple.protocol;
    if !conntrack::may_open(transport, s.headers.tcp_flags) {
        return Ok(());
    }
    let source_high = tuple::flow_key(&s.tuple, &mut s.key);
    let mut state_flags = opening.flags;
    if source_high {
        state_flags |= flow_flags::INITIATOR_HIGH;
    }
    if transport == protocol::TCP && s.headers.tcp_flags & protocol::tcp::SYN == 0 {
        state_flags |= flow_flags::MIDSTREAM;
    }
    let here = |yes: bool, peer: u32| Half {
        state: if yes { half_state::ACCEPTED } else { half_state::UNJUDGED },
        peer_identity: peer,
        ..Half::ZERO
    };
    s.flow = Flow {
        created_ns: s.now,
        source: here(opening.source_here, s.destination_identity),
        destination: here(opening.destination_here, s.source_identity),
        service_address: opening.service_address,
        service_port: opening.service_port,
        entry_node: opening.entry_node,
        source_identity: s.source_identity,
        destination_identity: s.destination_identity,
        flags: state_flags,
        ..Flow::ZERO
    };
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

/// The backend that this flow (as its client sees it, `s.service_key`) was given earlier.
#[inline(always)]
pub fn service_flow(s: &Scratch) -> Option<&'static mut ServiceFlow> {
    let entry = SERVICE_FLOWS.get_ptr_mut(&s.service_key)?;
    // SAFETY: a map value; its fields are words that one CPU at a time writes.
    Some(unsafe { &mut *entry })
}
