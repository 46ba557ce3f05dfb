//! The slow and obvious judge: rule by rule, straight from the semantics, for one packet at one end.
//!
//! Written to be read beside the contract at the top of [`crate::rule`], not to be fast; it knows nothing of classes, rows and
//! tables, and shares nothing with the planner but the types of rules.

use crate::rule::{
    Action, Direction, Entity, Peer, Peers, Policy, PortMatch, PortSet, Ports, Rule, Scope, Subject, Tier,
};
use crate::subject::{IdentityFacts, Kind, NamedPort, NodeFacts};
use datapath_layouts::identity;
use std::net::IpAddr;

/// Everything that a verdict can depend on.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Every policy.
    pub policies: &'a [Policy],
    /// Every identity that this node knows.
    pub identities: &'a [IdentityFacts],
    /// Every node.
    pub nodes: &'a [NodeFacts],
}

/// A packet at one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether the subject receives or sends it.
    pub direction: Direction,
    /// Identity of the end that judges.
    pub subject: u32,
    /// Identity of the other end.
    pub peer: u32,
    /// Address of the other end.
    pub address: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Port of the destination, after service translation; ICMP: the type; others 0.
    pub port: u16,
}

/// What decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'a> {
    /// One of these rules: equals among equals.
    Rules(Vec<(&'a Policy, &'a Rule)>),
    /// From the own node into its Pod.
    LocalHost,
    /// A policy has default deny, and no rule allows.
    DefaultDeny,
    /// No rule speaks, none has to.
    DefaultAllow,
    /// No policy is about the subject.
    NoPolicy,
    /// Nothing is known about the subject.
    UnknownSubject,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement<'a> {
    /// Whether the packet passes.
    pub allowed: bool,
    /// Why.
    pub decision: Decision<'a>,
}

/// Whether something is so: for certain, or possibly because of what is not known.
#[derive(Clone, Copy, Debug, Default)]
struct Match {
    certain: bool,
    possible: bool,
}

impl Match {
    const NO: Self = Self { certain: false, possible: false };
    const MAYBE: Self = Self { certain: false, possible: true };

    const fn certain(certain: bool) -> Self {
        Self { certain, possible: false }
    }

    fn or(self, other: Self) -> Self {
        Self { certain: self.certain || other.certain, possible: self.possible || other.possible }
    }

    fn and(self, other: Self) -> Self {
        let certain = self.certain && other.certain;
        let possible = (self.possible && (other.certain || other.possible)) || (other.possible && self.certain);
        Self { certain, possible }
    }
}

/// Judges a packet; policies in audit are left out unless `audited`.
#[must_use]
pub fn judge<'a>(world: &World<'a>, packet: &Packet, audited: bool) -> Judgement<'a> {
    let (Some(subject), peer) = ends(world, packet) else {
        return Judgement { allowed: false, decision: Decision::UnknownSubject };
    };
    let about = policies_about(world, subject, audited);
    if about.is_empty() {
        return Judgement { allowed: true, decision: Decision::NoPolicy };
    }

    let matching = matching(world, &about, packet, subject, peer);
    let failsafe: Vec<_> = matching.iter().filter(|(_, rule, _)| rule.tier == Tier::Failsafe).copied().collect();
    if !failsafe.is_empty() {
        return by_rules(true, failsafe);
    }
    let admin = first_in_order(&matching, |tier| matches!(tier, Tier::Admin(_)));
    match admin.first() {
        Some((.., Action::Deny)) => return by_rules(false, admin),
        Some((.., Action::Allow)) => return by_rules(true, admin),
        Some((.., Action::Pass)) | None => {}
    }
    let normal: Vec<_> = matching.iter().filter(|(_, rule, _)| rule.tier == Tier::Normal).copied().collect();
    let denying: Vec<_> = normal.iter().filter(|(.., action)| *action == Action::Deny).copied().collect();
    if !denying.is_empty() {
        return by_rules(false, denying);
    }
    let local = packet.direction == Direction::Ingress
        && subject.kind != Kind::Host
        && peer.is_some_and(|peer| peer.labels.has("reserved:host"));
    if local {
        return Judgement { allowed: true, decision: Decision::LocalHost };
    }
    if !normal.is_empty() {
        return by_rules(true, normal);
    }
    if about.iter().any(|policy| policy.default_deny.of(packet.direction)) {
        return Judgement { allowed: false, decision: Decision::DefaultDeny };
    }
    let baseline = first_in_order(&matching, |tier| matches!(tier, Tier::Baseline(_)));
    match baseline.first() {
        Some((.., Action::Deny)) => by_rules(false, baseline),
        Some(_) => by_rules(true, baseline),
        None => Judgement { allowed: true, decision: Decision::DefaultAllow },
    }
}

