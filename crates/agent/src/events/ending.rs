//! How flows end: what a packet says about it, and what nobody says, because nothing comes any more.

use super::reader::Drain;
use super::record::Way;
use datapath_layouts::event::{end, event_flags};
use datapath_layouts::flow::{flow_flags, flow_state, half_state};
use datapath_layouts::{DropReason, Event, EventKind, Flow, FlowKey, ObservationPoint};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;

/// How the event's flow ended with it; `None`: it goes on, or nobody knows.
#[must_use]
pub fn way(event: &Event) -> Option<Way> {
    match EventKind::from_number(event.kind)? {
        EventKind::EndOfFlow => Some(ended(event)),
        EventKind::Drop => dropped(event),
        _ => None,
    }
}

fn ended(event: &Event) -> Way {
    let answered = event.reply_packets > 0;
    let (reset, reply) = (event.flags & event_flags::RESET != 0, event.flags & event_flags::REPLY != 0);
    match event.reason {
        end::GONE => Way::PeerGone,
        end::REFUSED => Way::RefusedByServer,
        end::SILENT if answered && event.protocol != TCP => Way::Idle,
        end::SILENT => Way::TimedOut,
        // Of a connection whose beginning was not seen nobody knows whether the reset is an answer to it.
        _ if reset && reply && event.tcp_flags_forward & SYN != 0 && event.tcp_flags_reply & SYN == 0 => {
            Way::RefusedByServer
        }
        _ if reset && reply => Way::ResetByDestination,
        _ if reset => Way::ResetBySource,
        _ => Way::Closed,
    }
}

fn dropped(event: &Event) -> Option<Way> {
    let (into, reply) = (event.flags & event_flags::INGRESS != 0, event.flags & event_flags::REPLY != 0);
    Some(match DropReason::from_number(event.reason)? {
        // The end that was judged is the receiver of this packet, or its sender.
        DropReason::PolicyDenied | DropReason::PolicyDeny if into == reply => Way::DeniedAtSource,
        DropReason::PolicyDenied | DropReason::PolicyDeny => Way::DeniedAtDestination,
        DropReason::NoBackend => Way::NoBackends,
        DropReason::ServiceAddress => Way::NoSuchPort,
        _ => return None,
    })
}

/// The event of a flow that is forgotten, `why` being one of [`end`]; `None` where its end has been told, or where it never
/// was one: denied flows are remembered as such.
#[must_use]
pub fn forgotten(key: &FlowKey, flow: &Flow, now_ns: u64, why: u8) -> Option<Event> {
    let denied = [&flow.source, &flow.destination].iter().any(|half| half.state == half_state::DENIED);
    if denied || matches!(flow.state, flow_state::CLOSED | flow_state::RESET) {
        return None;
    }
    // Kernels send one error a second. What was sent long after the last one has been taken, by whoever listens by now.
    let refused = flow.flags & flow_flags::REFUSED != 0
        && flow.reply.packets == 0
        && flow.forward.last_seen_ns <= flow.reply.last_seen_ns.saturating_add(REFUSED_STILL_NS);
    let why = if why == end::SILENT && refused { end::REFUSED } else { why };
    let high = flow.flags & flow_flags::INITIATOR_HIGH != 0;
    let ends = [(key.low, key.low_port), (key.high, key.high_port)];
    let ((source, source_port), (destination, destination_port)) = (ends[usize::from(high)], ends[usize::from(!high)]);
    // A point there has to be: clients read none as a Pod's end.
    let (mut flags, point) = if flow.source.state == half_state::UNJUDGED {
        (event_flags::INGRESS, ObservationPoint::ToEndpoint)
    } else {
        (0, ObservationPoint::FromEndpoint)
    };
    if flow.flags & flow_flags::SERVICE != 0 {
        flags |= event_flags::TRANSLATED;
    } else if flow.flags & flow_flags::ASKED != 0 {
        flags |= event_flags::ASKED;
    }
    Some(Event {
        time_ns: now_ns,
        source,
        destination,
        original: flow.service_address,
        original_port: flow.service_port,
        forward_bytes: flow.forward.bytes,
        reply_bytes: flow.reply.bytes,
        forward_packets: flow.forward.packets,
        reply_packets: flow.reply.packets,
        duration_ns: now_ns.saturating_sub(flow.created_ns),
        handshake_ns: flow.handshake_ns,
        source_identity: flow.source_identity,
        destination_identity: flow.destination_identity,
        source_port,
        destination_port,
        egress_rule: flow.source.rule,
        ingress_rule: flow.destination.rule,
        tcp_flags_forward: flow.tcp_flags_forward,
        tcp_flags_reply: flow.tcp_flags_reply,
        kind: EventKind::EndOfFlow as u8,
        reason: why,
        protocol: key.protocol,
        point: point as u8,
        flags,
        ..Event::ZERO
    })
}

