use super::*;
use proptest::prelude::*;

fn packet(reply: bool, tcp_flags: u8, now: u64) -> Seen {
    Seen { now, bytes: 60, packets: 1, tcp_flags, protocol: protocol::TCP, reply }
}

/// Runs `(reply, flags)` over a fresh flow; returns it with each packet's progress.
fn run(packets: &[(bool, u8)]) -> (Flow, Vec<Progress>) {
    let mut flow = Flow { created_ns: 1000, ..Flow::ZERO };
    let steps =
        packets.iter().enumerate().map(|(i, &(r, f))| advance(&mut flow, &packet(r, f, 1000 + i as u64))).collect();
    (flow, steps)
}
extern crate std;
use std::vec::Vec;
const OPEN: [(bool, u8); 3] = [(false, tcp::SYN), (true, tcp::SYN | tcp::ACK), (false, tcp::ACK)];

#[test]
fn handshake_promotes_once_and_is_timed() {
    let (flow, steps) = run(&OPEN);
    assert_eq!(steps, [Progress::Continues, Progress::Continues, Progress::Established]);
    assert_eq!((flow.state, flow.handshake_ns), (flow_state::ESTABLISHED, 2));
    assert_eq!((flow.forward.packets, flow.reply.packets), (2, 1));
}

#[test]
fn syn_flood_stays_half_open() {
    let (flow, steps) =
        run(&[(false, tcp::SYN), (true, tcp::SYN | tcp::ACK), (false, tcp::SYN), (true, tcp::SYN | tcp::ACK)]);
    assert!(steps.iter().all(|s| *s == Progress::Continues));
    assert_eq!(lifetime_ns(protocol::TCP, flow.state), TCP_TRANSITORY_NS);
}

#[test]
fn both_fins_end_it_exactly_once() {
    let mut packets = OPEN.to_vec();
    packets.extend([
        (false, tcp::FIN | tcp::ACK),
        (true, tcp::FIN | tcp::ACK),
        (false, tcp::ACK),
        (true, tcp::FIN | tcp::ACK),
    ]);
    let (flow, steps) = run(&packets);
    assert_eq!(steps.iter().filter(|s| **s == Progress::Ended).count(), 1);
    assert_eq!(flow.state, flow_state::CLOSED);
    assert!(reopens(&flow, protocol::TCP, tcp::SYN) && !reopens(&flow, protocol::TCP, tcp::SYN | tcp::ACK));
}

#[test]
fn reset_ends_it_and_late_data_does_not_revive_it() {
    let mut packets = OPEN.to_vec();
    packets.extend([(true, tcp::RST), (false, tcp::ACK), (false, tcp::RST)]);
    let (flow, steps) = run(&packets);
    assert_eq!(flow.state, flow_state::RESET);
    assert_eq!(steps.iter().filter(|s| **s == Progress::Ended).count(), 1);
}

#[test]
fn a_syn_does_not_reopen_a_living_flow() {
    let (flow, _) = run(&OPEN);
    assert!(!reopens(&flow, protocol::TCP, tcp::SYN));
}

#[test]
fn udp_needs_an_answer_to_be_established() {
    let mut flow = Flow::ZERO;
    let mut seen = Seen { protocol: protocol::UDP, ..packet(false, 0, 5) };
    assert_eq!(advance(&mut flow, &seen), Progress::Continues);
    assert!(is_expired(&flow, protocol::UDP, 6 + OTHER_NS) && !is_expired(&flow, protocol::UDP, OTHER_NS));
    seen.reply = true;
    assert_eq!(advance(&mut flow, &seen), Progress::Established);
    assert!(!is_expired(&flow, protocol::UDP, 6 + OTHER_NS));
    assert_eq!(advance(&mut flow, &seen), Progress::Continues);
}

#[test]
fn a_port_is_refused_by_its_own_error_alone_and_only_before_an_answer() {
    let flow = Flow::ZERO;
    assert!(refuses(&flow, protocol::ICMP, 3, 3) && refuses(&flow, protocol::ICMPV6, 1, 4));
    for (transport, kind, code) in
        [(protocol::ICMP, 3, 1), (protocol::ICMP, 11, 0), (protocol::ICMP, 1, 4), (protocol::ICMPV6, 1, 3)]
    {
        assert!(!refuses(&flow, transport, kind, code), "{transport} {kind} {code}");
    }
    let answered = Flow { state: flow_state::ESTABLISHED, ..flow };
    assert!(!refuses(&answered, protocol::ICMP, 3, 3));
}

proptest! {
    /// Whatever comes: at most one end unless reopened, at most one promotion before it, and counters add up.
    #[test]
    fn any_packets(packets in prop::collection::vec((any::<bool>(), any::<u8>()), 0..64)) {
        let (flow, steps) = run(&packets);
        prop_assert!(steps.iter().filter(|s| **s == Progress::Ended).count() <= 1);
        prop_assert!(steps.iter().filter(|s| **s == Progress::Established).count() <= 1);
        prop_assert_eq!((flow.forward.packets + flow.reply.packets) as usize, packets.len());
        let ended = steps.contains(&Progress::Ended);
        prop_assert_eq!(ended, matches!(flow.state, flow_state::CLOSED | flow_state::RESET));
    }
}
