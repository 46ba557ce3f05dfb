//! The rules of a subject's direction, each taken apart by the side on which it speaks.

use super::content::{Effect, Piece, Slot};
use super::index::Index;
use super::numbers::Numbered;
use super::prefix::{canonical, contains};
use crate::rule::{
    Action, Direction, Entity, Origin, Peer, Peers, Policy, PortMatch, PortSet, Ports, Rule, Scope, Tier, Transport,
};
use crate::subject::{IdentityFacts, Kind, NamedPort, NodeFacts};
use datapath_layouts::Outcome;
use datapath_layouts::policy::{Action as Verdict, match_type, outcome_flags};
use ipnet::IpNet;

/// Numbers of rules: the same rule of the same object keeps its own.
pub(super) type RuleNumbers = Numbered<(Origin, Rule)>;

/// Who a line is about.
#[derive(Clone, Debug, PartialEq)]
enum Who {
    /// Everybody, whatever it is.
    Everybody,
    /// By identity; of [`Peers::Any`] too, where it takes the identity to know the port.
    Identities(Option<Vec<Peer>>),
    /// By address.
    Prefixes(Vec<(IpNet, Vec<IpNet>, Scope)>),
}

/// A rule (or a part of one) on one side.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    who: Who,
    action: Action,
    effect: Effect,
    pieces: Vec<Piece>,
    /// Names that each peer resolves for itself.
    names: Vec<(Transport, Box<str>)>,
}

/// A peer as the identity side sees it.
#[derive(Clone, Copy)]
pub(super) enum Seen<'a> {
    Known(&'a IdentityFacts),
    Unknown,
}

/// A peer as the side of prefixes sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Inside,
    Outside,
    Unknown,
}

/// A subject's direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lines {
    pub default_deny: bool,
    lines: Vec<Line>,
    /// Of the lines about identities.
    index: Index,
}

impl Lines {
    /// Takes apart what `policies`, all of which are about the subject, say.
    pub fn compile(
        subject: &IdentityFacts,
        direction: Direction,
        policies: &[&Policy],
        nodes: &[NodeFacts],
        numbers: &mut RuleNumbers,
    ) -> Self {
        let default_deny = policies.iter().any(|policy| policy.default_deny.of(direction));
        let mut lines = Self { default_deny, lines: Vec::new(), index: Index::default() };
        for policy in policies {
            for rule in policy.rules.iter().filter(|rule| rule.direction == direction) {
                // The Baseline tier is asked only where nothing else has a default.
                if default_deny && matches!(rule.tier, Tier::Baseline(_)) {
                    continue;
                }
                let number = numbers.number(&(policy.origin.clone(), rule.clone()));
                lines.add(rule, effect(rule, number, policy.log.is_some()), subject, nodes);
            }
        }
        if !policies.is_empty() && direction == Direction::Ingress && subject.kind != Kind::Host {
            lines.lines.push(host_line());
        }
        for (line, number) in lines.lines.iter().zip(0..) {
            if let Who::Identities(peers) = &line.who {
                lines.index.add(number, peers.as_deref());
            }
        }
        lines
    }

    /// What keeps a node reachable when nothing else fits: everything but the failsafe ports is denied. Takes no peers and
    /// no prefixes.
    pub fn failsafe(&self) -> Self {
        let keeps = |line: &&Line| {
            let first = line.effect.slot == Slot::Admin && line.effect.outcome.precedence == FAILSAFE;
            first && matches!(line.who, Who::Everybody)
        };
        let lines = self.lines.iter().filter(keeps).cloned().collect();
        Self { default_deny: true, lines, index: Index::default() }
    }

