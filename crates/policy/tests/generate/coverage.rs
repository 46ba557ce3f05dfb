//! What decided, counted.

use std::collections::BTreeMap;

use policy::reference::Packet;
use policy::rule::{Peer, Peers, Policy, PortMatch, PortSet, Ports, Rule, Scope, Tier};

/// How often each kind of thing decided.
#[derive(Default)]
pub struct Coverage(BTreeMap<String, u32>);

impl Coverage {
    pub fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// What of the rule that decided.
    pub fn rule(&mut self, packet: &Packet, policy: &Policy, rule: &Rule) {
        self.count(match rule.tier {
            Tier::Failsafe => "by failsafe".to_string(),
            Tier::Admin(_) => format!("by admin {:?}", rule.action),
            Tier::Normal => format!("by normal {:?}", rule.action),
            Tier::Baseline(_) => format!("by baseline {:?}", rule.action),
        });
        if policy.audit {
            self.count("by a policy in audit");
        }
        let Peers::OneOf(peers) = &rule.peers else { return self.count("by a rule for any peer") };
        for peer in peers {
            let inside = packet.peer >= 256 || packet.peer == 1 || packet.peer == 6;
            match peer {
                Peer::Endpoints(_) => self.count("by a rule for endpoints"),
                Peer::OtherEndpoints(_) => self.count("by a rule for other endpoints"),
                Peer::Entity(entity) => self.count(format!("by a rule for the entity {entity:?}")),
                Peer::Nodes(_) => self.count("by a rule for nodes"),
                Peer::Cidr { except, scope, .. } => {
                    self.count(format!("by a rule for a prefix, {scope:?}"));
                    if !except.is_empty() && inside && *scope == Scope::Everyone {
                        self.count("by a rule for a prefix with except over pods");
                    }
                }
            }
        }
        let Ports::OneOf(ports) = &rule.ports else { return };
        for port in ports {
            self.count(match port {
                PortMatch::Port(transport, PortSet::All) => format!("by all ports of {transport:?}"),
                PortMatch::Port(_, PortSet::Range(a, b)) if a == b => "by a port".to_string(),
                PortMatch::Port(_, PortSet::Range(..)) => "by a range".to_string(),
                PortMatch::Port(_, PortSet::Named(_)) => "by a named port".to_string(),
                PortMatch::Protocol(_) => "by a protocol".to_string(),
                PortMatch::Icmp { .. } => "by an ICMP type".to_string(),
            });
        }
    }

    /// Each of these has decided at least so often: a kind that hardly ever decides is not tested.
    pub fn expect(&self, least: u32, what: &[&str]) {
        for what in what {
            let count = self.0.get(*what).copied().unwrap_or(0);
            assert!(count >= least, "{what}: decided {count} times\n{:#?}", self.0);
        }
    }
}

/// Every kind of selector, precedence, port, protocol and peer.
pub const WANTED: &[&str] = &[
    "by failsafe",
    "by admin Allow",
    "by admin Deny",
    "Passed",
    "EarlierTier",
    "EarlierRule",
    "DefaultDeny",
    "by normal Allow",
    "by normal Deny",
    "by baseline Allow",
    "by baseline Deny",
    "by baseline Pass",
    "by a policy in audit",
    "by a rule for any peer",
    "by a rule for endpoints",
    "by a rule for other endpoints",
    "by a rule for the entity All",
    "by a rule for the entity World",
    "by a rule for the entity WorldIpv4",
    "by a rule for the entity WorldIpv6",
    "by a rule for the entity Cluster",
    "by a rule for the entity Host",
    "by a rule for the entity Init",
    "by a rule for the entity Ingress",
    "by a rule for the entity Unmanaged",
    "by a rule for the entity RemoteNode",
    "by a rule for the entity Health",
    "by a rule for the entity KubeApiserver",
    "by a rule for nodes",
    "by a rule for a prefix, Outside",
    "by a rule for a prefix, Everyone",
    "by a rule for a prefix with except over pods",
    "by all ports of Tcp",
    "by all ports of Any",
    "by a port",
    "by a range",
    "by a named port",
    "by a protocol",
    "by an ICMP type",
    "unknown peer, by Allow",
    "unknown peer, by Deny",
    "unknown peer, by Pass",
    "from the own node",
    "by default deny",
    "by default allow",
    "by no policy",
    "ingress",
    "egress",
    "protocol 6",
    "protocol 17",
    "protocol 132",
    "protocol 1",
    "protocol 58",
    "protocol 47",
    "IPv4",
    "IPv6",
];
