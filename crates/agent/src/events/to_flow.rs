//! An event as Hubble's clients know it: in the fields of `flow.Flow`.
//!
//! What this node does not know stays empty, as Hubble leaves it: workload and cluster of what is no Pod, and whether a
//! dropped packet would have been a reply, unless it was one.

use super::deciding::{allowed, denied_by, logs};
use super::record::{TcpEnd, Way};
use super::sight::{Known, Sight};
use super::summary::summary;
use super::to_record::{ICMP, ICMPV6, SCTP, TCP, UDP};
use super::underway::{ethernet, masqueraded, tunnel};
use datapath_layouts::event::event_flags;
use datapath_layouts::{EventKind, identity};
use flow_api::flow::layer4::Protocol;
use flow_api::numbers::event::{DROP, POLICY_VERDICT, TRACE};
use flow_api::seen::Witness;
use flow_api::{extension, flow, malla};
use model::{Labels, ObjectName};
use prost_types::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

impl Witness for Sight {
    fn namespaces(&self) -> [&str; 2] {
        [&self.source, &self.destination].map(Known::namespace)
    }

    fn tell(&self) -> flow::Flow {
        to_flow(self)
    }
}

/// When it was, as a flow has it.
#[must_use]
pub fn time(sight: &Sight) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(sight.time_us / 1_000_000).unwrap_or(i64::MAX),
        nanos: (sight.time_us % 1_000_000) as i32 * 1000,
    }
}