    fn add(&mut self, rule: &Rule, effect: Effect, subject: &IdentityFacts, nodes: &[NodeFacts]) {
        let names_of = if rule.direction == Direction::Ingress { Some(&*subject.named_ports) } else { None };
        let (pieces, names) = pieces(&rule.ports, names_of);
        let line = Line { who: Who::Everybody, action: rule.action, effect, pieces, names };
        let Peers::OneOf(peers) = &rule.peers else { return self.add_for_everybody(line) };
        if peers.contains(&Peer::Entity(Entity::All)) {
            return self.add_for_everybody(line);
        }
        let (mut identities, mut prefixes) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                Peer::Cidr { net, except, scope } => {
                    prefixes.push((canonical(*net), except.iter().copied().map(canonical).collect(), *scope));
                }
                Peer::Nodes(selector) => {
                    let selected = nodes.iter().filter(|node| selector.matches(&node.labels));
                    let addresses = selected.flat_map(|node| &node.addresses);
                    prefixes.extend(addresses.map(|ip| (canonical(IpNet::from(*ip)), Vec::new(), Scope::Everyone)));
                }
                Peer::Entity(Entity::None) => {}
                Peer::Endpoints(_) | Peer::OtherEndpoints(_) | Peer::Entity(_) => identities.push(peer.clone()),
            }
        }
        if !identities.is_empty() {
            self.lines.push(Line { who: Who::Identities(Some(identities)), ..line.clone() });
        }
        if !prefixes.is_empty() {
            self.add_for_prefixes(line, prefixes);
        }
    }

    fn add_for_everybody(&mut self, line: Line) {
        if !line.names.is_empty() {
            self.lines.push(Line { who: Who::Identities(None), pieces: Vec::new(), ..line.clone() });
        }
        self.lines.push(Line { names: Vec::new(), ..line });
    }

    /// An address has no named ports: an allow of them says nothing, all else denies every port.
    fn add_for_prefixes(&mut self, line: Line, prefixes: Vec<(IpNet, Vec<IpNet>, Scope)>) {
        let who = Who::Prefixes(prefixes);
        if !line.names.is_empty() && line.action != Action::Allow {
            let pieces = every_port(&line.names);
            let effect = denying(line.effect);
            self.lines.push(Line { who: who.clone(), action: Action::Deny, effect, pieces, names: Vec::new() });
        }
        self.lines.push(Line { who, names: Vec::new(), ..line });
    }

    /// What speaks about everybody, and where.
    pub fn about_everybody(&self) -> Vec<(Effect, Piece)> {
        let mine = self.lines.iter().filter(|line| matches!(line.who, Who::Everybody));
        mine.flat_map(|line| line.pieces.iter().map(|piece| (line.effect, *piece))).collect()
    }

    /// What speaks about a peer by its identity, and where.
    pub fn about_identity(&self, peer: Seen<'_>) -> Vec<(Effect, Piece)> {
        let mut effects = Vec::new();
        match peer {
            Seen::Known(facts) => {
                let about = self.index.about(facts).into_iter();
                for line in about.filter_map(|number| self.lines.get(number as usize)) {
                    let Who::Identities(peers) = &line.who else { continue };
                    if peers.as_ref().is_none_or(|peers| peers.iter().any(|peer| is(peer, facts))) {
                        effects.extend(line.pieces.iter().map(|piece| (line.effect, *piece)));
                        let named = line.names.iter().flat_map(|(t, name)| resolve(*t, name, &facts.named_ports));
                        effects.extend(named.map(|piece| (line.effect, piece)));
                    }
                }
            }
            Seen::Unknown => {
                let is_bad = |line: &&Line| matches!(line.who, Who::Identities(_)) && line.action != Action::Allow;
                for line in self.lines.iter().filter(is_bad) {
                    let pieces = line.pieces.iter().copied().chain(every_port(&line.names));
                    effects.extend(pieces.map(|piece| (denying(line.effect), piece)));
                }
            }
        }
        effects
    }

    /// What speaks about a peer by its address, whose longest prefix this is.
    pub fn about_prefix(&self, prefix: &IpNet, place: Place) -> Vec<(Effect, Piece)> {
        let mut effects = Vec::new();
        for line in &self.lines {
            let Who::Prefixes(prefixes) = &line.who else { continue };
            let holds = |wanted: Scope| {
                prefixes.iter().any(|(net, except, scope)| {
                    *scope == wanted && contains(net, prefix) && !except.iter().any(|e| contains(e, prefix))
                })
            };
            let effect = if place == Place::Unknown && line.action != Action::Allow && holds(Scope::Outside) {
                denying(line.effect)
            } else if holds(Scope::Everyone) || (place == Place::Outside && holds(Scope::Outside)) {
                line.effect
            } else {
                continue;
            };
            effects.extend(line.pieces.iter().map(|piece| (effect, *piece)));
        }
        effects
    }

    /// Every prefix that it names.
    pub fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.lines
            .iter()
            .filter_map(|line| match &line.who {
                Who::Prefixes(prefixes) => Some(prefixes),
                _ => None,
            })
            .flatten()
            .flat_map(|(net, except, _)| std::iter::once(net).chain(except))
    }
}

