//! Whether an end lets a flow pass, as a formula: the contract at the top of [`crate::rule`], written once more.

use super::formula::Formula;
use super::sort::{End, Sort};
use super::variables::DESTINATION;
use crate::reach::PortClass;
use crate::rule::{
    Action, Direction, Entity, Peer, Peers, Policy, PortMatch, PortSet, Ports, Rule, Scope, Subject, Tier,
};

/// When a rule matches: for certain, or possibly because of a name that nobody has.
struct Matches {
    certain: Formula,
    possible: Formula,
}

/// What a rule does where it matches.
struct Effect<'a> {
    rule: &'a Rule,
    when: Formula,
    action: Action,
}

/// Whether `subject` lets it pass.
pub fn allowed(policies: &[Policy], subject: &End<'_>, peer: &End<'_>, direction: Direction) -> Formula {
    let sizes = &subject.variables.sizes;
    let mut effects = Vec::new();
    let mut denying = Vec::new();
    for policy in policies.iter().filter(|policy| !policy.audit) {
        let about = about(policy, subject);
        if matches!(about, Formula::Known(false)) {
            continue;
        }
        if policy.default_deny.of(direction) {
            denying.push(about.clone());
        }
        for rule in policy.rules.iter().filter(|rule| rule.direction == direction) {
            let Matches { certain, possible } = matches(rule, subject, peer);
            let mut add = |when: Formula, action| {
                effects.push(Effect { rule, when: about.clone().and(when), action });
            };
            match rule.action {
                Action::Allow => add(certain, Action::Allow),
                Action::Deny => add(certain.or(possible), Action::Deny),
                Action::Pass => {
                    add(certain.and(possible.not(sizes)), Action::Pass);
                    add(possible, Action::Deny);
                }
            }
        }
    }
    effects.retain(|effect| !matches!(effect.when, Formula::Known(false)));
    let of = |wanted: fn(&Effect<'_>) -> bool| {
        Formula::any(effects.iter().filter(|effect| wanted(effect)).map(|effect| effect.when.clone()))
    };
    let failsafe = of(|one| one.rule.tier == Tier::Failsafe);
    let admin = in_order(&effects, |tier| matches!(tier, Tier::Admin(_)));
    let decided = |action: Action| first(&admin, action, sizes);
    let undecided = first_of(&admin, sizes, |action| action == Action::Pass, true);
    let normal_deny = of(|one| one.rule.tier == Tier::Normal && one.action == Action::Deny);
    let normal_allow = of(|one| one.rule.tier == Tier::Normal && one.action == Action::Allow);
    let from_host = direction == Direction::Ingress && subject.sort != Sort::Host && peer.sort == Sort::Host;
    let baseline = in_order(&effects, |tier| matches!(tier, Tier::Baseline(_)));
    let baseline_allows = first_of(&baseline, sizes, |action| action != Action::Deny, true);
    let default_deny = Formula::any(denying);
    let by_default = default_deny.not(sizes).and(baseline_allows);
    let below = Formula::any([Formula::Known(from_host), normal_allow, by_default]);
    let rest = Formula::all([undecided, normal_deny.not(sizes), below]);
    Formula::any([failsafe, decided(Action::Allow), rest])
}

/// Whether a policy is about the end.
fn about(policy: &Policy, subject: &End<'_>) -> Formula {
    match (&policy.subject, subject.sort) {
        (Subject::Endpoints(selector), Sort::Pod) | (Subject::Nodes(selector), Sort::Host) => {
            subject.selected(selector)
        }
        _ => Formula::FALSE,
    }
}

/// The effects of a tier that has an order, first the ones that are asked first; among equals the most severe.
fn in_order<'e, 'a>(effects: &'e [Effect<'a>], tier: impl Fn(Tier) -> bool) -> Vec<&'e Effect<'a>> {
    let mut mine: Vec<&Effect<'_>> = effects.iter().filter(|effect| tier(effect.rule.tier)).collect();
    mine.sort_by_key(|effect| {
        let priority = match effect.rule.tier {
            Tier::Admin(priority) | Tier::Baseline(priority) => priority.get(),
            Tier::Failsafe | Tier::Normal => 0,
        };
        let severity = match effect.action {
            Action::Deny => 0,
            Action::Pass => 1,
            Action::Allow => 2,
        };
        (priority, effect.rule.order, severity)
    });
    mine
}

