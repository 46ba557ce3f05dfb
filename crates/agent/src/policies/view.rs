//! Policy as people ask about it: all of it in one piece, and rules by their names.

use super::Policies;
use crate::events::{Elsewhere, Names, RuleFacts};
use policy::reference::governs;
use policy::rule::{Dialect, Direction, Origin, Peers, Ports, Rule};
use policy::snapshot::{RuleName, Snapshot};
use policy::told::Named;
use std::sync::Arc;

impl Policies {
    /// What is known, for whoever explains it. Who asks adds the Pods.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let rules = self.planner.rules().map(|(number, policy, rule)| RuleName {
            number,
            policy: policy.clone(),
            field: rule.field.clone(),
        });
        let mut snapshot = Snapshot {
            policies: self.planner.policies().cloned().collect(),
            identities: self.planner.identities().cloned().collect(),
            nodes: self.planner.nodes().to_vec(),
            rules: rules.collect(),
            ..Snapshot::default()
        };
        snapshot.set_references(&self.references);
        snapshot
    }

    /// Names for events: of rules, and of the policies by which the Pods of this node have default deny.
    pub fn name_rules(&self, names: &mut Names) {
        for (number, origin, rule) in self.planner.rules() {
            let log = self.planner.policy(origin).and_then(|policy| policy.log.as_deref()).map(Into::into);
            let name = Named::rule(origin, &rule.field);
            let facts = RuleFacts { name, match_type: match_type(rule), log, uid: uid(origin) };
            names.rules.insert(number, facts.into());
        }
        let subjects = self.planner.identities().filter(|facts| self.subjects.contains(&facts.number));
        for facts in subjects {
            for direction in [Direction::Ingress, Direction::Egress] {
                let denying = self
                    .planner
                    .policies()
                    .filter(|policy| !policy.audit && policy.default_deny.of(direction) && governs(policy, facts));
                let denying = denying.map(|policy| (Named::policy(&policy.origin), uid(&policy.origin)));
                names.default_deny.insert((facts.number, direction), Arc::new(denying.collect()));
            }
        }
        names.elsewhere = Elsewhere::new(self.planner.shared_policies().cloned().collect());
        names.revision.stands = self.stands.clone();
    }
}

/// Of the object that it is written in; `None`: nobody wrote it.
pub fn uid(origin: &Origin) -> Option<Box<str>> {
    (origin.dialect != Dialect::Malla).then(|| origin.uid.clone())
}

/// Cilium's `PolicyMatch…` numbers: which of peer, protocol and port a rule looks at.
fn match_type(rule: &Rule) -> u32 {
    let by_peer = matches!(rule.peers, Peers::OneOf(_));
    let by_port = matches!(rule.ports, Ports::OneOf(_));
    match (by_peer, by_port) {
        (true, false) => 1,
        (true, true) => 2,
        (false, true) => 3,
        (false, false) => 4,
    }
}