/// In Hubble's words.
#[must_use]
pub fn to_flow(sight: &Sight) -> flow::Flow {
    let event = &sight.event;
    let point = i32::from(event.point);
    let is_drop = sight.kind == EventKind::Drop;
    let is_reply = sight.has(event_flags::REPLY);
    let reason = if is_drop { u32::from(event.reason) } else { 0 };
    // The addressed Service is the responder's, whichever way this packet goes.
    let addressed = sight.addressed.as_ref();
    let (of_source, of_destination) = if is_reply { (addressed, None) } else { (None, addressed) };
    let (egress_denied_by, ingress_denied_by) = denied_by(sight);
    let (source, destination) = (event.source.to_ip(), event.destination.to_ip());
    flow::Flow {
        time: Some(time(sight)),
        uuid: uuid(sight, sight.number),
        emitter: Some(flow::Emitter { name: "malla".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }),
        verdict: match sight.kind {
            // As Cilium's of a packet that somebody traces.
            EventKind::NewFlow | EventKind::EndOfFlow | EventKind::Trace => flow::Verdict::Forwarded,
            EventKind::Drop => flow::Verdict::Dropped,
            EventKind::Audit => flow::Verdict::Audit,
        } as i32,
        drop_reason: reason,
        drop_reason_desc: reason as i32,
        ethernet: ethernet(sight),
        ip: Some(flow::Ip {
            source: source.to_string(),
            destination: destination.to_string(),
            source_xlated: masqueraded(sight).map_or_else(String::new, |own| own.to_string()),
            ip_version: version(source) as i32,
            ..flow::Ip::default()
        }),
        l4: protocol(sight).map(|protocol| flow::Layer4 { protocol: Some(protocol) }),
        tunnel: (!event.tunnel.is_zero()).then(|| tunnel(event.tunnel.to_ip(), sight)),
        source: Some(endpoint(&sight.source, event.source_identity)),
        destination: Some(endpoint(&sight.destination, event.destination_identity)),
        r#type: flow::FlowType::L3L4 as i32,
        node_name: sight.here.name.to_string(),
        node_labels: sight.here.labels.clone(),
        source_names: host_names(&sight.source, event.source_identity),
        destination_names: host_names(&sight.destination, event.destination_identity),
        source_service: of_source.or(sight.source.service.as_ref()).map(service),
        destination_service: of_destination.or(sight.destination.service.as_ref()).map(service),
        reply: is_reply,
        is_reply: (!is_drop || is_reply).then_some(is_reply),
        event_type: Some(match sight.kind {
            EventKind::Drop => flow::CiliumEventType { r#type: DROP, sub_type: reason as i32 },
            EventKind::Audit => flow::CiliumEventType { r#type: POLICY_VERDICT, sub_type: 0 },
            // In events, though not in the field of its own, a Pod's end has the number 0.
            _ if point == flow::TraceObservationPoint::ToEndpoint as i32 => {
                flow::CiliumEventType { r#type: TRACE, sub_type: 0 }
            }
            _ => flow::CiliumEventType { r#type: TRACE, sub_type: point },
        }),
        policy_match_type: sight.rule.as_ref().map_or(0, |rule| rule.match_type),
        egress_allowed_by: allowed(sight, &sight.egress_rule),
        ingress_allowed_by: allowed(sight, &sight.ingress_rule),
        egress_denied_by,
        ingress_denied_by,
        policy_log: logs([&sight.egress_rule, &sight.ingress_rule, &sight.rule]),
        extensions: ended(sight).as_ref().map(extension::pack),
        trace_observation_point: if is_drop { 0 } else { point },
        trace_reason: match (sight.kind, sight.has(event_flags::RELATED), is_reply) {
            (EventKind::Drop, ..) => flow::TraceReason::Unknown,
            (_, true, _) => flow::TraceReason::Related,
            (EventKind::NewFlow, ..) => flow::TraceReason::New,
            (_, _, true) => flow::TraceReason::Reply,
            _ => flow::TraceReason::Established,
        } as i32,
        traffic_direction: direction(sight) as i32,
        interface: (event.ifindex != 0).then(|| flow::NetworkInterface {
            index: event.ifindex,
            name: sight.device.as_ref().map_or_else(String::new, |device| device.name.to_string()),
        }),
        summary: summary(sight),
        ..flow::Flow::default()
    }
}

/// RFC 9562 §5.8: a format of our own. Unique by time, place in it (`number`), and node; made without asking the kernel.
pub(super) fn uuid(sight: &Sight, number: u64) -> String {
    // FNV-1a, 64 bits, of the node's name.
    let name = sight.here.name.0.bytes();
    let node =
        name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let high = sight.time_us << 16 | 0x8000 | (number >> 32) & 0xfff;
    let low = (0x8000 | (node >> 48) & 0x3fff) << 48 | (node & 0xffff) << 32 | number & 0xffff_ffff;
    Uuid::from_u64_pair(high, low).hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

fn endpoint(end: &Known, number: u32) -> flow::Endpoint {
    let pod = end.pod();
    let workload = end.who.as_ref().filter(|_| pod.is_some()).and_then(|who| who.workload.as_ref());
    flow::Endpoint {
        id: end.who.as_ref().and_then(|who| who.endpoint).unwrap_or(0),
        workloads: workload
            .map(|one| flow::Workload { name: one.name.to_string(), kind: one.kind.to_string() })
            .into_iter()
            .collect(),
        identity: number,
        cluster_name: if pod.is_some() { CLUSTER.to_owned() } else { String::new() },
        namespace: pod.map_or_else(String::new, |pod| pod.namespace.to_string()),
        pod_name: pod.map_or_else(String::new, |pod| pod.name.to_string()),
        labels: label_texts(number, end.labels.as_ref()),
    }
}

/// Labels of an identity as Cilium tells them.
pub fn label_texts(number: u32, labels: Option<&Labels>) -> Vec<String> {
    match (identity::reserved_name(number), labels) {
        (Some(name), _) => vec![format!("reserved:{name}")],
        (None, Some(labels)) => labels.texts().map(str::to_owned).collect(),
        (None, None) => Vec::new(),
    }
}

/// A node is known by its name; that of a Pod stands elsewhere.
fn host_names(end: &Known, number: u32) -> Vec<String> {
    let is_host = matches!(number, identity::HOST | identity::REMOTE_NODE);
    let node = end.who.as_ref().and_then(|who| who.node.as_ref());
    node.filter(|_| is_host || end.pod().is_none()).map(ToString::to_string).into_iter().collect()
}

/// Hubble's: of a drop, which way the packet went; of anything else, which way its connection did at the end that is here, so
/// that an answer has the direction of what it answers.
pub(super) fn direction(sight: &Sight) -> flow::TrafficDirection {
    let (ingress, reply) = (sight.has(event_flags::INGRESS), sight.has(event_flags::REPLY));
    let out = match (sight.source.is_here(), sight.destination.is_here()) {
        _ if sight.kind == EventKind::Drop => !ingress,
        (true, false) => !reply,
        (false, true) => reply,
        _ => ingress == reply,
    };
    if out { flow::TrafficDirection::Egress } else { flow::TrafficDirection::Ingress }
}

fn service(name: &Arc<ObjectName>) -> flow::Service {
    flow::Service { name: name.name.to_string(), namespace: name.namespace.to_string() }
}

pub(super) fn version(address: IpAddr) -> flow::IpVersion {
    if address.is_ipv4() { flow::IpVersion::IPv4 } else { flow::IpVersion::IPv6 }
}

/// `None` for a protocol that Hubble has no field for.
fn protocol(sight: &Sight) -> Option<Protocol> {
    let event = &sight.event;
    let (source_port, destination_port) = (u32::from(event.source_port), u32::from(event.destination_port));
    let (r#type, code) = (u32::from(event.icmp_type), u32::from(event.icmp_code));
    Some(match event.protocol {
        TCP => Protocol::Tcp(flow::Tcp { source_port, destination_port, flags: Some(flags(event.tcp_flags)) }),
        UDP => Protocol::Udp(flow::Udp { source_port, destination_port }),
        SCTP => Protocol::Sctp(flow::Sctp { source_port, destination_port, chunk_type: 0 }),
        ICMP => Protocol::IcmPv4(flow::IcmPv4 { r#type, code }),
        ICMPV6 => Protocol::IcmPv6(flow::IcmPv6 { r#type, code }),
        _ => return None,
    })
}

/// RFC 9293 §3.1.
const fn flags(bits: u8) -> flow::TcpFlags {
    flow::TcpFlags {
        fin: bits & 1 != 0,
        syn: bits & 2 != 0,
        rst: bits & 4 != 0,
        psh: bits & 8 != 0,
        ack: bits & 16 != 0,
        urg: bits & 32 != 0,
        ece: bits & 64 != 0,
        cwr: bits & 128 != 0,
        ns: false,
    }
}

fn ended(sight: &Sight) -> Option<malla::Ended> {
    let way = match sight.ended()? {
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
    if sight.kind != EventKind::EndOfFlow {
        return Some(malla::Ended { way, ..malla::Ended::default() });
    }
    let (event, [initiator, responder]) = (&sight.event, sight.sockets);
    Some(malla::Ended {
        way,
        duration_ns: event.duration_ns,
        handshake_ns: event.handshake_ns,
        forward_packets: event.forward_packets,
        forward_bytes: event.forward_bytes,
        reply_packets: event.reply_packets,
        reply_bytes: event.reply_bytes,
        initiator: initiator.map(tcp_end),
        responder: responder.map(tcp_end),
        inferred: sight.denied_elsewhere.is_some(),
    })
}

const fn tcp_end(end: TcpEnd) -> malla::TcpEnd {
    malla::TcpEnd { smoothed_rtt_us: end.srtt_us, retransmits: end.retransmits }
}

/// There is one cluster, and this is what Cilium calls it.
pub const CLUSTER: &str = "default";

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::events::names::{Here, Names, RuleFacts, Who};
    use crate::events::sight::tests::{node, pod, seen};
    use datapath_layouts::{Address, DropReason, Event, ObservationPoint};
    use model::Workload;
    use policy::told::Named;
    use std::collections::BTreeMap;

    pub(in crate::events) fn names() -> Names {
        let mut names = Names::of_node("worker-1".into());
        let addresses: [IpAddr; 3] = ["172.18.0.4", "fc00::4", "172.19.0.4"].map(|address| address.parse().unwrap());
        names.here = Arc::new(Here { addresses: addresses.to_vec(), ..Here::clone(&names.here) });
        names.add_network(NETWORK, "eth0");
        names.add_overlay(OVERLAY, "malla.vxlan");
        names.add_link(LINK, "lx1", [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 1, 1]);
        names.who.insert(Address::from_v4([10, 244, 1, 2]), pod("shop", "client"));
        names.who.insert(Address::from_v4([172, 18, 0, 2]), node("control-plane"));
        let service = Address::from_v4([10, 96, 0, 7]);
        names.who.insert(service, Arc::new(Who { is_service: true, ..Who::default() }));
        names.services.insert((service, 80, 6), ObjectName::new("shop", "spink").into());
        let labels = BTreeMap::from([("k8s:app".to_owned(), "client".to_owned())]);
        names.labels.insert(4711, Labels::from_map(&labels).unwrap());
        names
    }

    pub(in crate::events) const NETWORK: u32 = 2;
    pub(in crate::events) const OVERLAY: u32 = 7;
    /// That of 10.244.1.2.
    pub(in crate::events) const LINK: u32 = 9;

    /// Came out of the tunnel.
    pub(in crate::events) fn event() -> Event {
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
            ifindex: OVERLAY,
            tunnel: Address::from_v4([172, 18, 0, 3]),
            flags: event_flags::TRANSLATED | event_flags::INGRESS,
            ..Event::ZERO
        }
    }

    pub(in crate::events) fn flow_of(event: Event) -> flow::Flow {
        to_flow(&seen(&event, &names()))
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
        let interface = flow.interface.clone().unwrap();
        assert_eq!((interface.index, interface.name.as_str()), (OVERLAY, "malla.vxlan"));
        assert_eq!(flow.ethernet, None, "nobody wrote the frame inside the tunnel");
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
    fn both_ends_tell_what_they_belong_to_and_only_pods_do() {
        let (here, there) = (Address::from_v4([10, 244, 1, 2]), Address::from_v4([10, 244, 2, 2]));
        let of = |name: &str, kind: &str| {
            let workload = Workload::new(kind, name).map(Arc::new);
            Arc::new(Who { workload, ..Who::clone(&pod("shop", &format!("{name}-0"))) })
        };
        let told = |here_is, there_is, event: Event| {
            let mut names = names();
            names.who.extend([(here, here_is), (there, there_is)]);
            let flow = to_flow(&seen(&event, &names));
            [flow.source, flow.destination].map(|end| {
                let workloads = end.unwrap().workloads.into_iter();
                workloads.map(|one| format!("{}/{}", one.kind, one.name)).collect::<Vec<_>>().join(" ")
            })
        };
        let drop = Event { kind: EventKind::Drop as u8, reason: DropReason::PolicyDenied as u8, ..event() };
        let end = Event { kind: EventKind::EndOfFlow as u8, ..event() };
        for event in [event(), drop, end] {
            let ends = told(of("web", "Deployment"), of("db", "StatefulSet"), event);
            assert_eq!(ends, ["Deployment/web", "StatefulSet/db"]);
        }
        let reply = Event { source: there, destination: here, flags: event_flags::REPLY, ..event() };
        assert_eq!(told(of("logs", "DaemonSet"), of("once", "Job"), reply), ["Job/once", "DaemonSet/logs"]);
        // Who was not told of, a node, and whoever is no Pod any more.
        assert_eq!(told(pod("shop", "new"), of("db", "StatefulSet"), event()), ["", "StatefulSet/db"]);
        let nobodys = Arc::new(Who { pod: None, ..Who::clone(&of("db", "StatefulSet")) });
        assert_eq!(told(node("worker-1"), nobodys, event()), ["", ""]);
        let world = Event { destination: Address::from_v4([203, 0, 113, 2]), ..event() };
        assert_eq!(told(of("web", "Deployment"), of("db", "StatefulSet"), world), ["Deployment/web", ""]);
    }

    #[test]
    fn an_answer_comes_from_the_service() {
        let flow = flow_of(Event { flags: event_flags::TRANSLATED | event_flags::REPLY, ..event() });
        assert_eq!(flow.traffic_direction(), flow::TrafficDirection::Ingress, "as what it answers");
        assert_eq!((flow.source_service.unwrap().name.as_str(), flow.destination_service), ("spink", None));
        assert_eq!((flow.is_reply, flow.reply), (Some(true), true));
    }

    #[test]
    fn what_a_socket_asked_for_is_named_both_ways() {
        let there = flow_of(Event { flags: event_flags::ASKED, ..event() });
        assert_eq!((there.destination_service.unwrap().name.as_str(), there.source_service), ("spink", None));
        let back = flow_of(Event { flags: event_flags::ASKED | event_flags::REPLY, ..event() });
        assert_eq!((back.source_service.unwrap().name.as_str(), back.destination_service), ("spink", None));
        let neither = flow_of(Event { flags: 0, ..event() });
        assert_eq!(
            (neither.source_service, neither.destination_service),
            (None, None),
            "what is left there says nothing"
        );
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
    fn a_packet_that_somebody_traces_has_passed() {
        let flow = flow_of(Event { kind: EventKind::Trace as u8, ..event() });
        assert_eq!((flow.verdict(), flow.trace_reason()), (flow::Verdict::Forwarded, flow::TraceReason::Established));
    }

    #[test]
    fn what_the_policies_that_decided_want_told_is_told_once() {
        let mut names = names();
        for (number, log) in [(7, Some("out")), (8, Some("in")), (9, None), (10, Some("out"))] {
            let field = Some("spec.egress[0]".to_owned());
            let name = Named { kind: "P".into(), namespace: "shop".into(), name: number.to_string(), field };
            let log = log.map(Into::into);
            names.rules.insert(number, Arc::new(RuleFacts { name, match_type: 1, log, uid: None }));
        }
        let told = |egress_rule, ingress_rule, rule| {
            to_flow(&seen(&Event { egress_rule, ingress_rule, rule, ..event() }, &names)).policy_log
        };
        assert_eq!(told(7, 8, 8), ["out", "in"]);
        assert_eq!(told(8, 7, 7), ["in", "out"], "in the order in which they were asked");
        assert_eq!(told(7, 10, 10), ["out"], "two policies say the same");
        assert_eq!(told(0, 0, 8), ["in"]);
        assert_eq!(told(9, 0, 9), [""; 0], "it wants nothing");
        assert_eq!(told(0, 99, 99), [""; 0], "a rule that has gone");
        assert_eq!(told(0, 0, 0), [""; 0]);
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
        let sight = Sight { time_us: 0x0123_4567_89ab_cdef, number: 0x1234_5678_9abc_def0, ..seen(&event(), &names()) };
        let uuid = to_flow(&sight).uuid;
        assert_eq!((&uuid[..19], &uuid[28..]), ("456789ab-cdef-8678-", "9abcdef0"), "{uuid}");
    }
}