/// The first that matches does this.
fn first(effects: &[&Effect<'_>], wanted: Action, sizes: &[usize]) -> Formula {
    first_of(effects, sizes, |action| action == wanted, false)
}

/// The first that matches does something of which this holds; `otherwise`: none matches.
fn first_of(effects: &[&Effect<'_>], sizes: &[usize], holds: impl Fn(Action) -> bool, otherwise: bool) -> Formula {
    effects.iter().rev().fold(Formula::Known(otherwise), |rest, effect| {
        if holds(effect.action) { effect.when.clone().or(rest) } else { effect.when.not(sizes).and(rest) }
    })
}

fn matches(rule: &Rule, subject: &End<'_>, peer: &End<'_>) -> Matches {
    // Who has the named ports is the destination. Where it is named by its address, nobody knows whose they would be.
    let by_identity = ports(&rule.ports, subject, peer, true);
    let Peers::OneOf(peers) = &rule.peers else { return by_identity };
    if peers.contains(&Peer::Entity(Entity::All)) {
        return by_identity;
    }
    let by_address = ports(&rule.ports, subject, peer, rule.direction == Direction::Ingress);
    let (mut certain, mut possible) = (Vec::new(), Vec::new());
    for one in peers {
        let (who, ports) = match one {
            Peer::Endpoints(selector) => (peer.selected(selector), &by_identity),
            Peer::OtherEndpoints(selector) if peer.sort == Sort::Pod => {
                (peer.selected(selector).not(&peer.variables.sizes), &by_identity)
            }
            Peer::OtherEndpoints(_) => (Formula::FALSE, &by_identity),
            Peer::Entity(entity) => (peer.is(*entity), &by_identity),
            Peer::Cidr { net, except, scope } => {
                let held = peer.variables.address(peer.side, |region| {
                    net.contains(&region.address) && !except.iter().any(|one| one.contains(&region.address))
                });
                let is_meant = *scope == Scope::Everyone || peer.sort.is_outside();
                (held.and(Formula::Known(is_meant)), &by_address)
            }
            Peer::Nodes(selector) => (peer.is_node_with(selector), &by_address),
        };
        certain.push(who.clone().and(ports.certain.clone()));
        possible.push(who.and(ports.possible.clone()));
    }
    Matches { certain: Formula::any(certain), possible: Formula::any(possible) }
}

fn ports(ports: &Ports, subject: &End<'_>, peer: &End<'_>, names_are_known: bool) -> Matches {
    let Ports::OneOf(ports) = ports else { return Matches { certain: Formula::TRUE, possible: Formula::FALSE } };
    let variables = subject.variables;
    let destination = if subject.side == DESTINATION { subject } else { peer };
    let (mut certain, mut possible) = (Vec::new(), Vec::new());
    for one in ports {
        match one {
            PortMatch::Port(transport, PortSet::Named(name)) => {
                let spoken = variables.port(|class| transport.numbers().contains(&class.protocol));
                if !names_are_known {
                    possible.push(spoken);
                } else if destination.sort == Sort::Pod {
                    certain.push(spoken.and(variables.named(name)));
                }
            }
            other => certain.push(variables.port(|class| is_in(class, other))),
        }
    }
    Matches { certain: Formula::any(certain), possible: Formula::any(possible) }
}

/// Whether a class lies in what is named by numbers.
pub fn is_in(class: &PortClass, port: &PortMatch) -> bool {
    match port {
        PortMatch::Protocol(number) => class.protocol == *number,
        PortMatch::Icmp { v6, kind } => class.protocol == if *v6 { 58 } else { 1 } && class.ports.0 == u16::from(*kind),
        PortMatch::Port(transport, _) if !transport.numbers().contains(&class.protocol) => false,
        PortMatch::Port(_, PortSet::All) => true,
        PortMatch::Port(_, PortSet::Range(first, last)) => *first <= class.ports.0 && class.ports.1 <= *last,
        PortMatch::Port(_, PortSet::Named(_)) => false,
    }
}
