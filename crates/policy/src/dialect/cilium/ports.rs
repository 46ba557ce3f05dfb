//! What a rule lets be spoken.

use super::icmp;
use super::section::Section;
use crate::dialect::Findings;
use crate::rule::{Action, Direction, PortMatch, PortSet, Ports, Transport};
use custom_resources::cilium_policy::{L7Rules, PortProtocol, PortRule};

/// Cilium's `maxPorts`, of one entry of `toPorts`.
const MOST_PORTS: usize = 40;
/// IP protocol numbers (IANA) that have no ports and are named like those that do.
const WITHOUT_PORTS: [(&str, u8); 2] = [("IGMP", 2), ("VRRP", 112)];

/// The ports of a rule; none where it names none, which means all if there are peers.
pub(super) fn convert(section: &Section<'_>, field: &str, action: Action, findings: &mut Findings) -> Option<Ports> {
    let rules = section.ports.unwrap_or_default();
    let icmps = section.icmps.unwrap_or_default();
    if !rules.is_empty() && !icmps.is_empty() {
        findings.mistake(format!("{field}.icmps"), "stands beside toPorts: write it as a rule of its own");
    }
    if rules.is_empty() && icmps.is_empty() {
        return None;
    }
    let (mut all, mut everything) = icmp::matches(icmps, field, findings);
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("{field}.toPorts[{index}]");
        check_l7(rule, &place, section.direction, findings);
        let gaps = not_enforced(rule, &place, findings);
        let ports = rule.ports.as_deref().unwrap_or_default();
        if ports.len() > MOST_PORTS {
            findings
                .mistake(format!("{place}.ports"), format!("has {} ports: write at most {MOST_PORTS}", ports.len()));
        }
        if ports.is_empty() {
            let text = "names no port: an allow of it adds nothing, a deny denies all ports; write port \"0\" for all";
            findings.gap(format!("{place}.ports"), text);
            everything = true;
        }
        let matches: Vec<PortMatch> = ports
            .iter()
            .enumerate()
            .filter_map(|(at, port)| one(port, &format!("{place}.ports[{at}]"), findings))
            .collect();
        if action == Action::Deny || !gaps {
            all.extend(matches);
        }
    }
    if everything && action == Action::Deny { Some(Ports::Any) } else { Some(Ports::OneOf(all)) }
}

/// Tells of everything that is asked for above ports. Whether there is something.
fn not_enforced(rule: &PortRule, place: &str, findings: &mut Findings) -> bool {
    let l7 = rule.rules.as_ref().is_some_and(|rules| !kinds(rules).is_empty());
    let server_names = rule.server_names.as_ref().is_some_and(|names| !names.is_empty());
    let asked = [
        ("rules", l7, "what is said on a port"),
        ("serverNames", server_names, "names that TLS clients ask for"),
        ("listener", rule.listener.is_some(), "a listener of the proxy"),
        ("terminatingTLS", rule.terminating_tls.is_some(), "TLS that ends at the proxy"),
        ("originatingTLS", rule.originating_tls.is_some(), "TLS that the proxy begins"),
    ];
    for (name, _, what) in asked.iter().filter(|(_, is_there, _)| *is_there) {
        let why = format!("{what} is not enforced yet: these ports are not allowed by this, a deny denies them whole");
        findings.gap(format!("{place}.{name}"), why);
    }
    asked.iter().any(|(_, is_there, _)| *is_there)
}

fn kinds(rules: &L7Rules) -> Vec<&'static str> {
    let l7 = rules.l7proto.as_ref().is_some_and(|name| !name.is_empty()) || rules.l7.is_some();
    let all = [
        ("http", rules.http.is_some()),
        ("kafka", rules.kafka.is_some()),
        ("dns", rules.dns.is_some()),
        ("l7proto", l7),
    ];
    all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}

