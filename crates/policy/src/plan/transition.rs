//! From one state of a subject's direction to the next.

use super::content::Content;
use super::desired::Desired;
use super::lines::Lines;
use super::room::failsafe_size;
use super::{Capacity, Change, Entry, Live, Planner, Problem};
use datapath_layouts::policy::{level, policy_flags};
use datapath_layouts::{PeerKey, Policy, PolicyKey, identity};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How to get there.
enum Way {
    /// Nothing differs.
    Stay,
    /// The table is right, the subject's entry is not.
    Entry,
    /// Peers move one by one.
    InPlace,
    /// A new table.
    Beside,
}

impl Planner {
    /// Brings an entry and its table to what `lines` say. `renew`: give it a new epoch in any case. Whether it has one.
    pub(super) fn settle(
        &mut self,
        key: PolicyKey,
        lines: Lines,
        shadow: u32,
        renew: bool,
        changes: &mut Vec<Change>,
    ) -> bool {
        let desired = self.world().desired(&lines);
        let way = self.way(&key, &desired, shadow, renew);
        if let Err(problem) = self.check_room(&key, &lines, &desired, &way) {
            if key.policy_id & !PolicyKey::SHADOW == identity::HOST {
                return self.overflow_of_node(key, &lines, shadow, renew, problem, changes);
            }
            return self.overflow(key, lines, shadow, renew, problem, changes);
        }
        self.problems.remove(&key);
        let base_class = self.intern(&desired.base, changes);
        match way {
            Way::Stay | Way::Entry => {}
            Way::InPlace => self.move_peers(&key, &desired.entries, changes),
            Way::Beside => {
                let table = self.next();
                let entries = self.fill(table, &desired.entries, changes);
                let lines = Some(lines);
                let policy = Policy { epoch: table, table, base_class, flags: desired.flags, shadow, reserved: 0 };
                self.classes.hold(base_class);
                self.write(Change::WritePolicy(key, policy), changes);
                if let Some(old) = self.live.insert(key, Live { policy, lines, entries }) {
                    self.retire(old.policy, old.entries);
                }
                return true;
            }
        }
        let renewed = !matches!(way, Way::Stay);
        let epoch = if renewed { self.next() } else { 0 };
        let Some(live) = self.live.get_mut(&key) else { return false };
        live.lines = Some(lines);
        if renewed {
            live.policy.epoch = epoch;
            live.policy.shadow = shadow;
            let policy = live.policy;
            self.write(Change::WritePolicy(key, policy), changes);
        }
        renewed
    }

    fn way(&self, key: &PolicyKey, desired: &Desired, shadow: u32, renew: bool) -> Way {
        let Some(live) = self.live.get(key) else { return Way::Beside };
        // A level that is looked at without need costs a look-up, and no verdict.
        let unlike = (live.policy.flags ^ desired.flags) & !LEVELS != 0 || desired.flags & !live.policy.flags != 0;
        if unlike || Some(live.policy.base_class) != self.classes.find(&desired.base) {
            return Way::Beside;
        }
        let differs = |entry: &Entry| {
            let wanted = desired.entries.get(entry).map(|content| self.classes.find(content));
            wanted != live.entries.get(entry).map(|class| Some(*class))
        };
        let mut by_identity = false;
        let mut by_prefix = false;
        for (entry_level, _) in live.entries.keys().chain(desired.entries.keys()).filter(|entry| differs(entry)) {
            if *entry_level <= level::KIND { by_identity = true } else { by_prefix = true }
        }
        match (by_identity, by_prefix) {
            (true, true) => Way::Beside,
            (false, false) if renew || live.policy.shadow != shadow => Way::Entry,
            (false, false) => Way::Stay,
            _ => Way::InPlace,
        }
    }

    /// Writes all entries of a new table.
    fn fill(
        &mut self,
        table: u32,
        wanted: &HashMap<Entry, Arc<Content>>,
        changes: &mut Vec<Change>,
    ) -> HashMap<Entry, u32> {
        let mut order: Vec<&Entry> = wanted.keys().collect();
        order.sort_unstable();
        let mut entries = HashMap::new();
        for entry in order {
            let class = self.intern(&wanted[entry], changes);
            self.classes.hold(class);
            self.write(Change::WritePeer(peer_key(table, *entry), class), changes);
            entries.insert(*entry, class);
        }
        entries
    }

    /// Moves peers of one side. Exact entries are written before wider ones and removed after them, so that nobody falls
    /// from its old class into anything but its new one.
    fn move_peers(&mut self, key: &PolicyKey, wanted: &HashMap<Entry, Arc<Content>>, changes: &mut Vec<Change>) {
        let Some(mut live) = self.live.remove(key) else { return };
        let mut order: Vec<&Entry> = wanted.keys().collect();
        order.sort_unstable();
        let mut moves = Vec::new();
        for entry in order {
            let class = self.intern(&wanted[entry], changes);
            if live.entries.get(entry) != Some(&class) {
                // Held at once: a class is not swept while it is planned for.
                self.classes.hold(class);
                moves.push((*entry, class));
            }
        }
        for (entry, class) in moves {
            self.write(Change::WritePeer(peer_key(live.policy.table, entry), class), changes);
            if let Some(old) = live.entries.insert(entry, class) {
                self.classes.release(old);
            }
        }
        let mut gone: Vec<Entry> = live.entries.keys().filter(|entry| !wanted.contains_key(*entry)).copied().collect();
        gone.sort_unstable_by(|a, b| b.cmp(a));
        for entry in gone {
            self.remove_peer(&mut live, entry, changes);
        }
        self.live.insert(*key, live);
    }

