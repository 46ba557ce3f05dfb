//! Who was that? An event's numbers and addresses with the names that this node knows.

use super::clock::Clock;
use super::ending::way;
use super::record::{Icmp, Interface, Kind, Party, Record, Service, Totals, Verdict};
use crate::services::Names;
use datapath_layouts::event::event_flags;
use datapath_layouts::policy::Direction;
use datapath_layouts::{Address, DropReason, Event, EventKind, ObservationPoint, identity};
use model::NodeName;
use policy::told::Named;

/// The event in words; `None` for a kind that a newer datapath writes and this agent does not know.
#[must_use]
pub fn enrich(event: &Event, names: &Names, node: &NodeName, clock: &Clock) -> Option<Record> {
    let event = &of_its_caller(event, names);
    let kind = match EventKind::from_number(event.kind)? {
        EventKind::Drop => Kind::Drop,
        EventKind::NewFlow => Kind::Flow,
        EventKind::Trace => Kind::Trace,
        EventKind::EndOfFlow => Kind::End,
        EventKind::Audit => Kind::Audit,
    };
    let flag = |bit: u8| event.flags & bit != 0;
    let is_icmp = matches!(event.protocol, ICMP | ICMPV6);
    Some(Record {
        time_us: clock.wall_us(event.time_ns),
        node: node.clone(),
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
        ingress: flag(event_flags::INGRESS),
        reply: flag(event_flags::REPLY),
        related: flag(event_flags::RELATED),
        fragment: flag(event_flags::FRAGMENT),
        source: party(event.source, event.source_port, event.source_identity, event.protocol, names),
        destination: party(
            event.destination,
            event.destination_port,
            event.destination_identity,
            event.protocol,
            names,
        ),
        service: flag(event_flags::TRANSLATED).then(|| Service {
            address: event.original.to_ip(),
            port: event.original_port,
            name: names.service(event.original, event.original_port, event.protocol).cloned(),
        }),
        tunnel: (!event.tunnel.is_zero()).then(|| event.tunnel.to_ip()),
        protocol: protocol_name(event.protocol),
        tcp_flags: if event.protocol == TCP { tcp_flags(event.tcp_flags) } else { Vec::new() },
        icmp: is_icmp.then_some(Icmp { kind: event.icmp_type, code: event.icmp_code }),
        length: event.length,
        interface: Interface { index: event.ifindex },
        rule: event.rule,
        decided_by: names.rules.get(&event.rule).cloned(),
        default_deny: default_deny(event, kind, names),
        egress_rule: event.egress_rule,
        egress_allowed_by: names.rules.get(&event.egress_rule).cloned(),
        ingress_rule: event.ingress_rule,
        ingress_allowed_by: names.rules.get(&event.ingress_rule).cloned(),
        cpu: event.cpu,
        followed: event.followed,
        ended: way(event),
        totals: (kind == Kind::End).then_some(Totals {
            reset: flag(event_flags::RESET),
            duration_ns: event.duration_ns,
            handshake_ns: event.handshake_ns,
            forward_packets: event.forward_packets,
            forward_bytes: event.forward_bytes,
            reply_packets: event.reply_packets,
            reply_bytes: event.reply_bytes,
            initiator: None,
            responder: None,
        }),
    })
}

/// A call that was refused before its socket had an address: from that of the Pod, or the node, whose socket it is.
fn of_its_caller(event: &Event, names: &Names) -> Event {
    let Some(caller) = names.callers.get(&event.netns_cookie).filter(|_| event.netns_cookie != 0) else {
        return *event;
    };
    let family = |address: &&Address| address.is_v4() == event.destination.is_v4();
    let source = caller.addresses.iter().find(family).copied().unwrap_or(event.source);
    Event { source, source_identity: caller.identity, ..*event }
}

/// Of what no rule allowed: whose default deny it was. The flow is judged by its forward tuple at the end that is here.
fn default_deny(event: &Event, kind: Kind, names: &Names) -> Vec<Named> {
    if kind != Kind::Drop || event.reason != DropReason::PolicyDenied as u8 || event.rule != 0 {
        return Vec::new();
    }
    let (into, reply) = (event.flags & event_flags::INGRESS != 0, event.flags & event_flags::REPLY != 0);
    let subject = if into { event.destination_identity } else { event.source_identity };
    let direction = if into == reply { Direction::Egress } else { Direction::Ingress };
    names.default_deny.get(&(subject, direction)).cloned().unwrap_or_default()
}

fn party(address: Address, port: u16, number: u32, protocol: u8, names: &Names) -> Party {
    Party {
        address: address.to_ip(),
        port,
        identity: number,
        identity_name: identity::reserved_name(number).map(str::to_owned),
        pod: names.pods.get(&address).cloned(),
        node: names.nodes.get(&address).cloned(),
        service: names.service(address, port, protocol).cloned(),
    }
}

/// Hubble's name of a protocol, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    match number {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        ICMP => "ICMPv4".to_owned(),
        ICMPV6 => "ICMPv6".to_owned(),
        132 => "SCTP".to_owned(),
        other => other.to_string(),
    }
}

