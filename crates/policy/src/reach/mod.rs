//! Who reaches whom on what, for everybody there is: by groups that policies treat alike, and ports that they treat alike.

mod groups;
mod nodes;
mod ports;
mod regions;

pub use groups::{Group, groups, own_labels};
pub use nodes::Own;
pub use ports::{PortClass, both_families, classes, classes_of, text};
pub use regions::{Region, prefixes, regions};

use crate::explain::explain;
use crate::reference::{Packet, World, governs};
use crate::rule::{Dialect, Direction, Policy};
use crate::subject::{IdentityFacts, Kind, NodeFacts};
use crate::told::Told;
use std::net::IpAddr;

/// Both ends' verdicts on one class of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// At the source; none where nobody judges there.
    pub egress: Option<Told>,
    /// At the destination.
    pub ingress: Option<Told>,
}

impl Verdicts {
    /// Whether both ends let it pass.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        [&self.egress, &self.ingress].into_iter().flatten().all(|told| told.allowed)
    }

    /// What to say of it: the first end that denies, or what lets it through where somebody had to.
    #[must_use]
    pub fn reason(&self) -> String {
        let ends = || [("egress", &self.egress), ("ingress", &self.ingress)];
        let denying =
            ends().into_iter().find_map(|(name, told)| told.as_ref().filter(|t| !t.allowed).map(|t| (name, t)));
        if let Some((name, told)) = denying {
            return format!("{name}: {told}");
        }
        let said: Vec<String> = ends()
            .into_iter()
            .filter_map(|(name, told)| told.as_ref().map(|told| (name, told)))
            .filter(|(_, told)| !matches!(told.cause, crate::told::Cause::NoPolicy))
            .map(|(name, told)| format!("{name}: {told}"))
            .collect();
        if said.is_empty() { "no policy is about either end".to_owned() } else { said.join("; ") }
    }
}

/// Whether policies judge an end: a Pod always, a node where one that people wrote is about it, be it in audit. Its failsafe
/// ports alone are no reason.
#[must_use]
pub fn is_judged<'a>(policies: impl IntoIterator<Item = &'a Policy>, subject: &IdentityFacts) -> bool {
    match subject.kind {
        Kind::Pod => true,
        Kind::Host => {
            let mut written = policies.into_iter().filter(|policy| policy.origin.dialect != Dialect::Malla);
            written.any(|policy| governs(policy, subject))
        }
        _ => false,
    }
}

/// Policies as they stand, ready to judge pairs of groups.
pub struct Judge<'a> {
    policies: &'a [Policy],
    nodes: &'a [NodeFacts],
}

impl<'a> Judge<'a> {
    /// Of policies and nodes.
    #[must_use]
    pub const fn new(policies: &'a [Policy], nodes: &'a [NodeFacts]) -> Self {
        Self { policies, nodes }
    }

    /// Policies that judge a group.
    #[must_use]
    pub fn about(&self, group: &Group) -> Vec<&'a Policy> {
        match group.subject() {
            Some(subject) if is_judged(self.policies, subject) => {
                self.policies.iter().filter(|policy| !policy.audit && governs(policy, subject)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Both ends' verdicts; `policies`: those that judge each of them.
    #[must_use]
    pub fn judge(&self, pair: &Pair<'_>, policies: [&[Policy]; 2], class: &PortClass) -> Verdicts {
        let at = |direction, here: &Group, there: &Group, address, policies: &[Policy]| {
            let subject = here.subject().filter(|_| here.judged)?;
            // A node is host to its own Pods, and a remote one to everybody else.
            let peer = if pair.own { there.subject().unwrap_or(&there.facts) } else { &there.facts };
            let packet = Packet {
                direction,
                subject: subject.number,
                peer: peer.number,
                address,
                protocol: class.protocol,
                port: class.ports.0,
            };
            let identities = [subject.clone(), peer.clone()];
            let world = World { policies, identities: &identities, nodes: self.nodes };
            Some(Told::of(&explain(&world, &packet, false), direction))
        };
        Verdicts {
            egress: at(Direction::Egress, pair.from, pair.to, pair.addresses.1, policies[0]),
            ingress: at(Direction::Ingress, pair.to, pair.from, pair.addresses.0, policies[1]),
        }
    }
}

/// From one group to another in one family.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Where both are among all groups.
    pub places: (usize, usize),
    /// The source.
    pub from: &'a Group,
    /// The destination.
    pub to: &'a Group,
    /// Their addresses.
    pub addresses: (IpAddr, IpAddr),
    /// Of a node and a Pod: the Pod is on that node.
    pub own: bool,
}

impl Pair<'_> {
    /// IPv4.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.addresses.0.is_ipv4()
    }

    /// What its ends are called: of a node with what it is to the other end, if that one is a Pod or a node.
    #[must_use]
    pub fn names(&self) -> (String, String) {
        let called = |one: &Group, other: &Group| match other.subject() {
            Some(_) => one.called(self.own),
            None => one.name.clone(),
        };
        (called(self.from, self.to), called(self.to, self.from))
    }
}

/// Every pair that policy can be about: one end at least is judged. Of a node each Pod is once on it and once on another;
/// of two nodes neither is the other, and what a node says to itself nobody judges.
pub fn pairs(groups: &[Group]) -> impl Iterator<Item = Pair<'_>> {
    let places = move |from| (0..groups.len()).map(move |to| (from, to));
    (0..groups.len()).flat_map(places).flat_map(move |(from, to)| of_two((from, to), &groups[from], &groups[to]))
}

fn of_two<'a>(places: (usize, usize), from: &'a Group, to: &'a Group) -> impl Iterator<Item = Pair<'a>> {
    let is_itself = places.0 == places.1 && from.nodes.len() == 1;
    let is_meant = (from.judged || to.judged) && !is_itself;
    let may_be_own = from.own.is_some() && to.is_pod() || from.is_pod() && to.own.is_some();
    let families = [0, 1].into_iter().filter(move |_| is_meant);
    families.filter_map(move |family| Some((from.addresses[family]?, to.addresses[family]?))).flat_map(
        move |addresses| {
            let own = [false, true].into_iter().filter(move |own| may_be_own || !own);
            own.map(move |own| Pair { places, from, to, addresses, own })
        },
    )
}
