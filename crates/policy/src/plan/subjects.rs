//! From a subject to the policies that are about it, and back.

use super::lines::Lines;
use super::{Change, Live, Pending, Planner};
use crate::rule::{Direction, Peer, Peers, Policy, Subject};
use crate::subject::{IdentityFacts, Kind};
use datapath_layouts::PolicyKey;
use datapath_layouts::policy::policy_flags;
use std::collections::BTreeSet;

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// Whether a policy is about this identity.
pub(super) fn is_about(policy: &Policy, facts: &IdentityFacts) -> bool {
    match &policy.subject {
        Subject::Endpoints(selector) => {
            matches!(facts.kind, Kind::Pod | Kind::Unmanaged | Kind::Init | Kind::Health | Kind::Ingress)
                && selector.matches(&facts.labels)
        }
        Subject::Nodes(selector) => facts.kind == Kind::Host && selector.matches(&facts.labels),
    }
}

fn names_nodes(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| match &rule.peers {
        Peers::OneOf(peers) => peers.iter().any(|peer| matches!(peer, Peer::Nodes(_))),
        Peers::Any => false,
    })
}

impl Planner {
    /// Subjects for which anything may be different, and those that did not fit.
    pub(super) fn dirty_subjects(&self, pending: &Pending) -> BTreeSet<u32> {
        let mut dirty = pending.subjects.clone();
        dirty.extend(pending.identities.iter().filter(|number| self.subjects.contains(*number)));
        let of_live = |key: &PolicyKey| key.policy_id & !PolicyKey::SHADOW;
        dirty.extend(self.problems.keys().map(of_live));
        for number in &self.subjects {
            let Some(facts) = self.identities.get(number) else { continue };
            let changed = pending.policies.iter().any(|policy| is_about(policy, facts));
            let moved = || self.policies.values().any(|policy| names_nodes(policy) && is_about(policy, facts));
            if changed || (pending.nodes && moved()) {
                dirty.insert(*number);
            }
        }
        dirty
    }

    /// Brings all entries of a subject to what they should be: none, where it is no subject or nothing is known of it.
    /// `same_peers`: nobody came or went, so that a direction about which the same is said has the same table.
    pub(super) fn settle_subject(&mut self, number: u32, same_peers: bool, changes: &mut Vec<Change>) {
        let facts = if self.subjects.contains(&number) { self.identities.get(&number).cloned() } else { None };
        for direction in DIRECTIONS {
            let (main, shadow) =
                (PolicyKey::new(number, direction), PolicyKey::new(number | PolicyKey::SHADOW, direction));
            let Some(facts) = &facts else {
                self.drop_policy(main, changes);
                self.drop_policy(shadow, changes);
                continue;
            };
            let all: Vec<&Policy> =
                self.policies.values().map(|policy| &**policy).filter(|policy| is_about(policy, facts)).collect();
            let enforced: Vec<&Policy> = all.iter().copied().filter(|policy| !policy.audit).collect();
            let audited = all.len() != enforced.len();
            let lines = Lines::compile(facts, direction, &enforced, &self.nodes, &mut self.rules);
            let reported = audited.then(|| Lines::compile(facts, direction, &all, &self.nodes, &mut self.rules));
            // What a subject's entry names is there before it and goes after it.
            let renewed = match reported {
                Some(lines) if !(same_peers && self.is_settled(&shadow, &lines, 0)) => {
                    self.settle(shadow, lines, 0, false, changes)
                }
                _ => false,
            };
            let shadow_id = if audited { shadow.policy_id } else { 0 };
            if renewed || !(same_peers && self.is_settled(&main, &lines, shadow_id)) {
                self.settle(main, lines, shadow_id, renewed, changes);
            }
            if !audited {
                self.drop_policy(shadow, changes);
            }
        }
    }

    fn is_settled(&self, key: &PolicyKey, lines: &Lines, shadow: u32) -> bool {
        let same = |live: &Live| live.lines.as_ref() == Some(lines) && live.policy.shadow == shadow;
        !self.problems.contains_key(key) && self.live.get(key).is_some_and(same)
    }

    pub(super) fn drop_policy(&mut self, key: PolicyKey, changes: &mut Vec<Change>) {
        self.problems.remove(&key);
        if let Some(live) = self.live.remove(&key) {
            self.write(Change::RemovePolicy(key), changes);
            self.retire(live.policy, live.entries);
        }
    }

    /// Nobody is sent to this table any more.
    pub(super) fn retire(
        &mut self,
        policy: datapath_layouts::Policy,
        entries: std::collections::HashMap<super::Entry, u32>,
    ) {
        self.classes.release(policy.base_class);
        if policy.flags & policy_flags::OVERFLOW == 0 {
            self.retired.push((policy.table, entries));
        }
    }
}
