//! Numbers in Hubble's words.

use crate::flow::layer4::Protocol;
use crate::flow::layer7::Record;
use crate::flow::{DebugCapturePoint, Flow, L7FlowType, SocketTranslationPoint, TrafficDirection};
use crate::numbers::{MATCH_TYPES, OBSERVATION_POINTS, event};

/// One end of a flow, by name.
pub struct Host {
    pub name: String,
    pub port: Option<u32>,
}

/// A Pod's name comes before a Service's, that before domain names, and these before the address.
pub fn hosts(flow: &Flow, translate: bool) -> (Host, Host) {
    let Some(ip) = &flow.ip else {
        let ethernet = flow.ethernet.clone().unwrap_or_default();
        let host = |name| Host { name, port: None };
        return (host(ethernet.source), host(ethernet.destination));
    };
    let (source_port, destination_port) = ports(flow);
    let name = |address: &String,
                endpoint: Option<&crate::flow::Endpoint>,
                service: Option<&crate::flow::Service>,
                names: &[String]| {
        let pod = endpoint.map(|endpoint| endpoint.pod_name.as_str()).filter(|pod| !pod.is_empty());
        let named = service.map(|service| service.name.as_str()).filter(|name| !name.is_empty());
        // As in Hubble, a Service's namespace stands before the Pod's name too.
        let namespace = service.map(|s| s.namespace.as_str()).or(endpoint.map(|e| e.namespace.as_str())).unwrap_or("");
        match pod.or(named) {
            _ if !translate => address.clone(),
            Some(name) if namespace.is_empty() => name.to_owned(),
            Some(name) => format!("{namespace}/{name}"),
            None if !names.is_empty() => names.join(","),
            None => address.clone(),
        }
    };
    let source = name(&ip.source, flow.source.as_ref(), flow.source_service.as_ref(), &flow.source_names);
    let destination =
        name(&ip.destination, flow.destination.as_ref(), flow.destination_service.as_ref(), &flow.destination_names);
    (Host { name: source, port: source_port }, Host { name: destination, port: destination_port })
}

/// Port 0 is none.
fn ports(flow: &Flow) -> (Option<u32>, Option<u32>) {
    let (source, destination) = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => (tcp.source_port, tcp.destination_port),
        Some(Protocol::Udp(udp)) => (udp.source_port, udp.destination_port),
        Some(Protocol::Sctp(sctp)) => (sctp.source_port, sctp.destination_port),
        _ => (0, 0),
    };
    let some = |port: u32| (port != 0).then_some(port);
    (some(source), some(destination))
}

/// `(world)`, `(ID:4711)`.
pub fn identity(number: u32) -> String {
    RESERVED.get(number as usize).map_or_else(|| format!("(ID:{number})"), |name| format!("({name})"))
}

/// What kind of event it was.
pub fn flow_type(flow: &Flow) -> String {
    if let Some(l7) = &flow.l7 {
        let kind =
            L7FlowType::try_from(l7.r#type).map_or_else(|_| l7.r#type.to_string(), |t| t.as_str_name().to_lowercase());
        return match &l7.record {
            Some(Record::Http(_)) => format!("http-{kind}"),
            Some(Record::Dns(dns)) => format!("dns-{kind} {}", dns.observation_source),
            Some(Record::Kafka(_)) => format!("kafka-{kind}"),
            None => format!("l7-{kind}"),
        };
    }
    let told = flow.event_type.unwrap_or_default();
    // Cilium's events have one byte for it.
    let sub_type = told.sub_type & 0xff;
    match told.r#type {
        event::DROP => drop_reason(sub_type),
        event::CAPTURE => DebugCapturePoint::try_from(flow.debug_capture_point)
            .map_or_else(|_| flow.debug_capture_point.to_string(), |point| point.as_str_name().to_owned()),
        event::TRACE => {
            OBSERVATION_POINTS.get(sub_type as usize).map_or_else(|| sub_type.to_string(), |p| (*p).to_owned())
        }
        event::POLICY_VERDICT => {
            let kind = MATCH_TYPES.get(flow.policy_match_type as usize);
            let kind = kind.map_or_else(|| flow.policy_match_type.to_string(), |kind| (*kind).to_owned());
            let direction = TrafficDirection::try_from(flow.traffic_direction);
            let direction =
                direction.map_or_else(|_| flow.traffic_direction.to_string(), |d| d.as_str_name().to_owned());
            format!("policy-verdict:{kind} {direction}")
        }
        event::TRACE_SOCK => match SocketTranslationPoint::try_from(flow.sock_xlate_point) {
            Ok(SocketTranslationPoint::SockXlatePointPreDirectionFwd) => "pre-xlate-fwd".to_owned(),
            Ok(SocketTranslationPoint::SockXlatePointPostDirectionFwd) => "post-xlate-fwd".to_owned(),
            Ok(SocketTranslationPoint::SockXlatePointPreDirectionRev) => "pre-xlate-rev".to_owned(),
            Ok(SocketTranslationPoint::SockXlatePointPostDirectionRev) => "post-xlate-rev".to_owned(),
            Ok(point) => point.as_str_name().to_owned(),
            Err(_) => flow.sock_xlate_point.to_string(),
        },
        _ => "UNKNOWN".to_owned(),
    }
}

