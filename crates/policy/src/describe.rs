//! Peers and ports in words, for people.

use crate::rule::{Entity, Peer, Peers, PortMatch, PortSet, Ports, Scope, Transport};
use std::fmt::{Display, Formatter, Result};

impl Display for Peers {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Any => f.write_str("anybody"),
            Self::OneOf(list) if list.is_empty() => f.write_str("nobody"),
            Self::OneOf(list) => joined(list, " or ", f),
        }
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::OneOf(list) if list.is_empty() => f.write_str("nothing"),
            Self::OneOf(list) => joined(list, " ", f),
        }
    }
}

fn joined<T: Display>(list: &[T], between: &str, f: &mut Formatter<'_>) -> Result {
    for (at, one) in list.iter().enumerate() {
        write!(f, "{}{one}", if at == 0 { "" } else { between })?;
    }
    Ok(())
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Endpoints(selector) => write!(f, "{selector}"),
            Self::OtherEndpoints(selector) => write!(f, "others than {selector}"),
            Self::Entity(entity) => write!(f, "{entity}"),
            Self::Nodes(selector) => write!(f, "nodes {selector}"),
            Self::Cidr { net, except, scope } => {
                write!(f, "{net}")?;
                for (at, one) in except.iter().enumerate() {
                    write!(f, "{}{one}", if at == 0 { " except " } else { ", " })?;
                }
                f.write_str(if *scope == Scope::Everyone { " of everyone" } else { "" })
            }
        }
    }
}

impl Display for Entity {
    /// As Cilium names them.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::All => "all",
            Self::World => "world",
            Self::WorldIpv4 => "world-ipv4",
            Self::WorldIpv6 => "world-ipv6",
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::Init => "init",
            Self::Ingress => "ingress",
            Self::Unmanaged => "unmanaged",
            Self::RemoteNode => "remote-node",
            Self::Health => "health",
            Self::None => "none",
            Self::KubeApiserver => "kube-apiserver",
        })
    }
}

impl Display for PortMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Port(transport, set) => {
                f.write_str(match transport {
                    Transport::Tcp => "tcp",
                    Transport::Udp => "udp",
                    Transport::Sctp => "sctp",
                    Transport::Any => "any",
                })?;
                match set {
                    PortSet::All => Ok(()),
                    PortSet::Range(first, last) if first == last => write!(f, "/{first}"),
                    PortSet::Range(first, last) => write!(f, "/{first}-{last}"),
                    PortSet::Named(name) => write!(f, "/{name}"),
                }
            }
            Self::Protocol(number) => write!(f, "protocol {number}"),
            Self::Icmp { v6, kind } => write!(f, "{}/{kind}", if *v6 { "icmpv6" } else { "icmp" }),
        }
    }
}
