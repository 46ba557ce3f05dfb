//! `ClusterNetworkPolicy` (policy.networking.k8s.io/v1alpha2): ordered rules in tiers.
//!
//! What can't be understood fails closed as its API asks: an Accept of it matches nothing, a Deny or Pass denies everything.

mod matches;
#[cfg(test)]
mod tests;

use super::{Findings, Mistake, is_audit};
use crate::rule::{
    Action, Dialect, Direction, Gap, Origin, Peers, PerDirection, Policy, Ports, Priority, Rule, Subject, Tier,
};
use crate::selector::Selector;
use custom_resources::ClusterNetworkPolicy;
use custom_resources::cluster_network_policy::{ClusterEgressPeer, PodsOrNamespaces, ProtocolMatch};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The API's limit for the rules of a direction.
const MOST_RULES: usize = 25;

/// The policy of an object.
///
/// # Errors
/// Everything in it that has no meaning.
pub fn cluster_network_policy(object: &ClusterNetworkPolicy) -> Result<Policy, Vec<Mistake>> {
    let mut findings = Findings::default();
    let audit = is_audit(&object.metadata, &mut findings);
    let spec = &object.spec;
    let tier = tier(&spec.tier, spec.priority, &mut findings);
    let subject = matches::pods(&spec.subject, "spec.subject", &mut findings).unwrap_or_else(|| {
        findings.mistake("spec.subject", "needs exactly one of namespaces and pods");
        Selector::default()
    });
    let mut rules = Vec::new();
    let ingress = spec.ingress.iter().flatten().map(|rule| Written {
        direction: Direction::Ingress,
        action: &rule.action,
        peers: rule.from.iter().map(ClusterPeer::from).collect(),
        protocols: rule.protocols.as_deref(),
    });
    let egress = spec.egress.iter().flatten().map(|rule| Written {
        direction: Direction::Egress,
        action: &rule.action,
        peers: rule.to.iter().map(ClusterPeer::from).collect(),
        protocols: rule.protocols.as_deref(),
    });
    let of = |name: &'static str| move |(index, rule): (usize, _)| (format!("spec.{name}[{index}]"), index, rule);
    for (field, index, rule) in ingress.enumerate().map(of("ingress")).chain(egress.enumerate().map(of("egress"))) {
        if index == MOST_RULES {
            findings.mistake(&field, format!("is one rule too many: a direction has at most {MOST_RULES}"));
        }
        rules.extend(rule.convert(&field, u16::try_from(index).unwrap_or(u16::MAX), tier, &mut findings));
    }
    if !findings.mistakes.is_empty() {
        return Err(findings.mistakes);
    }
    Ok(policy(&object.metadata, subject, rules, audit, findings.gaps))
}

/// What is enforced of an object that [`cluster_network_policy`] refuses and of which no better version is known, as the API
/// has it for what is not understood: no Accept of it holds, and where a Deny, a Pass or something unreadable stands,
/// everything is denied. A tier and a priority that can't be read are the strictest. None where it can't be read whom it
/// selects.
#[must_use]
pub fn closed(object: &ClusterNetworkPolicy) -> Option<Policy> {
    let spec = &object.spec;
    let mut findings = Findings::default();
    let subject = matches::pods(&spec.subject, "spec.subject", &mut findings)?;
    if !findings.mistakes.is_empty() {
        return None;
    }
    let audit = is_audit(&object.metadata, &mut findings);
    let priority = u16::try_from(spec.priority).ok().and_then(Priority::new).or(Priority::new(0))?;
    let tier = if spec.tier == "Baseline" { Tier::Baseline(priority) } else { Tier::Admin(priority) };
    let ingress = spec.ingress.iter().flatten().map(|rule| (Direction::Ingress, "ingress", &rule.action));
    let egress = spec.egress.iter().flatten().map(|rule| (Direction::Egress, "egress", &rule.action));
    let rules = ingress.enumerate().chain(egress.enumerate()).filter(|(_, (_, _, action))| *action != "Accept");
    let rule = |(index, (direction, name, _)): (usize, (Direction, &str, &String))| Rule {
        direction,
        tier,
        order: u16::try_from(index).unwrap_or(u16::MAX),
        action: Action::Deny,
        peers: Peers::Any,
        ports: Ports::Any,
        field: format!("spec.{name}[{index}]").into(),
    };
    let rules = rules.map(rule).collect();
    Some(policy(&object.metadata, subject, rules, audit, Vec::new()))
}

