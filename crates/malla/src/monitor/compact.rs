//! One line per event, laid out as `hubble observe -o compact` does it.

use crate::units::{bytes, nanoseconds};
use agent::events::{Kind, Line, Party, Record, TcpEnd, Verdict};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The line as text; with the node's name where several nodes are shown.
pub fn render(line: &Line, with_node: bool) -> String {
    match line {
        Line::Lost(loss) => format!("EVENTS LOST: {} at the {} of {}", loss.events, loss.place, loss.node),
        Line::Flow(record) => flow(record, with_node, &TimeZone::system()),
    }
}

fn flow(record: &Record, with_node: bool, zone: &TimeZone) -> String {
    let time = Timestamp::from_microsecond(i64::try_from(record.time_us).unwrap_or(0)).unwrap_or_default();
    let time = time.to_zoned(zone.clone()).strftime("%b %e %H:%M:%S%.3f");
    let node = if with_node { format!(" [{}]", record.node) } else { String::new() };
    // As Hubble does, the initiator always stands on the left; the arrow says where the packet goes.
    let (left, arrow, right) = if record.reply {
        (&record.destination, "<-", &record.source)
    } else {
        (&record.source, "->", &record.destination)
    };
    let verdict = match record.verdict {
        Verdict::Forwarded => "FORWARDED",
        Verdict::Dropped => "DROPPED",
        Verdict::Traced => "TRACED",
        Verdict::Audit => "AUDIT",
    };
    let what = match (&record.drop_reason, &record.totals) {
        (Some(reason), _) => reason.clone(),
        (None, Some(totals)) if totals.reset => "flow-reset".to_owned(),
        (None, Some(_)) => "flow-end".to_owned(),
        (None, None) if record.kind == Kind::Audit => {
            let (side, rule) = (if record.ingress { "ingress" } else { "egress" }, record.rule);
            let why = if rule == 0 { "default-deny".to_owned() } else { format!("rule-{rule}") };
            format!("policy-verdict:{side}:{why}")
        }
        (None, None) => record.point.clone(),
    };
    let mut out = format!(
        "{time}{node}: {} {arrow} {} {what} {verdict} ({})",
        party(left, record),
        party(right, record),
        summary(record)
    );
    if let (Kind::Drop, Some(blame)) = (record.kind, record.blame()) {
        out.push_str(&format!(" by {blame}"));
    }
    if let Some(service) = &record.service {
        let name = service.name.as_ref().map(|n| format!("{n} ")).unwrap_or_default();
        out.push_str(&format!(" via service {name}{}", std::net::SocketAddr::new(service.address, service.port)));
    }
    out
}

fn party(party: &Party, record: &Record) -> String {
    let name = match (&party.pod, &party.node) {
        (Some(pod), _) => pod.to_string(),
        (None, Some(node)) => node.to_string(),
        (None, None) => match &party.service {
            Some(service) => service.to_string(),
            None if record.icmp.is_some() => party.address.to_string(),
            None => return format!("{} ({})", party.socket(), identity(party)),
        },
    };
    let port = if record.icmp.is_some() { String::new() } else { format!(":{}", party.port) };
    format!("{name}{port} ({})", identity(party))
}

fn identity(party: &Party) -> String {
    party.identity_name.clone().unwrap_or_else(|| format!("ID:{}", party.identity))
}

fn summary(record: &Record) -> String {
    let mut out = match &record.icmp {
        Some(icmp) => format!("{} type {} code {}", record.protocol, icmp.kind, icmp.code),
        None if record.tcp_flags.is_empty() || record.kind == Kind::End => record.protocol.clone(),
        None => format!("{} Flags: {}", record.protocol, record.tcp_flags.join(", ")),
    };
    if let Some(t) = &record.totals {
        out.push_str(&format!(
            "; {}; {} packets {} ->, {} packets {} <-",
            nanoseconds(t.duration_ns),
            t.forward_packets,
            bytes(t.forward_bytes),
            t.reply_packets,
            bytes(t.reply_bytes)
        ));
        if t.handshake_ns > 0 {
            out.push_str(&format!("; handshake {}", nanoseconds(t.handshake_ns)));
        }
        let ends: Vec<(TcpEnd, &str)> =
            t.initiator.map(|end| (end, "->")).into_iter().chain(t.responder.map(|end| (end, "<-"))).collect();
        let each = |told: &dyn Fn(&TcpEnd) -> String| -> String {
            ends.iter().map(|(end, way)| format!("{} {way}", told(end))).collect::<Vec<_>>().join(", ")
        };
        if !ends.is_empty() {
            out.push_str(&format!("; RTT {}", each(&|end| nanoseconds(u64::from(end.srtt_us) * 1000))));
        }
        if ends.iter().any(|(end, _)| end.retransmits > 0) {
            out.push_str(&format!("; retransmits {}", each(&|end| end.retransmits.to_string())));
        }
    }
    for (is, text) in [(record.related, "; ICMP error"), (record.fragment, "; fragment")] {
        if is {
            out.push_str(text);
        }
    }
    out
}