/// From the own node into a Pod (`allow-localhost-ingress`): as a rule of the usual tier, so that any deny wins.
fn host_line() -> Line {
    let outcome = Outcome {
        precedence: NORMAL_ALLOW,
        action: Verdict::Allow as u8,
        match_type: match_type::L3_ONLY,
        ..Outcome::ZERO
    };
    Line {
        who: Who::Identities(Some(vec![Peer::Entity(Entity::Host)])),
        action: Action::Allow,
        effect: Effect { slot: Slot::Rest, outcome },
        pieces: vec![Piece::EVERYTHING],
        names: Vec::new(),
    }
}

const FAILSAFE: u32 = u32::MAX;
const NORMAL_DENY: u32 = 0xc000_0000;
const NORMAL_ALLOW: u32 = 0x8000_0000;

/// Slot and precedence of a rule. 16 bits of order below the priority; Baseline stays below the usual tier, whose
/// rules have no order but deny before allow.
fn effect(rule: &Rule, number: u32, log: bool) -> Effect {
    let ordered =
        |priority: crate::rule::Priority| u32::from(0x7fff - priority.get()) << 16 | u32::from(u16::MAX - rule.order);
    let (slot, precedence) = match (rule.tier, rule.action) {
        (Tier::Failsafe, _) => (Slot::Admin, FAILSAFE),
        (Tier::Admin(priority), _) => (Slot::Admin, ordered(priority)),
        (Tier::Normal, Action::Deny) => (Slot::Rest, NORMAL_DENY),
        (Tier::Normal, _) => (Slot::Rest, NORMAL_ALLOW),
        (Tier::Baseline(priority), _) => (Slot::Rest, ordered(priority)),
    };
    let action = match (rule.action, slot) {
        (Action::Deny, _) => Verdict::Deny,
        (Action::Pass, Slot::Admin) => Verdict::Pass,
        // There is nothing below Baseline that a pass could leave it to.
        (Action::Allow, _) | (Action::Pass, Slot::Rest) => Verdict::Allow,
    };
    let flags = if log { outcome_flags::LOG } else { 0 };
    let outcome =
        Outcome { precedence, rule: number, action: action as u8, match_type: match_type_of(rule), flags, reserved: 0 };
    Effect { slot, outcome }
}

const fn denying(mut effect: Effect) -> Effect {
    effect.outcome.action = Verdict::Deny as u8;
    effect
}

fn match_type_of(rule: &Rule) -> u8 {
    let by_peer = matches!(&rule.peers, Peers::OneOf(peers) if !peers.contains(&Peer::Entity(Entity::All)));
    let whole = |port: &PortMatch| matches!(port, PortMatch::Port(_, PortSet::All) | PortMatch::Protocol(_));
    match (&rule.ports, by_peer) {
        (Ports::Any, true) => match_type::L3_ONLY,
        (Ports::Any, false) => match_type::ALL,
        (Ports::OneOf(ports), true) if ports.iter().all(whole) => match_type::L3_PROTO,
        (Ports::OneOf(ports), false) if ports.iter().all(whole) => match_type::PROTO_ONLY,
        (Ports::OneOf(_), true) => match_type::L3_L4,
        (Ports::OneOf(_), false) => match_type::L4_ONLY,
    }
}