/// TCP flags in Hubble's order.
fn tcp_flags(bits: u8) -> Vec<String> {
    // RFC 9293 §3.1, from the least bit on: FIN SYN RST PSH ACK URG ECE CWR; Hubble prints SYN first.
    [(2, "SYN"), (16, "ACK"), (1, "FIN"), (4, "RST"), (8, "PSH"), (32, "URG"), (64, "ECE"), (128, "CWR")]
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectName;

    fn names() -> Names {
        let mut names = Names::default();
        names.pods.insert(Address::from_v4([10, 244, 1, 2]), ObjectName::new("default", "client"));
        names.nodes.insert(Address::from_v4([172, 18, 0, 2]), "control-plane".into());
        names.services.insert((Address::V4_ANY, 30080, 6), ObjectName::new("default", "spink"));
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
        let record = enrich(&event(), &names(), &"worker-1".into(), &Clock::now()).unwrap();
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
            enrich(&event, &names(), &"n".into(), &Clock::now()).unwrap().drop_reason.unwrap()
        };
        assert_eq!((drop(133).as_str(), drop(9).as_str()), ("POLICY_DENIED", "REASON_9"));
    }

    #[test]
    fn a_drop_names_its_rule_or_whose_default_deny_it_was() {
        let policy = |name: &str, field: Option<&str>| Named {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: name.into(),
            field: field.map(str::to_owned),
        };
        let mut names = names();
        names.rules.insert(77, policy("shut", Some("spec.ingress[0]")));
        names.default_deny.insert((301, Direction::Ingress), vec![policy("in", None)]);
        names.default_deny.insert((300, Direction::Egress), vec![policy("out", None)]);
        let told = |reason: DropReason, rule, flags| {
            let ends = Event { source_identity: 300, destination_identity: 301, ..event() };
            let event = Event { kind: EventKind::Drop as u8, reason: reason as u8, rule, flags, ..ends };
            let record = enrich(&event, &names, &"n".into(), &Clock::now()).unwrap();
            let texts: Vec<String> = record.default_deny.iter().map(ToString::to_string).collect();
            (record.decided_by.map(|rule| rule.to_string()), texts.join(" "))
        };
        let (ingress, reply) = (event_flags::INGRESS, event_flags::REPLY);
        let rule = Some("NetworkPolicy shop/shut spec.ingress[0]".to_owned());
        assert_eq!(told(DropReason::PolicyDeny, 77, ingress), (rule, String::new()));
        assert_eq!(told(DropReason::PolicyDeny, 78, ingress), (None, String::new()), "a rule that has gone");
        assert_eq!(told(DropReason::PolicyDenied, 0, ingress), (None, "NetworkPolicy shop/in".into()));
        assert_eq!(told(DropReason::PolicyDenied, 0, 0), (None, "NetworkPolicy shop/out".into()));
        assert_eq!(told(DropReason::PolicyDenied, 0, reply), (None, String::new()), "300 let nobody in");
        assert_eq!(told(DropReason::PolicyDenied, 0, ingress | reply), (None, String::new()), "301 went nowhere");
        assert_eq!(told(DropReason::SourceRange, 0, ingress), (None, String::new()), "no policy's");
    }

    #[test]
    fn an_audit_is_no_drop_and_names_its_rule() {
        let event = Event { kind: EventKind::Audit as u8, reason: 181, rule: 42, ..event() };
        let record = enrich(&event, &names(), &"n".into(), &Clock::now()).unwrap();
        assert_eq!((record.verdict, record.rule, &record.drop_reason), (Verdict::Audit, 42, &None));
        assert!(serde_json::to_string(&record).unwrap().contains(r#""kind":"audit","verdict":"AUDIT""#));
    }

    #[test]
    fn a_call_that_was_refused_comes_from_its_pod() {
        let mut names = names();
        let addresses = vec![Address::from_ip("fd00::2".parse().unwrap()), Address::from_v4([10, 244, 1, 2])];
        names.callers.insert(99, crate::services::Caller { addresses, identity: 4711 });
        let call = Event {
            kind: EventKind::Drop as u8,
            reason: DropReason::NoBackend as u8,
            destination: Address::from_v4([10, 96, 0, 7]),
            netns_cookie: 99,
            ..Event::ZERO
        };
        let record = enrich(&call, &names, &"n".into(), &Clock::now()).unwrap();
        assert_eq!((record.source.pod.unwrap().to_string().as_str(), record.source.identity), ("default/client", 4711));
        assert_eq!(record.ended, Some(crate::events::Way::NoBackends));
        let unknown = enrich(&Event { netns_cookie: 98, ..call }, &names, &"n".into(), &Clock::now()).unwrap();
        assert_eq!((unknown.source.pod, unknown.source.identity), (None, 0));
    }

    #[test]
    fn a_kind_from_the_future_is_left_out() {
        assert_eq!(enrich(&Event { kind: 77, ..event() }, &names(), &"n".into(), &Clock::now()), None);
    }
}