/// Where the collector tells of what it forgets. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct Forgotten {
    sender: mpsc::Sender<Event>,
    untold: Arc<AtomicU64>,
}

impl Forgotten {
    /// And the ring with these ends among its events.
    pub fn beside<R: Drain>(ring: R) -> (Self, Beside<R>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let untold = Arc::new(AtomicU64::new(0));
        (Self { sender, untold: untold.clone() }, Beside { ring, receiver, untold })
    }

    /// Tells of one.
    pub fn tell(&self, event: Event) {
        if self.sender.try_send(event).is_err() {
            self.untold.fetch_add(1, Relaxed);
        }
    }
}

/// A ring, and what the collector tells beside it.
pub struct Beside<R> {
    ring: R,
    receiver: mpsc::Receiver<Event>,
    untold: Arc<AtomicU64>,
}

impl<R: Drain> Drain for Beside<R> {
    fn drain(&mut self, take: &mut dyn FnMut(&Event)) -> usize {
        let found = self.ring.drain(take);
        let told = std::iter::from_fn(|| self.receiver.try_recv().ok()).take(WAITING);
        found + told.map(|event| take(&event)).count()
    }

    fn lost(&mut self) -> u64 {
        self.ring.lost() + self.untold.load(Relaxed)
    }
}

/// Ends that wait for the reader; about 6 MB when all are used, which one look of the collector may do. The memory is had
/// only then.
const WAITING: usize = 32 * 1024;

const REFUSED_STILL_NS: u64 = 5_000_000_000;

