//! The start: from what the maps hold.

use super::classes::Classes;
use super::namespaces::Namespaces;
use super::numbers::Numbered;
use super::{Capacity, Live, Pending, Planner, Tables, prefix, reserved};
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl Planner {
    /// Starts from what the maps hold: what is there and right is not written again. Until [`Self::sweep`], what belongs
    /// to nobody known is left alone.
    #[must_use]
    pub fn recover(tables: Tables, capacity: Capacity) -> Self {
        let mut classes = Classes::recover(&tables);
        let mut by_table: HashMap<u32, HashMap<_, u32>> = HashMap::new();
        for (key, class) in &tables.peers {
            by_table.entry(key.table).or_default().insert((key.level, key.value), *class);
            classes.hold(*class);
        }
        let mut last = by_table.keys().copied().max().unwrap_or(0);
        let mut live = HashMap::new();
        for (key, policy) in &tables.policies {
            last = last.max(policy.epoch).max(policy.table);
            classes.hold(policy.base_class);
            let entries = by_table.remove(&policy.table).unwrap_or_default();
            live.insert(*key, Live { policy: *policy, lines: None, entries });
        }
        last = tables.identities.values().map(|info| info.generation).fold(last, u32::max);
        last = tables.cidrs.values().map(|id| id.id).fold(last, u32::max);
        let namespaces = tables.identities.values().map(|info| info.namespace).max().unwrap_or(0);
        let prefixes = tables.cidrs.iter().filter_map(|(key, id)| Some((prefix::net(key)?, id.id))).collect();
        let mut planner = Self {
            tables,
            capacity,
            policies: BTreeMap::new(),
            identities: BTreeMap::new(),
            nodes: Vec::new(),
            subjects: BTreeSet::new(),
            pending: Pending::default(),
            live,
            namespaces: Namespaces::after(namespaces),
            prefixes,
            unfit: BTreeSet::new(),
            classes,
            rules: Numbered::new(u32::BITS),
            retired: by_table.into_iter().collect(),
            last,
            problems: HashMap::new(),
            unfit_identities: BTreeSet::new(),
        };
        reserved().for_each(|facts| planner.set_identity(facts));
        planner
    }
}