/// Both ends, as far as they are known.
pub(crate) fn ends<'a>(world: &World<'a>, packet: &Packet) -> (Option<&'a IdentityFacts>, Option<&'a IdentityFacts>) {
    let find = |number: u32| world.identities.iter().find(|facts| facts.number == number);
    let peer = match (packet.peer, packet.address) {
        (identity::WORLD, IpAddr::V4(_)) => identity::WORLD_IPV4,
        (identity::WORLD, IpAddr::V6(_)) => identity::WORLD_IPV6,
        (number, _) => number,
    };
    (find(packet.subject), find(peer))
}

/// The policies whose subject this is.
pub(crate) fn policies_about<'a>(world: &World<'a>, subject: &IdentityFacts, audited: bool) -> Vec<&'a Policy> {
    world.policies.iter().filter(|policy| (audited || !policy.audit) && governs(policy, subject)).collect()
}

/// The rules that match, with what each of them does here.
pub(crate) fn matching<'a>(
    world: &World<'a>,
    about: &[&'a Policy],
    packet: &Packet,
    subject: &IdentityFacts,
    peer: Option<&IdentityFacts>,
) -> Vec<(&'a Policy, &'a Rule, Action)> {
    let mut matching: Vec<(&Policy, &Rule, Action)> = Vec::new();
    for &policy in about {
        for rule in policy.rules.iter().filter(|rule| rule.direction == packet.direction) {
            let found = rule_matches(world, rule, packet, subject, peer);
            let action = match rule.action {
                Action::Allow if found.certain => Action::Allow,
                Action::Deny if found.certain || found.possible => Action::Deny,
                Action::Pass if found.possible => Action::Deny,
                Action::Pass if found.certain => Action::Pass,
                _ => continue,
            };
            matching.push((policy, rule, action));
        }
    }
    matching
}

fn by_rules<'a>(allowed: bool, rules: Vec<(&'a Policy, &'a Rule, Action)>) -> Judgement<'a> {
    let rules = rules.into_iter().map(|(policy, rule, _)| (policy, rule)).collect();
    Judgement { allowed, decision: Decision::Rules(rules) }
}

/// The rules of a tier that has an order which are asked first: all of the lowest priority, then order, and of those the
/// most severe action.
fn first_in_order<'a>(
    matching: &[(&'a Policy, &'a Rule, Action)],
    tier: impl Fn(Tier) -> bool,
) -> Vec<(&'a Policy, &'a Rule, Action)> {
    let place = |(_, rule, action): &(&Policy, &Rule, Action)| {
        let priority = match rule.tier {
            Tier::Admin(priority) | Tier::Baseline(priority) => priority.get(),
            Tier::Failsafe | Tier::Normal => 0,
        };
        let severity = match action {
            Action::Deny => 0,
            // Nothing is left below Baseline: its pass is an allow.
            Action::Pass if matches!(rule.tier, Tier::Admin(_)) => 1,
            Action::Pass | Action::Allow => 2,
        };
        (priority, rule.order, severity)
    };
    let of_tier: Vec<_> = matching.iter().filter(|(_, rule, _)| tier(rule.tier)).copied().collect();
    let Some(first) = of_tier.iter().map(place).min() else { return Vec::new() };
    of_tier.into_iter().filter(|one| place(one) == first).collect()
}

/// Whether a policy is about this identity.
#[must_use]
pub fn governs(policy: &Policy, subject: &IdentityFacts) -> bool {
    match &policy.subject {
        Subject::Nodes(selector) => subject.kind == Kind::Host && selector.matches(&subject.labels),
        Subject::Endpoints(selector) => match subject.kind {
            Kind::Pod | Kind::Unmanaged | Kind::Init | Kind::Health | Kind::Ingress => {
                selector.matches(&subject.labels)
            }
            Kind::Unknown | Kind::Host | Kind::RemoteNode | Kind::RemotePod => false,
            Kind::WorldIpv4 | Kind::WorldIpv6 | Kind::ApiServer => false,
        },
    }
}

