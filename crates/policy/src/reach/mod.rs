//! Who reaches whom on what, for everybody there is: by groups that policies treat alike, and ports that they treat alike.

mod groups;
mod ports;
mod regions;

pub use groups::{Group, groups, own_labels};
pub use ports::{PortClass, both_families, classes, classes_of, text};
pub use regions::{Region, prefixes, regions};

use crate::explain::explain;
use crate::reference::{Packet, World, governs};
use crate::rule::{Direction, Policy};
use crate::subject::{IdentityFacts, Kind, NodeFacts};
use crate::told::Told;
use datapath_layouts::identity;
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

/// Policies as they stand, ready to judge pairs of groups.
pub struct Judge<'a> {
    policies: &'a [Policy],
    nodes: &'a [NodeFacts],
    hosts: IdentityFacts,
}

impl<'a> Judge<'a> {
    /// Of policies, nodes, and what the own node is to its Pods.
    #[must_use]
    pub fn new(policies: &'a [Policy], nodes: &'a [NodeFacts], host: Option<&IdentityFacts>) -> Self {
        let nobody = || IdentityFacts {
            number: identity::HOST,
            labels: [("reserved:host", "")].into_iter().collect(),
            namespace: None,
            kind: Kind::Host,
            named_ports: Vec::new(),
        };
        let hosts = host.cloned().or_else(|| IdentityFacts::reserved(identity::HOST)).unwrap_or_else(nobody);
        Self { policies, nodes, hosts }
    }

    /// Policies that judge a group.
    #[must_use]
    pub fn about(&self, group: &Group) -> Vec<&'a Policy> {
        if !group.is_pod() {
            return Vec::new();
        }
        self.policies.iter().filter(|policy| !policy.audit && governs(policy, &group.facts)).collect()
    }

    /// Both ends' verdicts. `own`: of a node and a Pod, whether the Pod is on that node.
    #[must_use]
    pub fn judge(&self, pair: &Pair<'_>, policies: [&[Policy]; 2], class: &PortClass) -> Verdicts {
        let seen =
            |group: &Group| if pair.own && group.node.is_some() { self.hosts.clone() } else { group.facts.clone() };
        let (from, to) = (seen(pair.from), seen(pair.to));
        let at = |direction, subject: &IdentityFacts, peer: &IdentityFacts, address, policies: &[Policy]| {
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
            Told::of(&explain(&world, &packet, false), direction)
        };
        Verdicts {
            egress: pair.from.is_pod().then(|| at(Direction::Egress, &from, &to, pair.addresses.1, policies[0])),
            ingress: pair.to.is_pod().then(|| at(Direction::Ingress, &to, &from, pair.addresses.0, policies[1])),
        }
    }
}

/// From one group to another in one family.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
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
}

/// Every pair that policy can be about: one end at least is a Pod. Of a node each Pod is once on it and once on another.
pub fn pairs(groups: &[Group]) -> impl Iterator<Item = Pair<'_>> {
    groups.iter().flat_map(move |from| groups.iter().flat_map(move |to| of_two(from, to)))
}

fn of_two<'a>(from: &'a Group, to: &'a Group) -> impl Iterator<Item = Pair<'a>> {
    let is_judged = from.is_pod() || to.is_pod();
    let has_node = from.node.is_some() || to.node.is_some();
    let families = [0, 1].into_iter().filter(move |_| is_judged);
    families.filter_map(move |family| Some((from.addresses[family]?, to.addresses[family]?))).flat_map(
        move |addresses| {
            let own = [false, true].into_iter().filter(move |own| has_node || !own);
            own.map(move |own| Pair { from, to, addresses, own })
        },
    )
}