/// The pieces of a rule, and the names that are left to the peers: none where `names_of` has the subject's.
fn pieces(ports: &Ports, names_of: Option<&[NamedPort]>) -> (Vec<Piece>, Vec<(Transport, Box<str>)>) {
    let Ports::OneOf(ports) = ports else { return (vec![Piece::EVERYTHING], Vec::new()) };
    let (mut pieces, mut names) = (Vec::new(), Vec::new());
    for port in ports {
        match port {
            PortMatch::Port(transport, PortSet::All) => {
                pieces.extend(transport.numbers().iter().map(|protocol| Piece::whole(*protocol)));
            }
            PortMatch::Port(transport, PortSet::Range(first, last)) => {
                let (first, last) = (*first, *last);
                pieces.extend(transport.numbers().iter().map(|&protocol| Piece { protocol, first, last }));
            }
            PortMatch::Port(transport, PortSet::Named(name)) => match names_of {
                Some(named) => pieces.extend(resolve(*transport, name, named)),
                None => names.push((*transport, name.clone())),
            },
            PortMatch::Protocol(number) => pieces.push(Piece::whole(*number)),
            PortMatch::Icmp { v6, kind } => {
                let (protocol, kind) = (if *v6 { ICMPV6 } else { ICMP }, u16::from(*kind));
                pieces.push(Piece { protocol, first: kind, last: kind });
            }
        }
    }
    (pieces, names)
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn resolve<'a>(transport: Transport, name: &'a str, ports: &'a [NamedPort]) -> impl Iterator<Item = Piece> + 'a {
    let mine = ports.iter().filter(move |p| *p.name == *name && transport.numbers().contains(&p.protocol));
    mine.map(|p| Piece { protocol: p.protocol, first: p.port, last: p.port })
}

fn every_port(names: &[(Transport, Box<str>)]) -> Vec<Piece> {
    names.iter().flat_map(|(transport, _)| transport.numbers()).map(|protocol| Piece::whole(*protocol)).collect()
}

/// Whether a known identity is meant.
fn is(peer: &Peer, facts: &IdentityFacts) -> bool {
    let reserved = |label: &str| facts.labels.has(label);
    match peer {
        Peer::Endpoints(selector) => selector.matches(&facts.labels),
        Peer::OtherEndpoints(selector) => {
            matches!(facts.kind, Kind::Pod | Kind::RemotePod) && !selector.matches(&facts.labels)
        }
        Peer::Entity(entity) => match entity {
            Entity::All => true,
            Entity::None => false,
            Entity::World => WORLD.into_iter().any(reserved),
            Entity::WorldIpv4 => reserved("reserved:world-ipv4"),
            Entity::WorldIpv6 => reserved("reserved:world-ipv6"),
            Entity::Cluster => facts.kind == Kind::Pod || CLUSTER.into_iter().any(reserved),
            Entity::Host => reserved("reserved:host"),
            Entity::Init => reserved("reserved:init"),
            Entity::Ingress => reserved("reserved:ingress"),
            Entity::Unmanaged => reserved("reserved:unmanaged"),
            Entity::RemoteNode => reserved("reserved:remote-node"),
            Entity::Health => reserved("reserved:health"),
            Entity::KubeApiserver => reserved("reserved:kube-apiserver"),
        },
        Peer::Cidr { .. } | Peer::Nodes(_) => false,
    }
}

const WORLD: [&str; 3] = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];
const CLUSTER: [&str; 7] = [
    "reserved:host",
    "reserved:remote-node",
    "reserved:init",
    "reserved:ingress",
    "reserved:health",
    "reserved:unmanaged",
    "reserved:kube-apiserver",
];