    pub(super) fn remove_peer(&mut self, live: &mut Live, entry: Entry, changes: &mut Vec<Change>) {
        if let Some(class) = live.entries.remove(&entry) {
            self.write(Change::RemovePeer(peer_key(live.policy.table, entry)), changes);
            self.classes.release(class);
        }
    }

    fn check_room(&self, key: &PolicyKey, lines: &Lines, desired: &Desired, way: &Way) -> Result<(), Problem> {
        let peers = match (way, self.live.get(key)) {
            (Way::Stay | Way::Entry, _) => 0,
            (Way::InPlace, Some(live)) => {
                desired.entries.keys().filter(|entry| !live.entries.contains_key(*entry)).count()
            }
            _ => desired.entries.len(),
        };
        let new: HashSet<&Arc<Content>> = desired.entries.values().chain([&desired.base]).collect();
        let new: Vec<_> = new.into_iter().filter(|content| self.classes.find(content).is_none()).collect();
        let rows: usize = new.iter().map(|content| content.rows.len()).sum();
        let ranges: usize = new.iter().map(|content| content.ranges.len()).sum();
        if let Some(problem) = self.unfit_prefixes(lines) {
            return Err(problem);
        }
        let policies = usize::from(!self.tables.policies.contains_key(key));
        let (have, room) = (&self.tables, self.room_for(key, lines));
        for (map, capacity, used, new) in [
            ("policies", room.policies, have.policies.len(), policies),
            ("policy_peers", room.peers, have.peers.len(), peers),
            ("policy_rows", room.rows, have.rows.len(), rows),
            ("policy_ranges", room.ranges, have.ranges.len(), ranges),
        ] {
            if new > 0 && used + new > capacity {
                return Err(Problem { map, capacity, needed: used + new });
            }
        }
        Ok(())
    }

    /// A table without one of its prefixes would say of its addresses what it says of those around.
    fn unfit_prefixes(&self, lines: &Lines) -> Option<Problem> {
        let named: BTreeSet<&IpNet> = lines.prefixes().filter(|net| self.unfit.contains(*net)).collect();
        let (used, capacity) = (self.tables.cidrs.len(), self.capacity.cidrs);
        // A prefix that is in the map is also in every table.
        let (map, used, capacity) = match used < capacity {
            true => ("policy_peers", self.tables.peers.len(), self.capacity.peers),
            false => ("policy_cidrs", used, capacity),
        };
        (!named.is_empty()).then(|| Problem { map, capacity, needed: used + named.len() })
    }

    /// Everything else leaves the room that a node needs to stay reachable.
    fn room_for(&self, key: &PolicyKey, lines: &Lines) -> Capacity {
        let mut room = self.capacity;
        if key.policy_id & !PolicyKey::SHADOW != identity::HOST || *lines != lines.failsafe() {
            let (rows, ranges) = failsafe_size(self.policies());
            room.rows = room.rows.saturating_sub(rows);
            room.ranges = room.ranges.saturating_sub(ranges);
            let is_host = key.policy_id == identity::HOST;
            room.policies = room.policies.saturating_sub(if rows == 0 || is_host { 0 } else { 2 });
        }
        room
    }

    /// A node whose policy does not fit keeps its failsafe ports. If not even those fit it has no policy: a node that nobody
    /// reaches can't be helped.
    fn overflow_of_node(
        &mut self,
        key: PolicyKey,
        lines: &Lines,
        shadow: u32,
        renew: bool,
        problem: Problem,
        changes: &mut Vec<Change>,
    ) -> bool {
        let failsafe = lines.failsafe();
        let renewed = if failsafe == *lines {
            let had = self.live.contains_key(&key);
            self.drop_policy(key, changes);
            had
        } else {
            self.settle(key, failsafe, shadow, renew, changes)
        };
        self.problems.insert(key, problem);
        renewed
    }

    /// What does not fit denies everything, by an entry that needs no table, or by having none.
    fn overflow(
        &mut self,
        key: PolicyKey,
        lines: Lines,
        shadow: u32,
        renew: bool,
        problem: Problem,
        changes: &mut Vec<Change>,
    ) -> bool {
        self.problems.insert(key, problem);
        let flags = policy_flags::OVERFLOW | policy_flags::DEFAULT_DENY;
        if let Some(live) = self.live.get(&key)
            && live.policy.flags == flags
            && live.policy.shadow == shadow
            && !renew
        {
            return false;
        }
        if !self.tables.policies.contains_key(&key) && self.tables.policies.len() >= self.capacity.policies {
            return false;
        }
        let policy = Policy { epoch: self.next(), flags, shadow, ..Policy::ZERO };
        self.write(Change::WritePolicy(key, policy), changes);
        if let Some(old) = self.live.insert(key, Live { policy, lines: Some(lines), entries: HashMap::new() }) {
            self.retire(old.policy, old.entries);
        }
        true
    }
}

const LEVELS: u32 = policy_flags::IDENTITIES | policy_flags::NAMESPACES | policy_flags::KINDS | policy_flags::CIDRS;

pub(super) const fn peer_key(table: u32, entry: Entry) -> PeerKey {
    PeerKey { table, value: entry.1, level: entry.0, reserved: [0; 3] }
}