/// Why, in Cilium's words; Malla's own reasons in Malla's.
fn drop_reason(number: i32) -> String {
    let text = usize::try_from(number - FIRST_REASON).ok().and_then(|index| REASONS.get(index)).copied().unwrap_or("");
    match (number, text) {
        (0, _) => "Success".to_owned(),
        (2, _) => "Invalid packet".to_owned(),
        (240, _) => "Packet too big".to_owned(),
        (241, _) => "No local backend".to_owned(),
        (_, "") => number.to_string(),
        (_, text) => text.to_owned(),
    }
}

/// Names with commas, as many as fit; at least one.
pub fn join_with_cut_off(names: &[String]) -> String {
    let mut length = 0;
    let mut shown = 0;
    for name in names {
        length += name.len() + 2;
        if length > CUT_OFF && shown > 0 {
            break;
        }
        shown += 1;
    }
    let joined = names[..shown].join(", ");
    if shown == names.len() { joined } else { format!("{joined} (and {} more)", names.len() - shown) }
}

/// Cilium's reserved identities, from 0 on.
const RESERVED: [&str; 11] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
];

/// Characters of node names in one line.
const CUT_OFF: usize = 50;

const FIRST_REASON: i32 = 130;

/// From [`FIRST_REASON`] on; empty where the number is not used.
const REASONS: [&str; 78] = [
    "Invalid source mac",
    "Invalid destination mac",
    "Invalid source ip",
    "Policy denied",
    "Invalid packet",
    "CT: Truncated or invalid header",
    "CT: Missing TCP ACK flag",
    "CT: Unknown L4 protocol",
    "CT: Can't create entry from packet",
    "Unsupported L3 protocol",
    "Missed tail call",
    "Error writing to packet",
    "Unknown L4 protocol",
    "Unknown ICMPv4 code",
    "Unknown ICMPv4 type",
    "Unknown ICMPv6 code",
    "Unknown ICMPv6 type",
    "Error retrieving tunnel key",
    "Error retrieving tunnel options",
    "Invalid Geneve option",
    "Unknown L3 target address",
    "Stale or unroutable IP",
    "No matching local container found",
    "Error while correcting L3 checksum",
    "Error while correcting L4 checksum",
    "CT: Map insertion failed",
    "Invalid IPv6 extension header",
    "IP fragmentation not supported",
    "Service backend not found",
    "",
    "No tunnel/encapsulation endpoint (datapath BUG!)",
    "NAT 46/64 not enabled",
    "Reached EDT rate-limiting drop horizon",
    "Unknown connection tracking state",
    "Local host is unreachable",
    "No configuration available to perform policy decision",
    "Unsupported L2 protocol",
    "No mapping for NAT masquerade",
    "Unsupported protocol for NAT masquerade",
    "FIB lookup failed",
    "Encapsulation traffic is prohibited",
    "Invalid identity",
    "Unknown sender",
    "NAT not needed",
    "Is a ClusterIP",
    "First logical datagram fragment not found",
    "Forbidden ICMPv6 message",
    "Denied by LB src range check",
    "Socket lookup failed",
    "Socket assign failed",
    "Proxy redirection not supported for protocol",
    "Policy denied by denylist",
    "VLAN traffic disallowed by VLAN filter",
    "Incorrect VNI from VTEP",
    "Failed to update or lookup TC buffer",
    "No SID was found for the IP address",
    "SRv6 state was removed during tail call",
    "L3 translation from IPv4 to IPv6 failed (NAT46)",
    "L3 translation from IPv6 to IPv4 failed (NAT64)",
    "Authentication required",
    "No conntrack map found",
    "No nat map found",
    "Invalid ClusterID",
    "Unsupported packet protocol for DSR encapsulation",
    "No egress gateway found",
    "Traffic is unencrypted",
    "TTL exceeded",
    "No node ID found",
    "Rate limited",
    "IGMP handled",
    "IGMP subscribed",
    "Multicast handled",
    "Host datapath not ready",
    "Endpoint policy program not available",
    "No Egress IP configured",
    "Punt to proxy",
    "No device",
    "First logical datagram fragment not found from world",
];
