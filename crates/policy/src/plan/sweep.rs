//! What nobody reads any more.

use super::transition::peer_key;
use super::{Change, Entry, Planner, prefix};
use datapath_layouts::PolicyKey;
use datapath_layouts::policy::level;
use std::collections::BTreeSet;

impl Planner {
    /// Removes what earlier plans left: to be called when every packet that began before them is through, and once
    /// everything that exists is known. What it makes unreachable itself goes with the next one.
    pub fn sweep(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.remove_stale_peers(&mut changes);
        for (table, entries) in std::mem::take(&mut self.retired) {
            for (entry, class) in entries {
                self.write(Change::RemovePeer(peer_key(table, entry)), &mut changes);
                self.classes.release(class);
            }
        }
        let from = changes.len();
        self.classes.sweep(&mut changes);
        for change in &changes[from..] {
            self.tables.apply(change);
        }
        self.remove_unknown(&mut changes);
        let policies = &self.policies;
        self.rules.retain(|(origin, rule)| policies.get(origin).is_some_and(|policy| policy.rules.contains(rule)));
        changes
    }

    /// Entries of whom no look-up can name any more.
    fn remove_stale_peers(&mut self, changes: &mut Vec<Change>) {
        let prefixes: BTreeSet<u32> = self.prefixes.values().copied().collect();
        let keys: Vec<PolicyKey> = self.live.keys().copied().collect();
        for key in keys {
            let Some(mut live) = self.live.remove(&key) else { continue };
            let stale = |(entry_level, value): &Entry| match *entry_level {
                level::IDENTITY => !self.identities.contains_key(value),
                level::NAMESPACE => !self.namespaces.has_number(*value),
                level::KIND => false,
                _ => !prefixes.contains(value),
            };
            let mut stale: Vec<Entry> = live.entries.keys().filter(|entry| stale(entry)).copied().collect();
            stale.sort_unstable();
            for entry in stale {
                self.remove_peer(&mut live, entry, changes);
            }
            self.live.insert(key, live);
        }
    }

    /// What an earlier process left, and prefixes that no policy names any more: their tables say the same of them as of
    /// the one around them.
    fn remove_unknown(&mut self, changes: &mut Vec<Change>) {
        let unknown: BTreeSet<u32> =
            self.tables.identities.keys().filter(|number| !self.identities.contains_key(*number)).copied().collect();
        for number in unknown {
            self.write(Change::RemoveIdentity(number), changes);
        }
        let is_known = |key: &&PolicyKey| self.subjects.contains(&(key.policy_id & !PolicyKey::SHADOW));
        let unknown: Vec<PolicyKey> = self.live.keys().filter(|key| !is_known(key)).copied().collect();
        for key in unknown {
            self.drop_policy(key, changes);
        }
        let named = prefix::named(self.policies(), &self.nodes);
        let unnamed: Vec<_> = self.prefixes.keys().filter(|net| !named.contains(*net)).copied().collect();
        for net in unnamed {
            self.prefixes.remove(&net);
            self.write(Change::RemoveCidr(prefix::key(&net)), changes);
        }
    }
}
