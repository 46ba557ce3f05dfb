//! Identities come and go, usually without a word in any table.

use super::desired::flag_of;
use super::transition::peer_key;
use super::{Change, Entry, Pending, Planner, same_place};
use datapath_layouts::policy::policy_flags;
use datapath_layouts::{IdentityInfo, PolicyKey};
use std::collections::BTreeSet;

impl Planner {
    /// Who is no more, or is somewhere else, becomes unknown before anything else changes.
    pub(super) fn forget_identities(&mut self, numbers: &BTreeSet<u32>, changes: &mut Vec<Change>) {
        for number in numbers {
            let had = self.tables.identities.get(number).copied();
            let keep = match self.identities.get(number) {
                None => false,
                Some(facts) => {
                    let namespace = self.namespaces.join(facts, had.map(|info| info.namespace));
                    had.is_none_or(|info| same_place(&info, facts.kind as u8, namespace))
                }
            };
            if !keep && had.is_some() {
                self.write(Change::RemoveIdentity(*number), changes);
            }
        }
    }

    /// Gives new identities what they need in the tables that nothing else changed, then makes all of them known.
    pub(super) fn introduce_identities(
        &mut self,
        pending: &Pending,
        settled: &BTreeSet<u32>,
        changes: &mut Vec<Change>,
    ) {
        let numbers = &pending.identities;
        let keys: Vec<PolicyKey> = self.live.keys().copied().collect();
        for key in keys.iter().filter(|key| !settled.contains(&(key.policy_id & !PolicyKey::SHADOW))) {
            self.introduce_to(*key, numbers, changes);
        }
        for number in numbers {
            let Some(facts) = self.identities.get(number) else {
                self.unfit_identities.remove(number);
                continue;
            };
            let namespace = self.namespaces.of(facts).map_or(0, |namespace| namespace.number);
            let kind = facts.kind as u8;
            let had = self.tables.identities.get(number);
            if had.is_none() && self.tables.identities.len() >= self.capacity.identities {
                self.unfit_identities.insert(*number);
                continue;
            }
            self.unfit_identities.remove(number);
            // After a restart the map says already who it is.
            if had.is_some_and(|info| same_place(info, kind, namespace)) && !pending.changed.contains(number) {
                continue;
            }
            let info = IdentityInfo { namespace, generation: self.next(), kind, reserved: [0; 3] };
            self.write(Change::WriteIdentity(*number, info), changes);
        }
    }

    fn introduce_to(&mut self, key: PolicyKey, numbers: &BTreeSet<u32>, changes: &mut Vec<Change>) {
        let Some(live) = self.live.get(&key) else { return };
        let Some(lines) = live.lines.as_ref().filter(|_| live.policy.flags & policy_flags::OVERFLOW == 0) else {
            return;
        };
        let world = self.world();
        let facts = numbers.iter().filter_map(|number| self.identities.get(number));
        let mut wanted: Vec<(Entry, _)> = world.for_some(lines, facts);
        wanted.retain(|(entry, content)| {
            let class = content.as_ref().map(|content| self.classes.find(content));
            class != live.entries.get(entry).map(|class| Some(*class))
        });
        if wanted.is_empty() {
            return;
        }
        let contents = || wanted.iter().filter_map(|(_, content)| content.as_ref());
        let new = || contents().filter(|content| self.classes.find(content).is_none());
        let rows: usize = new().map(|content| content.rows.len()).sum();
        let ranges: usize = new().map(|content| content.ranges.len()).sum();
        let fits = contents().count() + self.tables.peers.len() <= self.capacity.peers
            && rows + self.tables.rows.len() <= self.capacity.rows
            && ranges + self.tables.ranges.len() <= self.capacity.ranges;
        let flags = live.policy.flags;
        let seen = wanted.iter().all(|((level, _), content)| content.is_none() || flags & flag_of(*level) != 0);
        if !fits || !seen {
            let (lines, shadow) = (lines.clone(), live.policy.shadow);
            self.settle(key, lines, shadow, false, changes);
            return;
        }
        // As in `move_peers`: exact ones are written before wider ones and removed after them.
        wanted.sort_by_key(|((level, value), content)| match content {
            Some(_) => (0, *level, *value),
            None => (1, u8::MAX - *level, *value),
        });
        let table = live.policy.table;
        for (entry, content) in wanted {
            let class = content.map(|content| self.intern(&content, changes));
            let Some(mut live) = self.live.remove(&key) else { return };
            match class {
                None => self.remove_peer(&mut live, entry, changes),
                Some(class) if live.entries.get(&entry) == Some(&class) => {}
                Some(class) => {
                    self.classes.hold(class);
                    self.write(Change::WritePeer(peer_key(table, entry), class), changes);
                    if let Some(old) = live.entries.insert(entry, class) {
                        self.classes.release(old);
                    }
                }
            }
            self.live.insert(key, live);
        }
    }
}
