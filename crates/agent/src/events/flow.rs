//! An event as Hubble's clients know it: a record in the fields of `flow.Flow`.
//!
//! What this node does not know stays empty, as Hubble leaves it: workloads of other nodes' Pods, a cluster of what is no
//! Pod, and whether a dropped packet would have been a reply, unless it was one.

use super::record::{Kind, Party, Record, TcpEnd, Totals, Verdict, Way};
use crate::services::Names;
use datapath_layouts::{Address, identity};
use flow_api::flow::layer4::Protocol;
use flow_api::numbers::event::{DROP, POLICY_VERDICT, TRACE};
use flow_api::{extension, flow, malla};
use policy::told::Named;
use prost_types::Timestamp;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The record as a flow; `names` has the labels of the identities.
#[must_use]
pub fn to_flow(record: &Record, names: &Names) -> flow::Flow {
    let point = trace_point(&record.point);
    let is_drop = record.kind == Kind::Drop;
    let reason = u32::from(record.drop_reason_number.unwrap_or(0));
    // The addressed Service is the responder's, whichever way this packet goes.
    let addressed = record.service.as_ref().and_then(|service| service.name.as_ref());
    let (of_source, of_destination) = if record.reply { (addressed, None) } else { (None, addressed) };
    let (egress_denied_by, ingress_denied_by) = denied_by(record);
    let allowed = |rule: &Option<Named>| rule.iter().map(policy).collect();
    flow::Flow {
        time: Some(Timestamp {
            seconds: i64::try_from(record.time_us / 1_000_000).unwrap_or(i64::MAX),
            nanos: (record.time_us % 1_000_000) as i32 * 1000,
        }),
        uuid: uuid(record),
        emitter: Some(flow::Emitter { name: "malla".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }),
        verdict: match record.verdict {
            Verdict::Forwarded => flow::Verdict::Forwarded,
            Verdict::Dropped => flow::Verdict::Dropped,
            Verdict::Traced => flow::Verdict::Traced,
            Verdict::Audit => flow::Verdict::Audit,
        } as i32,
        drop_reason: reason,
        drop_reason_desc: reason as i32,
        ip: Some(flow::Ip {
            source: record.source.address.to_string(),
            destination: record.destination.address.to_string(),
            ip_version: version(record.source.address) as i32,
            ..flow::Ip::default()
        }),
        l4: protocol(record).map(|protocol| flow::Layer4 { protocol: Some(protocol) }),
        tunnel: record.tunnel.map(|other| tunnel(other, record)),
        source: Some(endpoint(&record.source, names)),
        destination: Some(endpoint(&record.destination, names)),
        r#type: flow::FlowType::L3L4 as i32,
        node_name: record.node.to_string(),
        node_labels: names.node_labels.clone(),
        source_names: host_names(&record.source),
        destination_names: host_names(&record.destination),
        source_service: of_source.or(record.source.service.as_ref()).map(service),
        destination_service: of_destination.or(record.destination.service.as_ref()).map(service),
        reply: record.reply,
        is_reply: (!is_drop || record.reply).then_some(record.reply),
        event_type: Some(match record.kind {
            Kind::Drop => flow::CiliumEventType { r#type: DROP, sub_type: reason as i32 },
            Kind::Audit => flow::CiliumEventType { r#type: POLICY_VERDICT, sub_type: 0 },
            // In events, though not in the field of its own, a Pod's end has the number 0.
            _ if point == flow::TraceObservationPoint::ToEndpoint => {
                flow::CiliumEventType { r#type: TRACE, sub_type: 0 }
            }
            _ => flow::CiliumEventType { r#type: TRACE, sub_type: point as i32 },
        }),
        policy_match_type: names.match_types.get(&record.rule).copied().unwrap_or(0),
        egress_allowed_by: allowed(&record.egress_allowed_by),
        ingress_allowed_by: allowed(&record.ingress_allowed_by),
        egress_denied_by,
        ingress_denied_by,
        extensions: ended(record).as_ref().map(extension::pack),
        trace_observation_point: if is_drop { 0 } else { point as i32 },
        trace_reason: match (record.kind, record.related, record.reply) {
            (Kind::Drop, ..) => flow::TraceReason::Unknown,
            (_, true, _) => flow::TraceReason::Related,
            (Kind::Flow, ..) => flow::TraceReason::New,
            (_, _, true) => flow::TraceReason::Reply,
            _ => flow::TraceReason::Established,
        } as i32,
        traffic_direction: direction(record, names) as i32,
        interface: (record.interface.index != 0).then(|| flow::NetworkInterface {
            index: record.interface.index,
            name: names.devices.get(&record.interface.index).cloned().unwrap_or_default(),
        }),
        summary: summary(record),
        ..flow::Flow::default()
    }
}

/// RFC 9562 §5.8: a format of our own. Unique by time, place in it, and node; made without asking the kernel.
fn uuid(record: &Record) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    // FNV-1a, 64 bits, of the node's name.
    let node = record
        .node
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let time = record.time_us;
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:04x}{:08x}",
        (time >> 16) as u32,
        time as u16,
        (number >> 32) & 0xfff,
        0x8000 | (node >> 48) & 0x3fff,
        node as u16,
        number as u32
    )
}

fn endpoint(party: &Party, names: &Names) -> flow::Endpoint {
    let labels = match (&party.identity_name, names.labels.get(&party.identity)) {
        (Some(name), _) => vec![format!("reserved:{name}")],
        (None, Some(labels)) => labels.iter().map(|label| label.to_string()).collect(),
        (None, None) => Vec::new(),
    };
    let pod = party.pod.as_ref();
    let workload = pod.and_then(|pod| names.workloads.get(pod));
    flow::Endpoint {
        id: names.endpoint_ids.get(&Address::from_ip(party.address)).copied().unwrap_or(0),
        workloads: workload
            .map(|one| flow::Workload { name: one.name.clone(), kind: one.kind.clone() })
            .into_iter()
            .collect(),
        identity: party.identity,
        cluster_name: if pod.is_some() { CLUSTER.to_owned() } else { String::new() },
        namespace: pod.map_or_else(String::new, |pod| pod.namespace.to_string()),
        pod_name: pod.map_or_else(String::new, |pod| pod.name.to_string()),
        labels,
    }
}

/// A node is known by its name; that of a Pod stands elsewhere.
fn host_names(party: &Party) -> Vec<String> {
    let is_host = matches!(party.identity, identity::HOST | identity::REMOTE_NODE);
    party.node.iter().filter(|_| is_host || party.pod.is_none()).map(ToString::to_string).collect()
}

/// Hubble's: of a drop, which way the packet went; of anything else, which way its connection did at the end that is here, so
/// that an answer has the direction of what it answers.
fn direction(record: &Record, names: &Names) -> flow::TrafficDirection {
    let is_here = |party: &Party| names.endpoint_ids.contains_key(&Address::from_ip(party.address));
    let out = match (is_here(&record.source), is_here(&record.destination)) {
        _ if record.kind == Kind::Drop => !record.ingress,
        (true, false) => !record.reply,
        (false, true) => record.reply,
        _ => record.ingress == record.reply,
    };
    if out { flow::TrafficDirection::Egress } else { flow::TrafficDirection::Ingress }
}

fn service(name: &model::ObjectName) -> flow::Service {
    flow::Service { name: name.name.to_string(), namespace: name.namespace.to_string() }
}

fn version(address: IpAddr) -> flow::IpVersion {
    if address.is_ipv4() { flow::IpVersion::IPv4 } else { flow::IpVersion::IPv6 }
}

/// `None` for a protocol that Hubble has no field for.
fn protocol(record: &Record) -> Option<Protocol> {
    let (source_port, destination_port) = (u32::from(record.source.port), u32::from(record.destination.port));
    let icmp = record.icmp.map(|icmp| (u32::from(icmp.kind), u32::from(icmp.code))).unwrap_or_default();
    Some(match record.protocol.as_str() {
        "TCP" => Protocol::Tcp(flow::Tcp { source_port, destination_port, flags: Some(tcp_flags(record)) }),
        "UDP" => Protocol::Udp(flow::Udp { source_port, destination_port }),
        "SCTP" => Protocol::Sctp(flow::Sctp { source_port, destination_port, chunk_type: 0 }),
        "ICMPv4" => Protocol::IcmPv4(flow::IcmPv4 { r#type: icmp.0, code: icmp.1 }),
        "ICMPv6" => Protocol::IcmPv6(flow::IcmPv6 { r#type: icmp.0, code: icmp.1 }),
        _ => return None,
    })
}

fn tcp_flags(record: &Record) -> flow::TcpFlags {
    let has = |name: &str| record.tcp_flags.iter().any(|flag| flag == name);
    flow::TcpFlags {
        fin: has("FIN"),
        syn: has("SYN"),
        rst: has("RST"),
        psh: has("PSH"),
        ack: has("ACK"),
        urg: has("URG"),
        ece: has("ECE"),
        cwr: has("CWR"),
        ns: false,
    }
}

/// VXLAN is the only kind there is. The other end is where the packet came from, or where it goes.
fn tunnel(other: IpAddr, record: &Record) -> flow::Tunnel {
    let mut ip = flow::Ip { ip_version: version(other) as i32, ..flow::Ip::default() };
    if record.point == "from-overlay" || record.ingress {
        ip.source = other.to_string();
    } else {
        ip.destination = other.to_string();
    }
    flow::Tunnel { protocol: flow::tunnel::Protocol::Vxlan as i32, ip: Some(ip), l4: None, vni: 0 }
}

fn trace_point(name: &str) -> flow::TraceObservationPoint {
    flow::TraceObservationPoint::from_str_name(&name.replace('-', "_").to_uppercase())
        .unwrap_or(flow::TraceObservationPoint::UnknownPoint)
}

/// The policies that denied, at the initiator's end and at the responder's: the one whose rule did, or those with default
/// deny that no rule opened.
fn denied_by(record: &Record) -> (Vec<flow::Policy>, Vec<flow::Policy>) {
    let policies: Vec<flow::Policy> = match (record.kind, record.ended) {
        (Kind::Audit, _) | (Kind::Drop, Some(Way::DeniedAtSource | Way::DeniedAtDestination)) => {
            record.decided_by.iter().chain(&record.default_deny).map(policy).collect()
        }
        _ => return Default::default(),
    };
    // The judged end is the packet's receiver on the way in.
    if record.ingress == record.reply { (policies, Vec::new()) } else { (Vec::new(), policies) }
}

fn policy(named: &Named) -> flow::Policy {
    flow::Policy {
        name: named.name.clone(),
        namespace: named.namespace.clone(),
        kind: named.kind.clone(),
        labels: named.field.iter().map(|field| format!("malla:rule={field}")).collect(),
        revision: 0,
    }
}

fn ended(record: &Record) -> Option<malla::Ended> {
    let way = match record.ended? {
        Way::Closed => malla::Way::Closed,
        Way::RefusedByServer => malla::Way::RefusedByServer,
        Way::NoBackends => malla::Way::NoBackends,
        Way::NoSuchPort => malla::Way::NoSuchPort,
        Way::DeniedAtSource => malla::Way::DeniedAtSource,
        Way::DeniedAtDestination => malla::Way::DeniedAtDestination,
        Way::ResetBySource => malla::Way::ResetBySource,
        Way::ResetByDestination => malla::Way::ResetByDestination,
        Way::TimedOut => malla::Way::TimedOut,
        Way::PeerGone => malla::Way::PeerGone,
        Way::Idle => malla::Way::Idle,
    } as i32;
    let Some(totals) = &record.totals else { return Some(malla::Ended { way, ..malla::Ended::default() }) };
    Some(malla::Ended {
        way,
        duration_ns: totals.duration_ns,
        handshake_ns: totals.handshake_ns,
        forward_packets: totals.forward_packets,
        forward_bytes: totals.forward_bytes,
        reply_packets: totals.reply_packets,
        reply_bytes: totals.reply_bytes,
        initiator: totals.initiator.map(tcp_end),
        responder: totals.responder.map(tcp_end),
    })
}

const fn tcp_end(end: TcpEnd) -> malla::TcpEnd {
    malla::TcpEnd { smoothed_rtt_us: end.srtt_us, retransmits: end.retransmits }
}

/// As Hubble puts it; of a flow that ended, how.
fn summary(record: &Record) -> String {
    if let (Some(totals), Some(way)) = (&record.totals, record.ended) {
        return ending(&record.protocol, way, totals);
    }
    match (record.protocol.as_str(), record.icmp) {
        // A call that was refused had no packet.
        ("TCP", _) if record.tcp_flags.is_empty() => "TCP".to_owned(),
        ("TCP", _) => format!("TCP Flags: {}", record.tcp_flags.join(", ")),
        (name @ ("ICMPv4" | "ICMPv6"), Some(icmp)) => match icmp_name(name, icmp.kind) {
            Some(kind) => format!("{name} {kind}"),
            None => format!("{name} type {} code {}", icmp.kind, icmp.code),
        },
        (name, _) => name.to_owned(),
    }
}

fn ending(protocol: &str, way: Way, totals: &Totals) -> String {
    let how = match way {
        Way::Closed => "closed",
        Way::RefusedByServer => "refused by server",
        Way::ResetBySource => "reset by source",
        Way::ResetByDestination => "reset by destination",
        Way::TimedOut => "timed out",
        Way::PeerGone => "peer gone",
        Way::Idle => "idle",
        Way::NoBackends | Way::NoSuchPort | Way::DeniedAtSource | Way::DeniedAtDestination => "refused",
    };
    let mut text = format!(
        "{protocol} {how} after {} ms: {} packets, {} bytes out; {} packets, {} bytes back",
        totals.duration_ns / 1_000_000,
        totals.forward_packets,
        totals.forward_bytes,
        totals.reply_packets,
        totals.reply_bytes
    );
    let ends = [totals.initiator, totals.responder].into_iter().flatten();
    if let Some(rtt) = ends.clone().map(|end| end.srtt_us).filter(|rtt| *rtt > 0).max() {
        text.push_str(&format!("; RTT {}.{:03} ms", rtt / 1000, rtt % 1000));
    }
    match ends.map(|end| u64::from(end.retransmits)).sum() {
        0_u64 => {}
        1 => text.push_str("; 1 retransmit"),
        many => text.push_str(&format!("; {many} retransmits")),
    }
    text
}

/// RFC 792 and RFC 4443, in the words that Hubble's summaries have.
fn icmp_name(protocol: &str, kind: u8) -> Option<&'static str> {
    Some(match (protocol, kind) {
        ("ICMPv4", 0) | ("ICMPv6", 129) => "EchoReply",
        ("ICMPv4", 8) | ("ICMPv6", 128) => "EchoRequest",
        ("ICMPv4", 3) | ("ICMPv6", 1) => "DestinationUnreachable",
        ("ICMPv4", 11) | ("ICMPv6", 3) => "TimeExceeded",
        ("ICMPv6", 2) => "PacketTooBig",
        ("ICMPv6", 135) => "NeighborSolicitation",
        ("ICMPv6", 136) => "NeighborAdvertisement",
        _ => return None,
    })
}

/// There is one cluster, and this is what Cilium calls it.
pub const CLUSTER: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Clock, enrich};
    use datapath_layouts::event::event_flags;
    use datapath_layouts::{Address, DropReason, Event, EventKind, ObservationPoint};
    use model::{Labels, ObjectName};
    use std::collections::BTreeMap;

    fn names() -> Names {
        let mut names = Names::default();
        names.pods.insert(Address::from_v4([10, 244, 1, 2]), ObjectName::new("shop", "client"));
        names.nodes.insert(Address::from_v4([172, 18, 0, 2]), "control-plane".into());
        names.services.insert((Address::from_v4([10, 96, 0, 7]), 80, 6), ObjectName::new("shop", "spink"));
        let labels = BTreeMap::from([("k8s:app".to_owned(), "client".to_owned())]);
        names.labels.insert(4711, Labels::from_map(&labels).unwrap());
        names
    }

    fn event() -> Event {
        Event {
            source: Address::from_v4([10, 244, 1, 2]),
            destination: Address::from_v4([10, 244, 2, 2]),
            original: Address::from_v4([10, 96, 0, 7]),
            original_port: 80,
            source_port: 43210,
            destination_port: 8080,
            source_identity: 4711,
            destination_identity: 2,
            kind: EventKind::NewFlow as u8,
            point: ObservationPoint::ToEndpoint as u8,
            protocol: 6,
            tcp_flags: 2,
            ifindex: 7,
            tunnel: Address::from_v4([172, 18, 0, 3]),
            flags: event_flags::TRANSLATED | event_flags::INGRESS,
            ..Event::ZERO
        }
    }

    fn flow_of(event: Event) -> flow::Flow {
        to_flow(&enrich(&event, &names(), &"worker-1".into(), &Clock::now()).unwrap(), &names())
    }

    #[test]
    fn everything_that_is_known_is_told() {
        let flow = flow_of(event());
        let (source, destination) = (flow.source.clone().unwrap(), flow.destination.clone().unwrap());
        assert_eq!((source.namespace.as_str(), source.pod_name.as_str(), source.identity), ("shop", "client", 4711));
        assert_eq!(
            (source.labels.as_slice(), source.cluster_name.as_str()),
            (["k8s:app=client".to_owned()].as_slice(), "default")
        );
        assert_eq!(
            (destination.labels.as_slice(), destination.pod_name.as_str()),
            (["reserved:world".to_owned()].as_slice(), "")
        );
        assert_eq!(flow.destination_service.clone().unwrap().name, "spink");
        assert_eq!(flow.source_service, None);
        assert_eq!((flow.verdict(), flow.drop_reason, flow.is_reply), (flow::Verdict::Forwarded, 0, Some(false)));
        assert_eq!(flow.trace_observation_point(), flow::TraceObservationPoint::ToEndpoint);
        assert_eq!(flow.event_type.unwrap(), flow::CiliumEventType { r#type: 4, sub_type: 0 });
        assert_eq!(flow.trace_reason(), flow::TraceReason::New);
        assert_eq!(flow.traffic_direction(), flow::TrafficDirection::Ingress);
        assert_eq!((flow.node_name.as_str(), flow.summary.as_str()), ("worker-1", "TCP Flags: SYN"));
        assert_eq!(flow.interface.clone().unwrap().index, 7);
        assert_eq!(flow.tunnel.clone().unwrap().ip.unwrap().source, "172.18.0.3");
        let ip = flow.ip.clone().unwrap();
        assert_eq!(
            (ip.source.as_str(), ip.destination.as_str(), ip.ip_version()),
            ("10.244.1.2", "10.244.2.2", flow::IpVersion::IPv4)
        );
        let Some(Protocol::Tcp(tcp)) = flow.l4.unwrap().protocol else { panic!("no TCP") };
        assert_eq!((tcp.source_port, tcp.destination_port), (43210, 8080));
        assert_eq!(tcp.flags.unwrap(), flow::TcpFlags { syn: true, ..flow::TcpFlags::default() });
    }

    #[test]
    fn an_answer_comes_from_the_service() {
        let flow = flow_of(Event { flags: event_flags::TRANSLATED | event_flags::REPLY, ..event() });
        assert_eq!(flow.traffic_direction(), flow::TrafficDirection::Ingress, "as what it answers");
        assert_eq!((flow.source_service.unwrap().name.as_str(), flow.destination_service), ("spink", None));
        assert_eq!((flow.is_reply, flow.reply), (Some(true), true));
    }

    #[test]
    fn drops_have_hubbles_number_and_no_direction_that_nobody_knows() {
        let drop = Event { kind: EventKind::Drop as u8, reason: DropReason::PolicyDenied as u8, ..event() };
        let flow = flow_of(drop);
        assert_eq!(
            (flow.verdict(), flow.drop_reason_desc(), flow.drop_reason),
            (flow::Verdict::Dropped, flow::DropReason::PolicyDenied, 133)
        );
        assert_eq!(flow.event_type.unwrap(), flow::CiliumEventType { r#type: 1, sub_type: 133 });
        assert_eq!((flow.is_reply, flow.trace_observation_point), (None, 0));
        // A number that Hubble does not have is still there.
        assert_eq!(flow_of(Event { kind: EventKind::Drop as u8, reason: 241, ..event() }).drop_reason_desc, 241);
    }

    #[test]
    fn every_point_has_hubbles_number() {
        use ObservationPoint as P;
        for (point, number) in [
            (P::ToHost, 2),
            (P::ToStack, 3),
            (P::ToOverlay, 4),
            (P::FromEndpoint, 5),
            (P::FromHost, 7),
            (P::FromOverlay, 9),
            (P::FromNetwork, 10),
            (P::ToNetwork, 11),
        ] {
            let flow = flow_of(Event { point: point as u8, ..event() });
            assert_eq!(
                (flow.trace_observation_point, flow.event_type.unwrap().sub_type),
                (number, number),
                "{point:?}"
            );
        }
    }

    #[test]
    fn ends_and_icmp_are_summed_up_and_ids_differ() {
        let end = Event { kind: EventKind::EndOfFlow as u8, flags: event_flags::RESET, forward_packets: 3, ..event() };
        assert_eq!(
            flow_of(end).summary,
            "TCP reset by source after 0 ms: 3 packets, 0 bytes out; 0 packets, 0 bytes back"
        );
        assert_eq!(flow_of(Event { protocol: 1, icmp_type: 8, ..event() }).summary, "ICMPv4 EchoRequest");
        assert_eq!(
            flow_of(Event { protocol: 58, icmp_type: 200, icmp_code: 1, ..event() }).summary,
            "ICMPv6 type 200 code 1"
        );
        let (one, other) = (flow_of(event()).uuid, flow_of(event()).uuid);
        assert!(one != other && one.len() == 36, "{one} {other}");
    }
}
