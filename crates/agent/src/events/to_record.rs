//! An event as one line of a monitor's stream.

use super::record::{Icmp, Interface, Kind, Party, Record, Service, Totals, Verdict};
use super::sight::{Known, Sight};
use datapath_layouts::event::event_flags;
use datapath_layouts::{Address, DropReason, EventKind, ObservationPoint, identity};
use std::borrow::Cow;
use std::sync::Arc;

/// In words.
#[must_use]
pub fn to_record(sight: &Sight) -> Record {
    let event = &sight.event;
    let kind = match sight.kind {
        EventKind::Drop => Kind::Drop,
        EventKind::NewFlow => Kind::Flow,
        EventKind::Trace => Kind::Trace,
        EventKind::EndOfFlow => Kind::End,
        EventKind::Audit => Kind::Audit,
    };
    let is_icmp = matches!(event.protocol, ICMP | ICMPV6);
    let name = |rule: &Option<Arc<super::names::RuleFacts>>| rule.as_ref().map(|rule| rule.name.clone());
    let [initiator, responder] = sight.sockets;
    Record {
        time_us: sight.time_us,
        node: sight.here.name.clone(),
        kind,
        verdict: match kind {
            Kind::Drop => Verdict::Dropped,
            Kind::Flow | Kind::End => Verdict::Forwarded,
            Kind::Trace => Verdict::Traced,
            Kind::Audit => Verdict::Audit,
        },
        drop_reason: (kind == Kind::Drop).then(|| {
            DropReason::from_number(event.reason)
                .map_or_else(|| format!("REASON_{}", event.reason), |r| r.name().to_owned())
        }),
        drop_reason_number: (kind == Kind::Drop).then_some(event.reason),
        point: ObservationPoint::from_number(event.point)
            .map_or_else(|| format!("point-{}", event.point), |p| p.name().to_owned()),
        ingress: sight.has(event_flags::INGRESS),
        reply: sight.has(event_flags::REPLY),
        related: sight.has(event_flags::RELATED),
        fragment: sight.has(event_flags::FRAGMENT),
        source: party(&sight.source, event.source, event.source_port, event.source_identity),
        destination: party(&sight.destination, event.destination, event.destination_port, event.destination_identity),
        service: sight.has(event_flags::TRANSLATED).then(|| Service {
            address: event.original.to_ip(),
            port: event.original_port,
            name: sight.addressed.as_deref().cloned(),
        }),
        tunnel: (!event.tunnel.is_zero()).then(|| event.tunnel.to_ip()),
        protocol: protocol_name(event.protocol).into_owned(),
        tcp_flags: if event.protocol == TCP { tcp_flags(event.tcp_flags).map(str::to_owned).collect() } else { vec![] },
        icmp: is_icmp.then_some(Icmp { kind: event.icmp_type, code: event.icmp_code }),
        length: event.length,
        interface: Interface { index: event.ifindex },
        rule: event.rule,
        decided_by: name(&sight.rule),
        default_deny: sight.default_deny().to_vec(),
        egress_rule: event.egress_rule,
        egress_allowed_by: name(&sight.egress_rule),
        ingress_rule: event.ingress_rule,
        ingress_allowed_by: name(&sight.ingress_rule),
        cpu: event.cpu,
        followed: event.followed,
        ended: sight.ended(),
        totals: (kind == Kind::End).then_some(Totals {
            reset: sight.has(event_flags::RESET),
            duration_ns: event.duration_ns,
            handshake_ns: event.handshake_ns,
            forward_packets: event.forward_packets,
            forward_bytes: event.forward_bytes,
            reply_packets: event.reply_packets,
            reply_bytes: event.reply_bytes,
            initiator,
            responder,
        }),
    }
}

