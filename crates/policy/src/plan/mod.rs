//! Policies, identities and named ports → what the maps hold → the changes between two states.
//!
//! The policy id of a subject is the number of its identity: all endpoints of one identity are judged alike. Whatever
//! came in since the last [`Planner::plan`] becomes visible to the kernel as one: of a packet that was allowed before and
//! is allowed after, no step in between denies it, and none allows what is denied before and after. For that
//! - a class never changes: other rows are another class, written before anybody is in it;
//! - peers move from class to class one by one, each with one write, where only one side of a table changes; otherwise a new
//!   table is written beside the old one, and the subject's entry changes over to it;
//! - a prefix becomes known when every table says the same of it as of the one around it, and then may differ;
//! - an identity becomes known after its peers' entries, and unknown before they go;
//! - what nobody reads any more is removed later ([`Planner::sweep`]), when no packet that began before is under way.

mod change;
mod classes;
mod content;
mod desired;
mod identities;
mod index;
mod lines;
mod namespaces;
mod numbers;
mod prefix;
mod prefixes;
mod recover;
mod room;
mod subjects;
mod sweep;
mod tables;
mod transition;

pub use change::Change;
pub use room::{Capacity, Problem};
pub use tables::Tables;

use crate::rule::{Dialect, Origin, Policy, Rule};
use crate::subject::{IdentityFacts, NodeFacts};
use classes::Classes;
use datapath_layouts::{IdentityInfo, PolicyKey, identity};
use desired::Entry;
use ipnet::IpNet;
use lines::{Lines, RuleNumbers};
use namespaces::Namespaces;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Policy on this node: what it is, and what the maps hold.
#[derive(Debug)]
pub struct Planner {
    /// What the maps hold once every plan is done.
    tables: Tables,
    capacity: Capacity,
    policies: BTreeMap<Origin, Arc<Policy>>,
    identities: BTreeMap<u32, IdentityFacts>,
    nodes: Vec<NodeFacts>,
    subjects: BTreeSet<u32>,
    pending: Pending,
    live: HashMap<PolicyKey, Live>,
    namespaces: Namespaces,
    prefixes: BTreeMap<IpNet, u32>,
    /// Prefixes that are named and do not fit into the map.
    unfit: BTreeSet<IpNet>,
    classes: Classes,
    rules: RuleNumbers,
    retired: Vec<(u32, HashMap<Entry, u32>)>,
    /// The last epoch, table or generation that was given.
    last: u32,
    problems: HashMap<PolicyKey, Problem>,
    unfit_identities: BTreeSet<u32>,
}

/// What came in since the last plan.
#[derive(Debug, Default)]
struct Pending {
    /// Policies as they were and as they are.
    policies: Vec<Arc<Policy>>,
    subjects: BTreeSet<u32>,
    identities: BTreeSet<u32>,
    /// Those of them that were somebody before.
    changed: BTreeSet<u32>,
    nodes: bool,
}

/// A direction of a subject, as the maps have it.
#[derive(Debug)]
struct Live {
    policy: datapath_layouts::Policy,
    /// What it was made of; `None` = by an earlier process.
    lines: Option<Lines>,
    /// Of the table that `policy` names.
    entries: HashMap<Entry, u32>,
}

