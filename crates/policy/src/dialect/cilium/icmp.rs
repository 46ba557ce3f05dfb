//! Types of ICMP messages, by number and by name.

use crate::dialect::Findings;
use crate::rule::PortMatch;
use custom_resources::cilium_policy::{IcmpField, IcmpRule};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Cilium's `maxICMPFields`, of one entry of `icmps`.
const MOST_FIELDS: usize = 40;

/// Every type, and whether an entry names none: an allow of that adds nothing, a deny has to mean everything.
pub(super) fn matches(rules: &[IcmpRule], field: &str, findings: &mut Findings) -> (Vec<PortMatch>, bool) {
    let mut all = Vec::new();
    let mut everything = false;
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("{field}.icmps[{index}].fields");
        let fields = rule.fields.as_deref().unwrap_or_default();
        if fields.len() > MOST_FIELDS {
            findings.mistake(&place, format!("has {} types: write at most {MOST_FIELDS}", fields.len()));
        }
        if fields.is_empty() {
            findings.gap(&place, "names no type: an allow of it adds nothing, a deny denies everything; write a type");
            everything = true;
        }
        all.extend(fields.iter().enumerate().filter_map(|(at, one)| icmp(one, &format!("{place}[{at}]"), findings)));
    }
    (all, everything)
}

fn icmp(field: &IcmpField, place: &str, findings: &mut Findings) -> Option<PortMatch> {
    let (v6, names) = match field.family.as_deref() {
        None | Some("" | "IPv4") => (false, &ICMP[..]),
        Some("IPv6") => (true, &ICMPV6[..]),
        Some(other) => {
            findings.mistake(format!("{place}.family"), format!("is {other:?}: write IPv4 or IPv6"));
            return None;
        }
    };
    let kind = match &field.kind {
        IntOrString::Int(number) => u8::try_from(*number).ok(),
        IntOrString::String(text) => {
            text.parse().ok().or_else(|| names.iter().find(|(name, _)| name == text).map(|(_, number)| *number))
        }
    };
    if kind.is_none() {
        let family = if v6 { "ICMPv6" } else { "ICMP" };
        let written = match &field.kind {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(text) => format!("{text:?}"),
        };
        let text = format!("is {written}, no type of {family}: write 0 to 255 or a name such as EchoRequest");
        findings.mistake(format!("{place}.type"), text);
    }
    kind.map(|kind| PortMatch::Icmp { v6, kind })
}

/// IANA, "ICMP Type Numbers"; names as Cilium writes them (`pkg/policy/api/icmp.go`).
const ICMP: [(&str, u8); 15] = [
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
    // So it stands in Cilium's own schema.
    ("ExtendedEcho Reply", 43),
];

/// IANA, "ICMPv6 Type Numbers"; names as Cilium writes them.
const ICMPV6: [(&str, u8); 27] = [
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
    ("ExtendedEchoReply", 161),
];
