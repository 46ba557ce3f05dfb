//! Who can reach whom on what.

use crate::reach::{Group, Judge, PortClass, both_families, classes, groups, pairs, text};
use crate::rule::Policy;
use crate::snapshot::Snapshot;
use crate::subject::NamedPort;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one group may say to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: String,
    /// `IPv4`, `IPv6`, or both.
    pub families: Vec<String>,
    /// What passes: `everything`, `nothing`, `tcp/80 udp/53`.
    pub allowed: String,
    /// What does not, with the reason: by reason.
    pub denied: Vec<Denied>,
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

/// What does not pass for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denied {
    /// `tcp/80 udp/53`.
    pub ports: String,
    /// `ingress: default deny of NetworkPolicy shop/db`.
    pub because: String,
}

/// Nothing passes.
pub const NOTHING: &str = "nothing";

/// Every pair of which `wanted` holds for one end at least.
#[must_use]
pub fn matrix(snapshot: &Snapshot, wanted: impl Fn(&Group) -> bool) -> Vec<Cell> {
    let policies: Vec<&Policy> = snapshot.policies.iter().collect();
    let groups = groups(snapshot, &policies);
    let judge = Judge::new(&snapshot.policies, &snapshot.nodes);
    let wanted: Vec<bool> = groups.iter().map(wanted).collect();
    let about: Vec<Vec<Policy>> =
        groups.iter().map(|group| judge.about(group).into_iter().cloned().collect()).collect();
    let mut cells: Vec<Cell> = Vec::new();
    for pair in pairs(&groups) {
        let (source, destination) = pair.places;
        if !wanted[source] && !wanted[destination] {
            continue;
        }
        let ends = [&*about[source], &*about[destination]];
        let policies: Vec<&Policy> = ends.into_iter().flatten().collect();
        let named: Vec<&NamedPort> = pair.to.facts.named_ports.iter().collect();
        let (mut allowed, mut denied): (Vec<PortClass>, BTreeMap<String, Vec<PortClass>>) = Default::default();
        let all = classes(&policies, &named, pair.is_v4());
        for &class in &all {
            let verdicts = judge.judge(&pair, ends, &class);
            if verdicts.is_allowed() {
                allowed.push(class);
            } else {
                denied.entry(verdicts.reason()).or_default().push(class);
            }
        }
        let denied = denied.into_iter().map(|(because, classes)| Denied { ports: text(&classes, all.len()), because });
        let (from, to) = pair.names();
        let cell = Cell {
            from,
            to,
            families: vec![if pair.is_v4() { "IPv4" } else { "IPv6" }.to_owned()],
            allowed: if allowed.is_empty() { NOTHING.to_owned() } else { text(&allowed, all.len()) },
            denied: denied.collect(),
            from_pods: pair.from.pods.clone(),
            to_pods: pair.to.pods.clone(),
            from_nodes: pair.from.nodes.clone(),
            to_nodes: pair.to.nodes.clone(),
        };
        add(&mut cells, cell);
    }
    cells
}

/// The same in both families is told once.
fn add(cells: &mut Vec<Cell>, new: Cell) {
    let same = |one: &&mut Cell| {
        (&one.from, &one.to) == (&new.from, &new.to) && (&one.from_pods, &one.to_pods) == (&new.from_pods, &new.to_pods)
    };
    for one in cells.iter_mut().rev().filter(same).filter(|one| one.families.len() == 1) {
        if one.families != new.families
            && let Some((allowed, denied)) = both(one, &new)
        {
            (one.allowed, one.denied) = (allowed, denied);
            one.families.extend(new.families);
            return;
        }
    }
    cells.push(new);
}

/// What both families say, where it is the same.
fn both(one: &Cell, other: &Cell) -> Option<(String, Vec<Denied>)> {
    let allowed = both_families(&one.allowed, &other.allowed)?;
    let pairs = one.denied.iter().zip(&other.denied);
    let denied: Option<Vec<Denied>> = pairs
        .map(|(a, b)| {
            let because = (a.because == b.because).then(|| a.because.clone())?;
            Some(Denied { ports: both_families(&a.ports, &b.ports)?, because })
        })
        .collect();
    denied.filter(|_| one.denied.len() == other.denied.len()).map(|denied| (allowed, denied))
}