fn party(end: &Known, address: Address, port: u16, number: u32) -> Party {
    Party {
        address: address.to_ip(),
        port,
        identity: number,
        identity_name: identity::reserved_name(number).map(str::to_owned),
        pod: end.pod().cloned(),
        node: end.who.as_ref().and_then(|who| who.node.clone()),
        service: end.service.as_deref().cloned(),
    }
}

/// Hubble's name of a protocol, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> Cow<'static, str> {
    match number {
        TCP => "TCP".into(),
        UDP => "UDP".into(),
        ICMP => "ICMPv4".into(),
        ICMPV6 => "ICMPv6".into(),
        SCTP => "SCTP".into(),
        other => other.to_string().into(),
    }
}

/// TCP flags in Hubble's order.
pub(super) fn tcp_flags(bits: u8) -> impl Iterator<Item = &'static str> {
    // RFC 9293 §3.1, from the least bit on: FIN SYN RST PSH ACK URG ECE CWR; Hubble prints SYN first.
    [(2, "SYN"), (16, "ACK"), (1, "FIN"), (4, "RST"), (8, "PSH"), (32, "URG"), (64, "ECE"), (128, "CWR")]
        .into_iter()
        .filter(move |(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
}

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::names::Names;
    use crate::events::sight::tests::{node, pod, seen};
    use datapath_layouts::Event;
    use model::ObjectName;

    fn names() -> Names {
        let mut names = Names::default();
        names.who.insert(Address::from_v4([10, 244, 1, 2]), pod("default", "client"));
        names.who.insert(Address::from_v4([172, 18, 0, 2]), node("control-plane"));
        names.services.insert((Address::V4_ANY, 30080, 6), ObjectName::new("default", "spink").into());
        names
    }

    fn event() -> Event {
        Event {
            source: Address::from_v4([10, 244, 1, 2]),
            destination: Address::from_v4([10, 244, 2, 2]),
            original: Address::from_v4([172, 18, 0, 2]),
            original_port: 30080,
            source_port: 43210,
            destination_port: 8080,
            source_identity: 3,
            destination_identity: 3,
            kind: EventKind::NewFlow as u8,
            point: ObservationPoint::ToEndpoint as u8,
            protocol: 6,
            tcp_flags: 2,
            flags: event_flags::TRANSLATED,
            ..Event::ZERO
        }
    }

    #[test]
    fn names_are_found_and_a_node_port_by_the_node() {
        let record = to_record(&seen(&event(), &names()));
        assert_eq!(record.source.pod.as_ref().unwrap().to_string(), "default/client");
        assert_eq!(record.service.as_ref().unwrap().name.as_ref().unwrap().to_string(), "default/spink");
        assert_eq!(
            (record.verdict, record.point.as_str(), record.tcp_flags.as_slice()),
            (Verdict::Forwarded, "to-endpoint", ["SYN".to_owned()].as_slice())
        );
        let line = serde_json::to_string(&Line(&record)).unwrap();
        assert!(!line.contains('\n') && !line.contains("icmp") && !line.contains("totals"), "{line}");
    }

    #[derive(serde::Serialize)]
    struct Line<'a>(&'a Record);

    #[test]
    fn drops_have_a_reason_even_an_unknown_one() {
        let drop = |reason| {
            let event = Event { kind: EventKind::Drop as u8, reason, ..event() };
            to_record(&seen(&event, &names())).drop_reason.unwrap()
        };
        assert_eq!((drop(133).as_str(), drop(9).as_str()), ("POLICY_DENIED", "REASON_9"));
    }

    #[test]
    fn an_audit_is_no_drop_and_names_its_rule() {
        let event = Event { kind: EventKind::Audit as u8, reason: 181, rule: 42, ..event() };
        let record = to_record(&seen(&event, &names()));
        assert_eq!((record.verdict, record.rule, &record.drop_reason), (Verdict::Audit, 42, &None));
        assert!(serde_json::to_string(&record).unwrap().contains(r#""kind":"audit","verdict":"AUDIT""#));
    }
}
