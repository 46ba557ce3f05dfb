//! What the ends of a TCP connection knew of their way when it ended: asked of the kernel, once for each end of each
//! connection that this node has seen the end of.

use super::record::TcpEnd;
use datapath_layouts::event::event_flags;
use datapath_layouts::{Address, Event, EventKind, TcpEndKey};

/// What the kernel has of an end.
pub trait TcpEnds {
    /// Of this one; `None`: it is on another node, or has not closed.
    fn of(&self, key: &TcpEndKey) -> Option<datapath_layouts::TcpEnd>;
}

/// Of the initiator and of the responder, if the event is the end of a TCP connection.
#[must_use]
pub fn tcp_ends(event: &Event, known: &dyn TcpEnds) -> [Option<TcpEnd>; 2] {
    if event.kind != EventKind::EndOfFlow as u8 || event.protocol != TCP {
        return [None, None];
    }
    let packet = [(event.source, event.source_port), (event.destination, event.destination_port)];
    let reply = event.flags & event_flags::REPLY != 0;
    let (initiator, responder) = (packet[usize::from(reply)], packet[usize::from(!reply)]);
    // A socket whose packets are translated on their way knows the service alone.
    let translated = event.flags & event_flags::TRANSLATED != 0;
    let service = translated.then_some((event.original, event.original_port));
    let since = event.time_ns.saturating_sub(event.duration_ns).saturating_sub(TICK_NS);
    let of = |local: End, remote: End| {
        let key = TcpEndKey { local: local.0, remote: remote.0, local_port: local.1, remote_port: remote.1 };
        // What is older is of another connection between the same ports.
        known.of(&key).filter(|end| end.time_ns >= since)
    };
    let ends = [
        service.and_then(|service| of(initiator, service)).or_else(|| of(initiator, responder)),
        of(responder, initiator),
    ];
    ends.map(|end| end.map(|end| TcpEnd { srtt_us: end.srtt_us, retransmits: end.retransmits }))
}

type End = (Address, u16);

const TCP: u8 = 6;
/// A flow's age goes by a clock of the kernel's ticks, of which there are at least 100 in a second.
const TICK_NS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashMap;

    struct Table(HashMap<TcpEndKey, datapath_layouts::TcpEnd>, Cell<usize>);

    impl TcpEnds for Table {
        fn of(&self, key: &TcpEndKey) -> Option<datapath_layouts::TcpEnd> {
            self.1.set(self.1.get() + 1);
            self.0.get(key).copied()
        }
    }

    const CLIENT: (Address, u16) = (Address::from_v4([10, 0, 0, 1]), 40_000);
    const SERVER: (Address, u16) = (Address::from_v4([10, 0, 1, 1]), 8080);
    const SERVICE: (Address, u16) = (Address::from_v4([10, 96, 0, 1]), 80);

    fn table(ends: &[(End, End, u64, u32)]) -> Table {
        let entry = |&(local, remote, time_ns, retransmits): &(End, End, u64, u32)| {
            let key = TcpEndKey { local: local.0, remote: remote.0, local_port: local.1, remote_port: remote.1 };
            (key, datapath_layouts::TcpEnd { time_ns, srtt_us: 120, retransmits })
        };
        Table(ends.iter().map(entry).collect(), Cell::default())
    }

    fn event(flags: u8) -> Event {
        let (from, to) = if flags & event_flags::REPLY != 0 { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
        Event {
            kind: EventKind::EndOfFlow as u8,
            protocol: TCP,
            time_ns: 5_000_000_000,
            duration_ns: 1_000_000_000,
            source: from.0,
            source_port: from.1,
            destination: to.0,
            destination_port: to.1,
            original: SERVICE.0,
            original_port: SERVICE.1,
            flags,
            ..Event::ZERO
        }
    }

    fn retransmits(event: &Event, known: &Table) -> [Option<u32>; 2] {
        tcp_ends(event, known).map(|end| end.map(|end| end.retransmits))
    }

    #[test]
    fn each_end_is_who_it_was_whichever_way_the_last_packet_went() {
        let both = table(&[(CLIENT, SERVER, 4_500_000_000, 1), (SERVER, CLIENT, 4_500_000_000, 2)]);
        for flags in [0, event_flags::REPLY] {
            assert_eq!(retransmits(&event(flags), &both), [Some(1), Some(2)]);
        }
        assert_eq!(retransmits(&event(0), &table(&[(SERVER, CLIENT, 4_500_000_000, 2)])), [None, Some(2)]);
    }

    #[test]
    fn a_client_of_a_service_knows_the_service_or_what_its_socket_was_given() {
        let translated = event(event_flags::TRANSLATED);
        assert_eq!(retransmits(&translated, &table(&[(CLIENT, SERVICE, 4_500_000_000, 7)])), [Some(7), None]);
        assert_eq!(retransmits(&translated, &table(&[(CLIENT, SERVER, 4_500_000_000, 8)])), [Some(8), None]);
        let elsewhere = table(&[(CLIENT, SERVICE, 4_500_000_000, 7)]);
        assert_eq!(retransmits(&event(0), &elsewhere), [None, None], "it asked for no service");
    }

    #[test]
    fn an_earlier_connection_between_the_same_ports_says_nothing_of_this_one() {
        let earlier = table(&[(CLIENT, SERVER, 3_900_000_000, 1), (SERVER, CLIENT, 3_995_000_000, 2)]);
        assert_eq!(retransmits(&event(0), &earlier), [None, Some(2)], "the second is within a tick");
    }

    #[test]
    fn nobody_is_asked_for_what_is_no_end_or_no_tcp() {
        let none = table(&[]);
        for other in [Event { protocol: 17, ..event(0) }, Event { kind: EventKind::NewFlow as u8, ..event(0) }] {
            assert_eq!(retransmits(&other, &none), [None, None]);
        }
        assert_eq!(none.1.get(), 0);
    }
}