/// What Cilium rejects of L7 rules (`PortRule.sanitize`): it would mean nothing there either.
fn check_l7(rule: &PortRule, place: &str, direction: Direction, findings: &mut Findings) {
    let names = rule.server_names.iter().flatten().enumerate().filter(|(_, name)| name.is_empty());
    for (index, _) in names {
        findings.mistake(format!("{place}.serverNames[{index}]"), "is empty: write a name");
    }
    if direction == Direction::Ingress && rule.listener.is_some() {
        findings.mistake(format!("{place}.listener"), "has no meaning for ingress");
    }
    let Some(rules) = &rule.rules else { return };
    let kinds = kinds(rules);
    if let [first, second, ..] = kinds[..] {
        findings.mistake(format!("{place}.rules.{second}"), format!("stands beside {first}: a port has one protocol"));
    }
    if rules.l7.is_some() && rules.l7proto.as_ref().is_none_or(String::is_empty) {
        findings.mistake(format!("{place}.rules.l7proto"), "is missing: l7 needs the protocol's name");
    }
    let dns = kinds.contains(&"dns");
    if dns && direction == Direction::Ingress {
        findings.mistake(format!("{place}.rules.dns"), "has no meaning for ingress");
    }
    if kinds.is_empty() {
        return;
    }
    for (index, port) in rule.ports.iter().flatten().enumerate() {
        let place = format!("{place}.ports[{index}]");
        if !dns && port.protocol.as_deref() != Some("TCP") {
            findings.mistake(format!("{place}.protocol"), format!("must be TCP where there are {} rules", kinds[0]));
        }
        if matches!(port.port.as_deref(), None | Some("" | "0")) {
            findings.mistake(format!("{place}.port"), format!("must be one port where there are {} rules", kinds[0]));
        }
    }
}

fn one(port: &PortProtocol, place: &str, findings: &mut Findings) -> Option<PortMatch> {
    let protocol = port.protocol.as_deref().unwrap_or("ANY").to_ascii_uppercase();
    let text = port.port.as_deref().unwrap_or_default();
    let set = ports(text, port.end_port.unwrap_or(0), place, findings);
    if let Some((name, number)) = WITHOUT_PORTS.iter().find(|(name, _)| *name == protocol) {
        if set != Some(PortSet::All) {
            findings.mistake(format!("{place}.port"), format!("{name} has no ports: write \"0\""));
        }
        return Some(PortMatch::Protocol(*number));
    }
    let transport = match protocol.as_str() {
        "TCP" => Transport::Tcp,
        "UDP" => Transport::Udp,
        "SCTP" => Transport::Sctp,
        "ANY" | "" => Transport::Any,
        "ICMP" | "ICMPV6" => {
            findings.mistake(format!("{place}.protocol"), format!("is {protocol}, which has no ports: write icmps"));
            return None;
        }
        _ => {
            findings.mistake(format!("{place}.protocol"), format!("is {protocol:?}: write TCP, UDP, SCTP or ANY"));
            return None;
        }
    };
    Some(PortMatch::Port(transport, set?))
}

/// Only decimal numbers are numbers; what has a letter is a name (RFC 6335 §5.1), in lower case.
fn ports(text: &str, end: i32, place: &str, findings: &mut Findings) -> Option<PortSet> {
    let first = match text {
        "" | "0" if end <= 0 => return Some(PortSet::All),
        "" | "0" => {
            findings.mistake(format!("{place}.endPort"), "ends a range that has no beginning: write port from 1 on");
            return None;
        }
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => match text.parse::<u16>() {
            Ok(number) if !text.starts_with('0') => number,
            _ => {
                findings.mistake(format!("{place}.port"), format!("is {text:?}: write a number from 0 to 65535"));
                return None;
            }
        },
        _ if is_service_name(text) && end <= 0 => return Some(PortSet::Named(text.to_ascii_lowercase().into())),
        _ if is_service_name(text) => {
            findings.mistake(format!("{place}.endPort"), format!("ends a range that begins with a name, {text:?}"));
            return None;
        }
        _ => {
            let text = format!(
                "is {text:?}: write a number, or a container port's name (letters, digits, dashes; 15 at most)"
            );
            findings.mistake(format!("{place}.port"), text);
            return None;
        }
    };
    if end <= 0 {
        return Some(PortSet::Range(first, first));
    }
    match u16::try_from(end) {
        Ok(last) if last >= first => Some(PortSet::Range(first, last)),
        _ => {
            findings.mistake(format!("{place}.endPort"), format!("is {end}: write a number from {first} to 65535"));
            None
        }
    }
}

/// RFC 6335 §5.1.
pub(in crate::dialect) fn is_service_name(text: &str) -> bool {
    text.len() <= 15
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}