fn policy(metadata: &ObjectMeta, subject: Selector, rules: Vec<Rule>, audit: bool, gaps: Vec<Gap>) -> Policy {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
    Policy {
        origin: Origin {
            dialect: Dialect::KubernetesCluster,
            kind: "ClusterNetworkPolicy".into(),
            namespace: "".into(),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
            part: 0,
        },
        subject: Subject::Endpoints(subject),
        default_deny: PerDirection::default(),
        rules,
        audit,
        log: None,
        gaps,
    }
}

fn tier(name: &str, priority: i32, findings: &mut Findings) -> Tier {
    let number = u16::try_from(priority).ok().and_then(Priority::new);
    if number.is_none() {
        findings.mistake("spec.priority", format!("is {priority}: write a number from 0 to {}", Priority::LAST));
    }
    let Some(priority) = number.or(Priority::new(Priority::LAST)) else { return Tier::Normal };
    match name {
        "Admin" => Tier::Admin(priority),
        "Baseline" => Tier::Baseline(priority),
        _ => {
            findings.mistake("spec.tier", format!("is {name:?}: write Admin or Baseline"));
            Tier::Baseline(priority)
        }
    }
}

/// One view of the peers of both directions.
#[derive(Clone, Copy)]
enum ClusterPeer<'a> {
    From(&'a PodsOrNamespaces),
    To(&'a ClusterEgressPeer),
}

impl<'a> From<&'a PodsOrNamespaces> for ClusterPeer<'a> {
    fn from(peer: &'a PodsOrNamespaces) -> Self {
        Self::From(peer)
    }
}

impl<'a> From<&'a ClusterEgressPeer> for ClusterPeer<'a> {
    fn from(peer: &'a ClusterEgressPeer) -> Self {
        Self::To(peer)
    }
}

/// One view of the rules of both directions.
struct Written<'a> {
    direction: Direction,
    action: &'a str,
    peers: Vec<ClusterPeer<'a>>,
    protocols: Option<&'a [ProtocolMatch]>,
}

impl Written<'_> {
    fn convert(&self, field: &str, order: u16, tier: Tier, findings: &mut Findings) -> Option<Rule> {
        let action = match self.action {
            "Accept" => Action::Allow,
            "Deny" => Action::Deny,
            "Pass" => Action::Pass,
            other => {
                findings.mistake(format!("{field}.action"), format!("is {other:?}: write Accept, Deny or Pass"));
                return None;
            }
        };
        let list = if self.direction == Direction::Ingress { "from" } else { "to" };
        if self.peers.is_empty() {
            findings.mistake(format!("{field}.{list}"), "names nobody: write at least one peer");
        }
        let mut peers = Vec::new();
        let mut understood = true;
        for (index, peer) in self.peers.iter().enumerate() {
            let place = format!("{field}.{list}[{index}]");
            match matches::peer(*peer, action, &place, findings) {
                Some(some) => peers.extend(some),
                None => understood = false,
            }
        }
        let ports = match matches::ports(self.protocols, field, findings) {
            Some(ports) => ports,
            None => {
                understood = false;
                Ports::Any
            }
        };
        self.check_names(&peers, field, findings);
        let rule = |action, peers, ports| Rule {
            direction: self.direction,
            tier,
            order,
            action,
            peers,
            ports,
            field: field.into(),
        };
        match (understood, action) {
            (true, _) if peers.is_empty() => None,
            (true, _) => Some(rule(action, Peers::OneOf(peers), ports)),
            (false, Action::Allow) => None,
            (false, Action::Deny | Action::Pass) => Some(rule(Action::Deny, Peers::Any, Ports::Any)),
        }
    }

    /// Ports have names only where there are Pods (the API's own rule for egress).
    fn check_names(&self, peers: &[crate::rule::Peer], field: &str, findings: &mut Findings) {
        let named = self.protocols.unwrap_or_default().iter().position(|one| one.destination_named_port.is_some());
        let pods_only = peers.iter().all(|peer| matches!(peer, crate::rule::Peer::Endpoints(_)));
        if let (Some(index), false) = (named, pods_only) {
            findings.mistake(
                format!("{field}.protocols[{index}].destinationNamedPort"),
                "stands beside networks or nodes, whose ports have no names: write them as a rule of their own",
            );
        }
    }
}
