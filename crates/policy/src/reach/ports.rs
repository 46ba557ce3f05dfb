//! Ports that no rule tells apart.

use crate::rule::{Policy, PortMatch, PortSet, Ports};
use crate::subject::NamedPort;
use std::collections::{BTreeMap, BTreeSet};

/// Ports of one protocol, first and last; ICMP: types; other protocols: `0..=0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortClass {
    /// IP protocol number.
    pub protocol: u8,
    /// First and last one. All of them are treated alike.
    pub ports: (u16, u16),
    /// Of a protocol that no rule names: it stands for all of these.
    pub others: bool,
}

const TRANSPORTS: [u8; 3] = [6, 17, 132];
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Stands for protocols that no rule names: experiments (RFC 3692).
const OTHERS: std::ops::RangeInclusive<u8> = 253..=254;

/// Every class that these policies can tell apart for a destination with these named ports, in one family.
#[must_use]
pub fn classes(policies: &[&Policy], named: &[&NamedPort], v4: bool) -> Vec<PortClass> {
    let rules = policies.iter().flat_map(|policy| &policy.rules);
    let ports = rules.filter_map(|rule| match &rule.ports {
        Ports::OneOf(ports) => Some(ports),
        Ports::Any => None,
    });
    classes_of(ports.flatten(), named, v4)
}

/// The same for single ports.
#[must_use]
pub fn classes_of<'a>(ports: impl Iterator<Item = &'a PortMatch>, named: &[&NamedPort], v4: bool) -> Vec<PortClass> {
    let mut cuts: BTreeMap<u8, BTreeSet<u32>> = BTreeMap::new();
    let mut others = BTreeSet::new();
    let icmp = if v4 { ICMP } else { ICMPV6 };
    for one in ports {
        match one {
            PortMatch::Port(transport, set) => {
                for protocol in transport.numbers() {
                    let cuts = cuts.entry(*protocol).or_default();
                    match set {
                        PortSet::All => {}
                        PortSet::Range(first, last) => cuts.extend([u32::from(*first), u32::from(*last) + 1]),
                        PortSet::Named(name) => {
                            let mine = named.iter().filter(|p| p.name == *name && p.protocol == *protocol);
                            cuts.extend(mine.flat_map(|p| [u32::from(p.port), u32::from(p.port) + 1]));
                        }
                    }
                }
            }
            PortMatch::Icmp { v6, kind } if *v6 != v4 => {
                cuts.entry(icmp).or_default().extend([u32::from(*kind), u32::from(*kind) + 1]);
            }
            PortMatch::Protocol(number) if ![6, 17, 132, icmp].contains(number) => {
                others.insert(*number);
            }
            PortMatch::Icmp { .. } | PortMatch::Protocol(_) => {}
        }
    }
    let mut all = Vec::new();
    for protocol in TRANSPORTS.into_iter().chain([icmp]) {
        let end = if protocol == icmp { 256 } else { 1 << 16 };
        let mine = cuts.remove(&protocol).unwrap_or_default();
        let inner: BTreeSet<u32> = mine.into_iter().filter(|cut| *cut > 0 && *cut < end).chain([0, end]).collect();
        let inner: Vec<u32> = inner.into_iter().collect();
        all.extend(inner.windows(2).map(|pair| PortClass {
            protocol,
            ports: (pair[0] as u16, (pair[1] - 1) as u16),
            others: false,
        }));
    }
    let nothing = (0, 0);
    all.extend(others.iter().map(|protocol| PortClass { protocol: *protocol, ports: nothing, others: false }));
    let unnamed = OTHERS.into_iter().find(|number| !others.contains(number)).unwrap_or(*OTHERS.start());
    all.push(PortClass { protocol: unnamed, ports: nothing, others: true });
    all
}

/// Classes as people write them: neighbours as one range, a whole protocol by its name, all of `of` classes as everything.
#[must_use]
pub fn text(classes: &[PortClass], of: usize) -> String {
    let mut sorted: Vec<PortClass> = classes.to_vec();
    sorted.sort_unstable_by_key(|class| (class.others, rank(class.protocol), class.protocol, class.ports));
    sorted.dedup();
    if sorted.len() == of {
        return "everything".to_owned();
    }
    let mut ranges: Vec<PortClass> = Vec::new();
    for class in sorted {
        match ranges.last_mut() {
            Some(last)
                if last.protocol == class.protocol && u32::from(last.ports.1) + 1 == u32::from(class.ports.0) =>
            {
                last.ports.1 = class.ports.1;
            }
            _ => ranges.push(class),
        }
    }
    let whole = |class: &PortClass| match class.protocol {
        ICMP | ICMPV6 => class.ports == (0, 255),
        _ => class.ports == (0, u16::MAX),
    };
    let one = |class: &PortClass| {
        let name = match class.protocol {
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            132 => "sctp".to_owned(),
            ICMP => "icmp".to_owned(),
            ICMPV6 => "icmpv6".to_owned(),
            _ if class.others => return "other protocols".to_owned(),
            number => return format!("protocol {number}"),
        };
        match class.ports {
            _ if whole(class) => name,
            (first, last) if first == last => format!("{name}/{first}"),
            (first, last) => format!("{name}/{first}-{last}"),
        }
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// One text for both families, where they say the same but for the name of ICMP.
#[must_use]
pub fn both_families(v4: &str, v6: &str) -> Option<String> {
    if v4 == v6 {
        return Some(v4.to_owned());
    }
    if v4 != v6.replace("icmpv6", "icmp") {
        return None;
    }
    let pairs = v4.split(' ').zip(v6.split(' '));
    let all: Vec<String> =
        pairs.map(|(one, other)| if one == other { one.to_owned() } else { format!("{one} {other}") }).collect();
    Some(all.join(" "))
}

const fn rank(protocol: u8) -> u8 {
    match protocol {
        6 => 0,
        17 => 1,
        132 => 2,
        ICMP => 3,
        ICMPV6 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_one_text_where_they_say_the_same() {
        for (v4, v6, expected) in [
            ("tcp/80", "tcp/80", Some("tcp/80")),
            ("tcp icmp/8 other protocols", "tcp icmpv6/8 other protocols", Some("tcp icmp/8 icmpv6/8 other protocols")),
            ("icmp", "icmpv6", Some("icmp icmpv6")),
            ("icmp/8", "icmpv6/128", None),
            ("tcp/80", "tcp/81", None),
        ] {
            assert_eq!(both_families(v4, v6).as_deref(), expected);
        }
    }
}
