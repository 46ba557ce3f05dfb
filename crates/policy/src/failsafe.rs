//! Ports of a node that no policy about nodes shuts.
//!
//! The set is a node's setting, as Calico's `FailsafeInboundHostPorts` and `FailsafeOutboundHostPorts` are
//! (docs.tigera.io, "Failsafe rules"); its default keeps what a node of Kubernetes can't be repaired without.

use crate::rule::{
    Action, Dialect, Direction, Origin, Peers, PerDirection, Policy, PortMatch, PortSet, Ports, Rule, Subject, Tier,
    Transport,
};
use crate::selector::Selector;
use std::fmt;
use std::str::FromStr;

/// Ports of one protocol, first and last: `22/tcp`, `67-68/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The protocol.
    pub transport: Transport,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// A single port of TCP.
    #[must_use]
    pub const fn tcp(port: u16) -> Self {
        Self::range(Transport::Tcp, port, port)
    }

    /// A single port of UDP.
    #[must_use]
    pub const fn udp(port: u16) -> Self {
        Self::range(Transport::Udp, port, port)
    }

    const fn range(transport: Transport, first: u16, last: u16) -> Self {
        Self { transport, first, last }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
            Transport::Any => "any",
        };
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, "/{name}")
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: write a port and its protocol, such as 22/tcp or 67-68/udp");
        let (ports, protocol) = text.split_once('/').ok_or_else(wrong)?;
        let transport = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "sctp" => Transport::Sctp,
            "any" => Transport::Any,
            _ => return Err(wrong()),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first == 0 || first > last {
            return Err(wrong());
        }
        Ok(Self { transport, first, last })
    }
}

/// What stays open at a node, for whoever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failsafe {
    /// Ports of the node.
    pub ingress: Vec<PortRange>,
    /// Ports to which the node speaks.
    pub egress: Vec<PortRange>,
}

/// BGP, etcd, the API server, the kubelet, VXLAN: between nodes, either way.
const BETWEEN_NODES: [PortRange; 5] = [
    PortRange::tcp(179),
    PortRange::range(Transport::Tcp, 2379, 2380),
    PortRange::tcp(6443),
    PortRange::tcp(10250),
    PortRange::udp(datapath_layouts::config::VXLAN_PORT),
];

impl Default for Failsafe {
    /// Beside what nodes speak with each other: SSH in; DNS out; DHCP (RFC 2131 §4.1) and DHCPv6 (RFC 8415 §7.2), of
    /// which answers come to a port of their own.
    fn default() -> Self {
        let mut ingress = vec![PortRange::tcp(22), PortRange::udp(68), PortRange::udp(546)];
        let mut egress = vec![PortRange::udp(53), PortRange::tcp(53), PortRange::udp(67), PortRange::udp(547)];
        ingress.extend(BETWEEN_NODES);
        egress.extend(BETWEEN_NODES);
        Self { ingress, egress }
    }
}

impl Failsafe {
    /// As a policy about every node. Denies nothing, and is no reason to judge a node that no other policy is about.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let rule = |direction, ports: &[PortRange], field: &str| Rule {
            direction,
            tier: Tier::Failsafe,
            order: 0,
            action: Action::Allow,
            peers: Peers::Any,
            ports: Ports::OneOf(
                ports.iter().map(|p| PortMatch::Port(p.transport, PortSet::Range(p.first, p.last))).collect(),
            ),
            field: field.into(),
        };
        Policy {
            origin: Origin {
                dialect: Dialect::Malla,
                kind: "Failsafe".into(),
                namespace: "".into(),
                name: "ports".into(),
                uid: "".into(),
                part: 0,
            },
            subject: Subject::Nodes(Selector::default()),
            default_deny: PerDirection::default(),
            rules: vec![
                rule(Direction::Ingress, &self.ingress, "ingress"),
                rule(Direction::Egress, &self.egress, "egress"),
            ],
            audit: false,
            log: None,
            gaps: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        for text in ["22/tcp", "67-68/udp", "5060/sctp", "1-65535/any"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        for text in ["22", "0/tcp", "68-67/udp", "ssh/tcp", "22/icmp", "70000/tcp", "22-/tcp", ""] {
            let error = text.parse::<PortRange>().unwrap_err();
            assert!(error.contains("22/tcp"), "{error}");
        }
    }
}