/// A flow from a client to a Pod behind a Service.
#[cfg(test)]
pub fn example() -> Record {
    let party = |address: &str, port, pod: &str| serde_json::json!({"address": address, "port": port, "identity": 300, "pod": {"namespace": "default", "name": pod}});
    serde_json::from_value(serde_json::json!({
        "time_us": 1_795_206_824_123_456_u64, "node": "worker-1", "kind": "flow", "verdict": "FORWARDED",
        "point": "to-endpoint", "ingress": true, "reply": false, "related": false, "fragment": false,
        "source": party("10.244.1.2", 43210, "client"), "destination": party("10.244.2.2", 8080, "spink-abc"),
        "service": {"address": "10.96.0.7", "port": 80, "name": {"namespace": "default", "name": "spink"}},
        "protocol": "TCP", "tcp_flags": ["SYN"], "length": 60, "interface": {"index": 7}, "rule": 0, "cpu": 0
    }))
    .unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent::events::{Icmp, Totals};
    use policy::told::Named;

    fn text(record: &Record) -> String {
        flow(record, false, &TimeZone::UTC)
    }

    #[test]
    fn a_new_flow_reads_as_in_hubble() {
        assert_eq!(
            text(&example()),
            "Nov 20 20:33:44.123: default/client:43210 (ID:300) -> default/spink-abc:8080 (ID:300) to-endpoint FORWARDED \
             (TCP Flags: SYN) via service default/spink 10.96.0.7:80"
        );
        assert!(flow(&example(), true, &TimeZone::UTC).starts_with("Nov 20 20:33:44.123 [worker-1]: default"));
    }

    #[test]
    fn a_reply_points_back() {
        let mut record = example();
        std::mem::swap(&mut record.source, &mut record.destination);
        record.reply = true;
        assert!(text(&record).contains("default/client:43210 (ID:300) <- default/spink-abc:8080 (ID:300)"));
    }

    #[test]
    fn drops_tell_the_reason_and_strangers_their_address() {
        let mut record = example();
        (record.verdict, record.drop_reason, record.service) = (Verdict::Dropped, Some("POLICY_DENIED".into()), None);
        record.source.pod = None;
        record.source.identity_name = Some("world".into());
        assert!(text(&record).contains(": 10.244.1.2:43210 (world) -> "), "{}", text(&record));
        assert!(text(&record).ends_with("POLICY_DENIED DROPPED (TCP Flags: SYN)"));
        record.icmp = Some(Icmp { kind: 8, code: 0 });
        record.protocol = "ICMPv4".into();
        assert!(text(&record).ends_with(
            "10.244.1.2 (world) -> default/spink-abc (ID:300) POLICY_DENIED DROPPED (ICMPv4 type 8 code 0)"
        ));
    }

    #[test]
    fn a_drop_by_policy_names_who_denied() {
        let mut record = example();
        (record.kind, record.verdict, record.service) = (Kind::Drop, Verdict::Dropped, None);
        record.drop_reason = Some("POLICY_DENY".into());
        record.rule = 9;
        assert!(
            text(&record).ends_with("(TCP Flags: SYN) by rule 9, which is not there any more"),
            "{}",
            text(&record)
        );
        let policy = |name: &str, field: Option<&str>| Named {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: name.into(),
            field: field.map(str::to_owned),
        };
        record.decided_by = Some(policy("db", Some("spec.ingress[0]")));
        assert!(text(&record).ends_with("(TCP Flags: SYN) by NetworkPolicy shop/db spec.ingress[0]"));
        (record.decided_by, record.rule, record.drop_reason) = (None, 0, Some("POLICY_DENIED".into()));
        record.default_deny = vec![policy("db", None), policy("all", None)];
        let expected =
            "POLICY_DENIED DROPPED (TCP Flags: SYN) by default deny of NetworkPolicy shop/db, NetworkPolicy shop/all";
        assert!(text(&record).ends_with(expected), "{}", text(&record));
        record.default_deny.clear();
        assert!(text(&record).ends_with("POLICY_DENIED DROPPED (TCP Flags: SYN)"), "nothing is invented");
    }

    #[test]
    fn an_audit_tells_the_end_and_the_rule_that_would_have_dropped() {
        let mut record = example();
        (record.kind, record.verdict, record.rule) = (Kind::Audit, Verdict::Audit, 42);
        assert!(text(&record).contains(" policy-verdict:ingress:rule-42 AUDIT (TCP Flags: SYN)"), "{}", text(&record));
        (record.ingress, record.rule) = (false, 0);
        assert!(text(&record).contains(" policy-verdict:egress:default-deny AUDIT ("), "{}", text(&record));
    }

    #[test]
    fn an_end_tells_how_it_was() {
        let mut record = example();
        record.kind = Kind::End;
        record.service = None;
        record.totals = Some(Totals {
            reset: false,
            duration_ns: 1_500_000,
            handshake_ns: 90_000,
            forward_packets: 5,
            forward_bytes: 600,
            reply_packets: 4,
            reply_bytes: 2048,
            initiator: Some(TcpEnd { srtt_us: 310, retransmits: 0 }),
            responder: Some(TcpEnd { srtt_us: 1200, retransmits: 2 }),
        });
        assert!(
            text(&record)
                .ends_with("flow-end FORWARDED (TCP; 1.5ms; 5 packets 600 B ->, 4 packets 2.0 KiB <-; handshake 90us; RTT 310us ->, 1.2ms <-; retransmits 0 ->, 2 <-)"),
            "{}",
            text(&record)
        );
    }
}
