//! What would change if policies were others, pair by pair.

use crate::reach::{Judge, Pair, PortClass, both_families, classes, groups, pairs, text};
use crate::rule::{Direction, Origin, Policy};
use crate::snapshot::Snapshot;
use crate::subject::NamedPort;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Some flows between two groups that pass in one of the two states only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: String,
    /// `IPv4`, `IPv6`, or both.
    pub families: Vec<String>,
    /// `tcp/80 udp/53`, `everything`.
    pub ports: String,
    /// Whether they pass now.
    pub now: bool,
    /// Whether they would pass.
    pub then: bool,
    /// Why it is as it is.
    pub because_now: String,
    /// Why it would be so.
    pub because_then: String,
    /// The Pods that send; empty where it is no Pod.
    pub from_pods: Vec<String>,
    /// The Pods that receive.
    pub to_pods: Vec<String>,
    /// The nodes that send; empty where it is no node.
    #[serde(default)]
    pub from_nodes: Vec<String>,
    /// The nodes that receive.
    #[serde(default)]
    pub to_nodes: Vec<String>,
}

/// What a set of changes to policies would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Simulation {
    /// Policies that would be there and are not, or say something else.
    pub written: Vec<String>,
    /// Policies that would not be there any more.
    pub removed: Vec<String>,
    /// What would be different.
    pub changes: Vec<Change>,
    /// Pairs of groups and families that were compared.
    pub compared: usize,
}

/// The policies after objects were written and others removed.
#[must_use]
pub fn after(now: &[Policy], written: &[Policy], removed: &[Origin]) -> Vec<Policy> {
    // An object has as many policies as it says: all that it had go.
    let same = |a: &Origin, b: &Origin| (&a.kind, &a.namespace, &a.name) == (&b.kind, &b.namespace, &b.name);
    let goes = |policy: &Policy| {
        written.iter().map(|one| &one.origin).chain(removed).any(|origin| same(origin, &policy.origin))
    };
    now.iter().filter(|policy| !goes(policy)).chain(written).cloned().collect()
}

/// The policies as if none of them were in audit mode: what the reports of audit mode are about.
#[must_use]
pub fn enforced(policies: Vec<Policy>) -> Vec<Policy> {
    policies.into_iter().map(|policy| Policy { audit: false, ..policy }).collect()
}

/// Compares two states for everybody there is.
#[must_use]
pub fn simulate(snapshot: &Snapshot, then: &[Policy]) -> Simulation {
    let now = &snapshot.policies;
    let all: Vec<&Policy> = now.iter().chain(then).collect();
    let groups = groups(snapshot, &all);
    let (judge_now, judge_then) = (Judge::new(now, &snapshot.nodes), Judge::new(then, &snapshot.nodes));
    let mut simulation = Simulation { written: named(then, now), removed: gone(now, then), ..Simulation::default() };
    let about = |judge: &Judge<'_>| -> Vec<Vec<Policy>> {
        groups.iter().map(|group| judge.about(group).into_iter().cloned().collect()).collect()
    };
    let (about_now, about_then) = (about(&judge_now), about(&judge_then));
    let differs: Vec<[bool; 2]> = about_now
        .iter()
        .zip(&about_then)
        .map(|(a, b)| [Direction::Ingress, Direction::Egress].map(|direction| !says_the_same(a, b, direction)))
        .collect();
    for pair in pairs(&groups) {
        let (from, to) = pair.places;
        if !differs[from][1] && !differs[to][0] {
            continue;
        }
        simulation.compared += 1;
        let policies: Vec<&Policy> =
            [&about_now[from], &about_now[to], &about_then[from], &about_then[to]].into_iter().flatten().collect();
        let named: Vec<&NamedPort> = pair.to.facts.named_ports.iter().collect();
        let mut found: BTreeMap<(bool, String, String), Vec<PortClass>> = BTreeMap::new();
        let all = classes(&policies, &named, pair.is_v4());
        for &class in &all {
            let before = judge_now.judge(&pair, [&about_now[from], &about_now[to]], &class);
            let after = judge_then.judge(&pair, [&about_then[from], &about_then[to]], &class);
            if before.is_allowed() != after.is_allowed() {
                let key = (before.is_allowed(), before.reason(), after.reason());
                found.entry(key).or_default().push(class);
            }
        }
        for ((now, because_now, because_then), classes) in found {
            add(&mut simulation.changes, change(&pair, now, because_now, because_then, text(&classes, all.len())));
        }
    }
    simulation
}

/// The same in both families is told once.
fn add(changes: &mut Vec<Change>, new: Change) {
    let same = |one: &Change| {
        (&one.from, &one.to, one.now) == (&new.from, &new.to, new.now)
            && (&one.because_now, &one.because_then) == (&new.because_now, &new.because_then)
            && (&one.from_pods, &one.to_pods) == (&new.from_pods, &new.to_pods)
    };
    for one in changes.iter_mut().rev().filter(|one| same(one) && one.families != new.families) {
        if one.families.len() == 1
            && let Some(ports) = both_families(&one.ports, &new.ports)
        {
            one.ports = ports;
            one.families.extend(new.families);
            return;
        }
    }
    changes.push(new);
}

fn change(pair: &Pair<'_>, now: bool, because_now: String, because_then: String, ports: String) -> Change {
    let (from, to) = pair.names();
    Change {
        from,
        to,
        families: vec![if pair.is_v4() { "IPv4" } else { "IPv6" }.to_owned()],
        ports,
        now,
        then: !now,
        because_now,
        because_then,
        from_pods: pair.from.pods.clone(),
        to_pods: pair.to.pods.clone(),
        from_nodes: pair.from.nodes.clone(),
        to_nodes: pair.to.nodes.clone(),
    }
}

/// Whether nothing of a direction can be different.
fn says_the_same(a: &[Policy], b: &[Policy], direction: Direction) -> bool {
    let said = |policies: &[Policy]| -> Vec<(Origin, bool, Vec<crate::rule::Rule>)> {
        let mut said: Vec<_> = policies
            .iter()
            .map(|policy| {
                let rules = policy.rules.iter().filter(|rule| rule.direction == direction).cloned().collect();
                let origin = Origin { uid: "".into(), ..policy.origin.clone() };
                (origin, policy.default_deny.of(direction), rules)
            })
            .collect();
        said.sort_by(|a, b| a.0.cmp(&b.0));
        said
    };
    said(a) == said(b)
}

fn named(then: &[Policy], now: &[Policy]) -> Vec<String> {
    let same = |a: &Policy, b: &Policy| {
        let bare = |policy: &Policy| Origin { uid: "".into(), ..policy.origin.clone() };
        bare(a) == bare(b)
            && (&a.subject, a.default_deny, &a.rules, a.audit) == (&b.subject, b.default_deny, &b.rules, b.audit)
    };
    unique(then.iter().filter(|policy| !now.iter().any(|one| same(one, policy))))
}

fn gone(now: &[Policy], then: &[Policy]) -> Vec<String> {
    let is_there = |policy: &&Policy| !then.iter().any(|one| one.origin.to_string() == policy.origin.to_string());
    unique(now.iter().filter(is_there))
}

fn unique<'a>(policies: impl Iterator<Item = &'a Policy>) -> Vec<String> {
    let mut names: Vec<String> = policies.map(|policy| policy.origin.to_string()).collect();
    names.sort();
    names.dedup();
    names
}