const TCP: u8 = 6;
const SYN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use datapath_layouts::{Address, Half};
    use datapath_logic::tuple::{Tuple, flow_key};

    fn end_of(flags: u8, forward: u8, reply: u8) -> Option<Way> {
        way(&Event {
            kind: EventKind::EndOfFlow as u8,
            protocol: TCP,
            flags,
            tcp_flags_forward: forward,
            tcp_flags_reply: reply,
            reply_packets: 1,
            ..Event::ZERO
        })
    }

    #[test]
    fn a_reset_is_a_refusal_only_as_the_answer_to_a_syn() {
        let (reset, reply) = (event_flags::RESET, event_flags::REPLY);
        assert_eq!(end_of(0, 0x13, 0x13), Some(Way::Closed));
        assert_eq!(end_of(reset | reply, SYN, 0x14), Some(Way::RefusedByServer));
        assert_eq!(end_of(reset | reply, SYN | 0x10, 0x14 | SYN), Some(Way::ResetByDestination));
        assert_eq!(end_of(reset | reply, 0x10, 0x14), Some(Way::ResetByDestination), "picked up in the middle");
        assert_eq!(end_of(reset, SYN | 0x14, 0x12), Some(Way::ResetBySource));
    }

    #[test]
    fn what_is_denied_is_denied_at_one_end() {
        let dropped = |reason: DropReason, flags| {
            way(&Event { kind: EventKind::Drop as u8, reason: reason as u8, flags, ..Event::ZERO })
        };
        let (into, reply) = (event_flags::INGRESS, event_flags::REPLY);
        assert_eq!(dropped(DropReason::PolicyDenied, 0), Some(Way::DeniedAtSource));
        assert_eq!(dropped(DropReason::PolicyDeny, into), Some(Way::DeniedAtDestination));
        assert_eq!(dropped(DropReason::PolicyDeny, reply), Some(Way::DeniedAtDestination));
        assert_eq!(dropped(DropReason::PolicyDeny, reply | into), Some(Way::DeniedAtSource));
        assert_eq!(dropped(DropReason::NoBackend, 0), Some(Way::NoBackends));
        assert_eq!(dropped(DropReason::ServiceAddress, 0), Some(Way::NoSuchPort));
        assert_eq!(dropped(DropReason::TtlExceeded, 0), None, "one packet is no flow");
        assert_eq!(way(&Event { kind: EventKind::NewFlow as u8, ..Event::ZERO }), None);
    }

    fn tracked(initiator: [u8; 4], protocol: u8) -> (FlowKey, Flow) {
        let (source, destination) = (Address::from_v4(initiator), Address::from_v4([10, 0, 0, 5]));
        let mut key = FlowKey::ZERO;
        let high =
            flow_key(&Tuple { source, destination, source_port: 4000, destination_port: 80, protocol }, &mut key);
        let flags = if high { flow_flags::INITIATOR_HIGH } else { 0 };
        (key, Flow { flags, created_ns: 5, source: Half { state: half_state::ACCEPTED, ..Half::ZERO }, ..Flow::ZERO })
    }

    #[test]
    fn what_is_forgotten_is_told_once_and_from_its_initiator() {
        for initiator in [[10, 0, 0, 1], [10, 0, 0, 9]] {
            let (key, flow) = tracked(initiator, TCP);
            let event = forgotten(&key, &flow, 105, end::SILENT).unwrap();
            assert_eq!(
                (event.source.to_ip().to_string(), event.source_port),
                (Address::from_v4(initiator).to_ip().to_string(), 4000)
            );
            assert_eq!((event.destination_port, event.duration_ns, event.flags), (80, 100, 0));
            assert_eq!(event.point, ObservationPoint::FromEndpoint as u8);
            assert_eq!(way(&event), Some(Way::TimedOut));
            assert_eq!(way(&Event { reason: end::GONE, ..event }), Some(Way::PeerGone));
        }
        let (key, flow) = tracked([10, 0, 0, 1], 17);
        let mut answered = flow;
        answered.reply.packets = 1;
        assert_eq!(way(&forgotten(&key, &flow, 105, end::SILENT).unwrap()), Some(Way::TimedOut));
        assert_eq!(way(&forgotten(&key, &answered, 105, end::SILENT).unwrap()), Some(Way::Idle));
        for state in [flow_state::CLOSED, flow_state::RESET] {
            assert_eq!(forgotten(&key, &Flow { state, ..flow }, 105, end::SILENT), None, "told when it ended");
        }
        let refused = Flow { flags: flow.flags | flow_flags::REFUSED, ..flow };
        let told = |flow, why| way(&forgotten(&key, flow, 105, why).unwrap());
        assert_eq!(told(&refused, end::SILENT), Some(Way::RefusedByServer));
        assert_eq!(told(&refused, end::GONE), Some(Way::PeerGone));
        let mut taken = refused;
        (taken.reply.last_seen_ns, taken.forward.last_seen_ns) = (100, 100 + REFUSED_STILL_NS + 1);
        assert_eq!(told(&taken, end::SILENT), Some(Way::TimedOut), "somebody listens since");
        answered.flags |= flow_flags::REFUSED;
        assert_eq!(told(&answered, end::SILENT), Some(Way::Idle), "it had been answered");
        let denied = Half { state: half_state::DENIED, ..Half::ZERO };
        assert_eq!(forgotten(&key, &Flow { destination: denied, ..flow }, 105, end::SILENT), None, "never was one");
        let asked = Flow { flags: flow.flags | flow_flags::ASKED, service_port: 53, ..flow };
        let told = forgotten(&key, &asked, 105, end::SILENT).unwrap();
        assert_eq!(
            (told.flags, told.original_port),
            (event_flags::ASKED, 53),
            "its service is named, and was never in a packet"
        );
        let elsewhere = Flow { source: Half::ZERO, ..flow };
        let told = forgotten(&key, &elsewhere, 105, end::GONE).unwrap();
        assert_eq!((told.flags, told.point), (event_flags::INGRESS, ObservationPoint::ToEndpoint as u8));
    }

    struct Empty;

    impl Drain for Empty {
        fn drain(&mut self, _: &mut dyn FnMut(&Event)) -> usize {
            0
        }

        fn lost(&mut self) -> u64 {
            2
        }
    }

    #[test]
    fn too_many_at_once_are_counted_and_wait_for_nobody() {
        let (forgotten, mut ring) = Forgotten::beside(Empty);
        (0..WAITING + 3).for_each(|_| forgotten.tell(Event::ZERO));
        let mut seen = 0;
        assert_eq!(ring.drain(&mut |_| seen += 1), WAITING);
        assert_eq!((seen, ring.lost()), (WAITING, 5));
    }
}
