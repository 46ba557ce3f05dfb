//! What flows are called in labels: Hubble's words.

use flow_api::flow::layer4::Protocol;
use flow_api::flow::layer7::Record;
use flow_api::flow::{Flow, IpVersion, Verdict};
use flow_api::numbers::event::{ACCESS_LOG, CAPTURE, DROP, POLICY_VERDICT, TRACE};
use flow_api::numbers::{MATCH_TYPES, OBSERVATION_POINTS};

/// Type and subtype: what told of the flow (Cilium's monitor messages), and where.
pub fn event(flow: &Flow) -> (&'static str, String) {
    let event = flow.event_type.unwrap_or_default();
    match event.r#type {
        DROP => ("Drop", String::new()),
        CAPTURE => ("Capture", String::new()),
        TRACE => (
            "Trace",
            usize::try_from(event.sub_type).ok().and_then(|at| OBSERVATION_POINTS.get(at)).unwrap_or(&"").to_string(),
        ),
        POLICY_VERDICT => ("PolicyVerdict", String::new()),
        ACCESS_LOG => ("L7", record(flow).unwrap_or_default().to_owned()),
        other => ("Unknown", other.to_string()),
    }
}

/// `TCP`, `DNS`.
pub fn protocol(flow: &Flow) -> &'static str {
    match flow.event_type.unwrap_or_default().r#type {
        ACCESS_LOG => record(flow).unwrap_or("Unknown L7"),
        DROP | CAPTURE | TRACE | POLICY_VERDICT => match layer4(flow) {
            Some(Protocol::Tcp(_)) => "TCP",
            Some(Protocol::Udp(_)) => "UDP",
            Some(Protocol::IcmPv4(_)) => "ICMPv4",
            Some(Protocol::IcmPv6(_)) => "ICMPv6",
            Some(Protocol::Sctp(_)) => "SCTP",
            Some(Protocol::Vrrp(_)) => "VRRP",
            Some(Protocol::Igmp(_)) => "IGMP",
            None => "Unknown L4",
        },
        _ => "Unknown flow",
    }
}

pub fn layer4(flow: &Flow) -> Option<&Protocol> {
    flow.l4.as_ref()?.protocol.as_ref()
}

/// That it is for; 0 for ICMP, which has none.
pub fn port(flow: &Flow) -> Option<u32> {
    match layer4(flow)? {
        Protocol::Tcp(tcp) => Some(tcp.destination_port),
        Protocol::Udp(udp) => Some(udp.destination_port),
        Protocol::Sctp(sctp) => Some(sctp.destination_port),
        Protocol::IcmPv4(_) | Protocol::IcmPv6(_) => Some(0),
        Protocol::Vrrp(_) | Protocol::Igmp(_) => None,
    }
}

pub fn family(flow: &Flow) -> &'static str {
    let version = flow.ip.as_ref().map_or(0, |ip| ip.ip_version);
    IpVersion::try_from(version).unwrap_or(IpVersion::IpNotUsed).as_str_name()
}

pub fn verdict(flow: &Flow) -> Verdict {
    Verdict::try_from(flow.verdict).unwrap_or(Verdict::Unknown)
}

/// By which part of a rule policy decided.
pub fn policy_match(number: u32) -> String {
    let name = usize::try_from(number).ok().and_then(|at| MATCH_TYPES.get(at));
    name.map_or_else(|| number.to_string(), |name| name.to_ascii_lowercase())
}

/// RFC 792; the codes of those types that have some with names.
pub fn icmp_v4(kind: u32, code: u32) -> String {
    let codes: &[&str] = match kind {
        3 => &["Net", "Host", "Protocol", "Port", "FragmentationNeeded", "SourceRoutingFailed"],
        11 => &["TTLExceeded", "FragmentReassemblyTimeExceeded"],
        _ => &[],
    };
    let name = match kind {
        0 => "EchoReply",
        3 => "DestinationUnreachable",
        4 => "SourceQuench",
        5 => "Redirect",
        8 => "EchoRequest",
        9 => "RouterAdvertisement",
        10 => "RouterSolicitation",
        11 => "TimeExceeded",
        12 => "ParameterProblem",
        13 => "TimestampRequest",
        14 => "TimestampReply",
        _ => return format!("{kind}({code})"),
    };
    with_code(name, codes, code)
}

/// RFC 4443, RFC 4861.
pub fn icmp_v6(kind: u32, code: u32) -> String {
    let codes: &[&str] = match kind {
        1 => &["NoRouteToDst", "AdminProhibited", "BeyondScopeOfSrc", "AddressUnreachable", "PortUnreachable"],
        3 => &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"],
        _ => &[],
    };
    let name = match kind {
        1 => "DestinationUnreachable",
        2 => "PacketTooBig",
        3 => "TimeExceeded",
        4 => "ParameterProblem",
        128 => "EchoRequest",
        129 => "EchoReply",
        133 => "RouterSolicitation",
        134 => "RouterAdvertisement",
        135 => "NeighborSolicitation",
        136 => "NeighborAdvertisement",
        137 => "Redirect",
        _ => return format!("{kind}({code})"),
    };
    with_code(name, codes, code)
}

fn with_code(name: &str, codes: &[&str], code: u32) -> String {
    match (codes.get(code as usize), code) {
        (Some(code), _) => format!("{name}({code})"),
        (None, 0) => name.to_owned(),
        (None, code) => format!("{name}(Code: {code})"),
    }
}

fn record(flow: &Flow) -> Option<&'static str> {
    Some(match flow.l7.as_ref()?.record.as_ref()? {
        Record::Dns(_) => "DNS",
        Record::Http(_) => "HTTP",
        Record::Kafka(_) => "Kafka",
    })
}