fn rule_matches(
    world: &World<'_>,
    rule: &Rule,
    packet: &Packet,
    subject: &IdentityFacts,
    peer: Option<&IdentityFacts>,
) -> Match {
    // Who has the named ports: the destination.
    let by_identity = match rule.direction {
        Direction::Ingress => Some(&*subject.named_ports),
        Direction::Egress => peer.map(|peer| &*peer.named_ports),
    };
    let by_address = match rule.direction {
        Direction::Ingress => Some(&*subject.named_ports),
        Direction::Egress => None,
    };
    match &rule.peers {
        Peers::Any => ports_match(&rule.ports, by_identity, packet),
        // Everybody is everybody, however else the rule names them.
        Peers::OneOf(peers) if peers.contains(&Peer::Entity(Entity::All)) => {
            ports_match(&rule.ports, by_identity, packet)
        }
        Peers::OneOf(peers) => peers.iter().fold(Match::NO, |found, one| {
            let names = match one {
                Peer::Cidr { .. } | Peer::Nodes(_) => by_address,
                Peer::Endpoints(_) | Peer::OtherEndpoints(_) | Peer::Entity(_) => by_identity,
            };
            found.or(peer_matches(world, one, packet, peer).and(ports_match(&rule.ports, names, packet)))
        }),
    }
}

fn peer_matches(world: &World<'_>, one: &Peer, packet: &Packet, peer: Option<&IdentityFacts>) -> Match {
    match one {
        Peer::Endpoints(selector) => match peer {
            Some(peer) => Match::certain(selector.matches(&peer.labels)),
            None => Match::MAYBE,
        },
        Peer::OtherEndpoints(selector) => match peer {
            Some(peer) => {
                let is_pod = peer.kind == Kind::Pod || peer.kind == Kind::RemotePod;
                Match::certain(is_pod && !selector.matches(&peer.labels))
            }
            None => Match::MAYBE,
        },
        Peer::Entity(Entity::All) => Match::certain(true),
        Peer::Entity(Entity::None) => Match::NO,
        Peer::Entity(entity) => match peer {
            Some(peer) => Match::certain(is_entity(*entity, peer)),
            None => Match::MAYBE,
        },
        Peer::Cidr { net, except, scope } => {
            let inside = net.contains(&packet.address) && !except.iter().any(|e| e.contains(&packet.address));
            match (inside, scope, peer) {
                (false, ..) => Match::NO,
                (true, Scope::Everyone, _) => Match::certain(true),
                (true, Scope::Outside, Some(peer)) => Match::certain(peer.kind.is_outside()),
                (true, Scope::Outside, None) => Match::MAYBE,
            }
        }
        Peer::Nodes(selector) => {
            let mut selected = world.nodes.iter().filter(|node| selector.matches(&node.labels));
            Match::certain(selected.any(|node| node.addresses.contains(&packet.address)))
        }
    }
}

fn is_entity(entity: Entity, peer: &IdentityFacts) -> bool {
    let is = |name: &str| peer.labels.has(&format!("reserved:{name}"));
    match entity {
        Entity::All => true,
        Entity::None => false,
        Entity::World => is("world") || is("world-ipv4") || is("world-ipv6"),
        Entity::WorldIpv4 => is("world-ipv4"),
        Entity::WorldIpv6 => is("world-ipv6"),
        Entity::Host => is("host"),
        Entity::Init => is("init"),
        Entity::Ingress => is("ingress"),
        Entity::Unmanaged => is("unmanaged"),
        Entity::RemoteNode => is("remote-node"),
        Entity::Health => is("health"),
        Entity::KubeApiserver => is("kube-apiserver"),
        Entity::Cluster => {
            peer.kind == Kind::Pod
                || is("host")
                || is("remote-node")
                || is("init")
                || is("ingress")
                || is("health")
                || is("unmanaged")
                || is("kube-apiserver")
        }
    }
}

/// `names`: the destination's named ports; `None` where it is not known whose they would be.
fn ports_match(ports: &Ports, names: Option<&[NamedPort]>, packet: &Packet) -> Match {
    let Ports::OneOf(ports) = ports else { return Match::certain(true) };
    ports.iter().fold(Match::NO, |found, one| {
        found.or(match one {
            PortMatch::Protocol(number) => Match::certain(packet.protocol == *number),
            PortMatch::Icmp { v6, kind } => {
                let protocol = if *v6 { 58 } else { 1 };
                Match::certain(packet.protocol == protocol && packet.port == u16::from(*kind))
            }
            PortMatch::Port(transport, _) if !transport.numbers().contains(&packet.protocol) => Match::NO,
            PortMatch::Port(_, PortSet::All) => Match::certain(true),
            PortMatch::Port(_, PortSet::Range(first, last)) => {
                Match::certain(*first <= packet.port && packet.port <= *last)
            }
            PortMatch::Port(_, PortSet::Named(name)) => match names {
                Some(names) => Match::certain(
                    names.iter().any(|p| p.name == *name && p.protocol == packet.protocol && p.port == packet.port),
                ),
                None => Match::MAYBE,
            },
        })
    })
}
