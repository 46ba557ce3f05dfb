//! A flow in one line: `flow.Flow.summary`.

use super::record::Way;
use super::sight::Sight;
use super::to_record::{ICMP, ICMPV6, TCP, protocol_name, tcp_flags};
use datapath_layouts::EventKind;
use std::fmt::Write;

/// As Hubble puts it; of a flow that ended, how.
pub fn summary(sight: &Sight) -> String {
    let event = &sight.event;
    if let (EventKind::EndOfFlow, Some(way)) = (sight.kind, sight.ended()) {
        return ending(sight, way);
    }
    let name = protocol_name(event.protocol);
    match event.protocol {
        // A call that was refused had no packet.
        TCP if event.tcp_flags != 0 => tcp_flags(event.tcp_flags)
            .enumerate()
            .fold(format!("{name} Flags: "), |text, (at, flag)| text + if at > 0 { ", " } else { "" } + flag),
        ICMP | ICMPV6 => match icmp_name(event.protocol, event.icmp_type) {
            Some(kind) => format!("{name} {kind}"),
            None => format!("{name} type {} code {}", event.icmp_type, event.icmp_code),
        },
        _ => name.into_owned(),
    }
}

fn ending(sight: &Sight, way: Way) -> String {
    let how = match way {
        Way::Closed => "closed",
        Way::RefusedByServer => "refused by server",
        Way::ResetBySource => "reset by source",
        Way::ResetByDestination => "reset by destination",
        Way::TimedOut => "timed out",
        Way::PeerGone => "peer gone",
        Way::Idle => "idle",
        Way::DeniedAtSource | Way::DeniedAtDestination => "denied by policy",
        Way::NoBackends | Way::NoSuchPort => "refused",
    };
    let event = &sight.event;
    let mut text = format!(
        "{} {how} after {} ms: {} packets, {} bytes out; {} packets, {} bytes back",
        protocol_name(event.protocol),
        event.duration_ns / 1_000_000,
        event.forward_packets,
        event.forward_bytes,
        event.reply_packets,
        event.reply_bytes
    );
    let ends = sight.sockets.into_iter().flatten();
    if let Some(rtt) = ends.clone().map(|end| end.srtt_us).filter(|rtt| *rtt > 0).max() {
        let _ = write!(text, "; RTT {}.{:03} ms", rtt / 1000, rtt % 1000);
    }
    match ends.map(|end| u64::from(end.retransmits)).sum() {
        0_u64 => {}
        1 => text.push_str("; 1 retransmit"),
        many => drop(write!(text, "; {many} retransmits")),
    }
    text
}

/// RFC 792 and RFC 4443, in the words that Hubble's summaries have.
fn icmp_name(protocol: u8, kind: u8) -> Option<&'static str> {
    Some(match (protocol, kind) {
        (ICMP, 0) | (ICMPV6, 129) => "EchoReply",
        (ICMP, 8) | (ICMPV6, 128) => "EchoRequest",
        (ICMP, 3) | (ICMPV6, 1) => "DestinationUnreachable",
        (ICMP, 11) | (ICMPV6, 3) => "TimeExceeded",
        (ICMPV6, 2) => "PacketTooBig",
        (ICMPV6, 135) => "NeighborSolicitation",
        (ICMPV6, 136) => "NeighborAdvertisement",
        _ => return None,
    })
}