impl Planner {
    /// Starts with empty maps. The reserved identities that mean the same everywhere are known.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self::recover(Tables::default(), capacity)
    }

    /// What the maps hold once every plan is done.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What they have room for.
    #[must_use]
    pub const fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// The rule that a verdict names.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<(&Origin, &Rule)> {
        self.rules.get(number).map(|(origin, rule)| (origin, rule))
    }

    /// Every rule that a verdict may name, with its number.
    pub fn rules(&self) -> impl Iterator<Item = (u32, &Origin, &Rule)> {
        self.rules.iter().map(|(number, (origin, rule))| (number, origin, rule))
    }

    /// Nodes as they are.
    #[must_use]
    pub fn nodes(&self) -> &[NodeFacts] {
        &self.nodes
    }

    /// Policies as they are.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().map(|policy| &**policy)
    }

    /// The same, for who keeps them: none is copied.
    pub fn shared_policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// The policy of this origin, as it is.
    #[must_use]
    pub fn policy(&self, origin: &Origin) -> Option<&Policy> {
        self.policies.get(origin).map(|policy| &**policy)
    }

    /// Identities as they are.
    pub fn identities(&self) -> impl Iterator<Item = &IdentityFacts> {
        self.identities.values()
    }

    /// What does not fit, by whose it is: there everything is denied.
    pub fn problems(&self) -> impl Iterator<Item = (&PolicyKey, &Problem)> {
        self.problems.iter()
    }

    /// Whether a policy that people wrote is about an identity, be it in audit.
    #[must_use]
    pub fn is_governed(&self, number: u32) -> bool {
        let Some(facts) = self.identities.get(&number) else { return false };
        let mut written = self.policies.values().filter(|policy| policy.origin.dialect != Dialect::Malla);
        written.any(|policy| subjects::is_about(policy, facts))
    }

    /// Identities for which `identities` has no room: they stay unknown.
    pub fn unfit_identities(&self) -> impl Iterator<Item = u32> {
        self.unfit_identities.iter().copied()
    }

    /// Adds a policy, or replaces the one of the same origin.
    pub fn set_policy(&mut self, policy: Policy) {
        let policy = Arc::new(policy);
        let old = self.policies.insert(policy.origin.clone(), policy.clone());
        if old.as_ref() != Some(&policy) {
            self.pending.policies.extend(old);
            self.pending.policies.push(policy);
        }
    }

    /// Removes a policy.
    pub fn remove_policy(&mut self, origin: &Origin) {
        self.pending.policies.extend(self.policies.remove(origin));
    }

    /// Adds an identity, or says something else about it.
    pub fn set_identity(&mut self, facts: IdentityFacts) {
        let number = facts.number;
        if self.identities.get(&number) != Some(&facts) {
            let old = self.identities.insert(number, facts);
            self.note_identity(number, old);
        }
    }

    /// Removes an identity: whoever claims it is unknown.
    pub fn remove_identity(&mut self, number: u32) {
        if let Some(old) = self.identities.remove(&number) {
            self.note_identity(number, Some(old));
        }
    }

    fn note_identity(&mut self, number: u32, old: Option<IdentityFacts>) {
        let first = self.pending.identities.insert(number);
        if let Some(old) = old {
            self.namespaces.leave(&old);
            // What was never planned has not been anybody yet.
            if first {
                self.pending.changed.insert(number);
            }
        }
    }

    /// Endpoints of this identity are on this node. Before they have its number as their policy id, its plan is to be
    /// done; until then they have one under which everything is denied.
    pub fn add_subject(&mut self, identity: u32) {
        if self.subjects.insert(identity) {
            self.pending.subjects.insert(identity);
        }
    }

    /// The last of them has gone.
    pub fn remove_subject(&mut self, identity: u32) {
        if self.subjects.remove(&identity) {
            self.pending.subjects.insert(identity);
        }
    }

    /// All nodes, for peers that name nodes.
    pub fn set_nodes(&mut self, nodes: Vec<NodeFacts>) {
        if self.nodes != nodes {
            self.nodes = nodes;
            self.pending.nodes = true;
        }
    }

    /// Plans everything that came in. The plan counts as done.
    ///
    /// After a restart, all of policies, identities, nodes and subjects have to be there before the first plan.
    pub fn plan(&mut self) -> Vec<Change> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.identities.extend(&self.unfit_identities);
        let mut changes = Vec::new();
        let dirty = self.dirty_subjects(&pending);
        self.forget_identities(&pending.identities, &mut changes);
        if !pending.policies.is_empty() || pending.nodes || !self.unfit.is_empty() {
            self.name_prefixes(&mut changes);
        }
        for subject in &dirty {
            self.settle_subject(*subject, pending.identities.is_empty(), &mut changes);
        }
        self.introduce_identities(&pending, &dirty, &mut changes);
        changes
    }

    fn write(&mut self, change: Change, changes: &mut Vec<Change>) {
        self.tables.apply(&change);
        changes.push(change);
    }

    /// Rows that interning a class planned, which the tables do not know of yet.
    fn intern(&mut self, content: &content::Content, changes: &mut Vec<Change>) -> u32 {
        let from = changes.len();
        let class = self.classes.intern(content, changes);
        for change in &changes[from..] {
            self.tables.apply(change);
        }
        class
    }

    fn next(&mut self) -> u32 {
        // 0 means "none". After 2^32 changes a number comes again; nothing remembers the first by then.
        self.last = self.last.wrapping_add(1).max(1);
        self.last
    }

    fn world(&self) -> desired::World<'_> {
        desired::World { identities: &self.identities, namespaces: &self.namespaces, prefixes: &self.prefixes }
    }
}

/// The number that a rule has in the maps of every node, unless another rule had it first.
#[must_use]
pub fn usual_number(origin: &Origin, rule: &Rule) -> u32 {
    numbers::hash(&(origin, rule)).max(1)
}

/// What the kernel looks up for the halves of the world; `WORLD` itself never is.
fn reserved() -> impl Iterator<Item = IdentityFacts> {
    (identity::HOST..=identity::WORLD_IPV6).chain([identity::NODE_OF_API_SERVER]).filter_map(IdentityFacts::reserved)
}

/// What a map says of identities that are the same for the datapath.
fn same_place(one: &IdentityInfo, kind: u8, namespace: u32) -> bool {
    one.kind == kind && one.namespace == namespace
}
