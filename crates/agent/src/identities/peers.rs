//! Which address of another node's Pod is who: what the map `ipcache` should say of it, and the steps there. Pure.
//!
//! The contract: of two Pods that are said to have one address, the one that was told last has it, for the operator tells
//! what is taken away first; nothing disappears before the API has told everything.

use super::{Ranges, Refusal};
use datapath_layouts::{Address, PrefixKey, Route, RouteKind};
use identity::Published;
use model::ObjectName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Pods of other nodes, by address.
#[derive(Debug, Default)]
pub struct Peers {
    claims: HashMap<IpAddr, Vec<Arc<Published>>>,
    /// What the map has.
    written: HashMap<PrefixKey, Route>,
    /// Addresses whose entries may differ from what they should be.
    open: BTreeSet<IpAddr>,
    refused: BTreeMap<IpAddr, (Arc<Published>, Refusal)>,
    /// Addresses for which the map has no room.
    left_out: BTreeSet<IpAddr>,
    ranges: Ranges,
    told_all: bool,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose entry.
    pub key: PrefixKey,
    /// What it should be; `None` = gone.
    pub entry: Option<Route>,
}

/// Whether an entry of `ipcache` is a single Pod's; all others are the topology's.
#[must_use]
pub fn is_exact(key: &PrefixKey, route: &Route) -> bool {
    route.kind == RouteKind::RemotePods as u8 && key.prefix_len == PrefixKey::FULL
}

impl Peers {
    /// From what the map has. To be called again when a write has failed.
    pub fn adopt(&mut self, entries: impl IntoIterator<Item = (PrefixKey, Route)>) {
        self.written = entries.into_iter().filter(|(key, route)| is_exact(key, route)).collect();
        self.look_at_all();
    }

    /// A slice said this, and now says that.
    pub fn claim(&mut self, old: &[Arc<Published>], new: &[Arc<Published>]) {
        let same =
            |one: &Published, other: &Published, address| one.pod == other.pod && other.addresses.contains(address);
        for before in old {
            for address in &before.addresses {
                let Some(claims) = self.claims.get_mut(address) else { continue };
                // Another slice may say the same of the same Pod: only what this one said is taken back.
                let Some(place) = claims.iter().position(|claim| Arc::ptr_eq(claim, before)) else { continue };
                match new.iter().find(|one| same(before, one, address)) {
                    // Said once more, it is no newer than what others have said since.
                    Some(one) => claims[place] = one.clone(),
                    None => drop(claims.remove(place)),
                }
                if claims.is_empty() {
                    self.claims.remove(address);
                }
                self.open.insert(*address);
            }
        }
        for one in new {
            for address in one.addresses.iter().filter(|address| !old.iter().any(|before| same(one, before, *address)))
            {
                self.claims.entry(*address).or_default().push(one.clone());
                self.open.insert(*address);
            }
        }
    }

    /// The API has told every slice: what none of them claims is stale.
    pub fn all_are_told(&mut self) {
        self.told_all = true;
        self.look_at_all();
    }

    /// These are the nodes' ranges now.
    pub fn set_ranges(&mut self, ranges: Ranges) {
        if ranges != self.ranges {
            self.ranges = ranges;
            self.look_at_all();
        }
    }

    /// What is to be written, removals first. `room`: how many Pods' entries the map has room for. `sweep`: whether all nodes
    /// are known, so that what lies in no range may go.
    pub fn plan(&mut self, room: usize, sweep: bool) -> Vec<Change> {
        if !self.left_out.is_empty() {
            self.open.append(&mut self.left_out);
        }
        let (mut remove, mut write) = (Vec::new(), Vec::new());
        let mut waiting = BTreeSet::new();
        let mut length = self.written.len();
        for address in std::mem::take(&mut self.open) {
            let key = PrefixKey::lookup(Address::from_ip(address));
            let wanted = self.wanted(address);
            match (wanted, self.written.get(&key)) {
                (Some(route), Some(written)) if route == *written => {}
                (Some(route), before) => write.push((address, Change { key, entry: Some(route) }, before.is_some())),
                (None, Some(_)) if self.told_all && sweep => {
                    length -= 1;
                    remove.push(Change { key, entry: None });
                }
                (None, Some(_)) => drop(waiting.insert(address)),
                (None, None) => {}
            }
        }
        self.open = waiting;
        for (address, change, is_there) in write {
            if is_there || length < room {
                length += usize::from(!is_there);
                remove.push(change);
            } else {
                self.left_out.insert(address);
            }
        }
        remove
    }

    /// Entries of single Pods that the map has.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written.len()
    }

    /// What the map says of an entry before it is [`done`](Self::done) with, and the Pod that has the address.
    #[must_use]
    pub fn known(&self, key: &PrefixKey) -> (Option<&Route>, Option<&ObjectName>) {
        let (address, _) = key.to_ip();
        let claims = self.claims.get(&address).into_iter().flatten().rev();
        let mut has_it = claims.filter(|claim| self.ranges.entry(address, claim.node, claim.identity).is_ok());
        (self.written.get(key), has_it.next().map(|claim| &claim.pod))
    }

    /// A change was written.
    pub fn done(&mut self, change: &Change) {
        match change.entry {
            Some(route) => drop(self.written.insert(change.key, route)),
            None => drop(self.written.remove(&change.key)),
        }
    }

    /// What is wrong, each in one line; of many alike only the first.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some((address, (claim, why))) = self.refused.first_key_value() {
            let more = more(self.refused.len());
            out.push(format!("the address {address} of Pod {} is refused: {why}{more}", claim.pod));
        }
        if let Some(address) = self.left_out.first() {
            let more = more(self.left_out.len());
            out.push(format!(
                "the map ipcache is full: who {address} is can't be written{more}; its Pods are unmanaged for this node"
            ));
        }
        out
    }

    /// How many entries are written.
    #[must_use]
    pub fn count(&self) -> usize {
        self.written.len()
    }

    fn wanted(&mut self, address: IpAddr) -> Option<Route> {
        self.refused.remove(&address);
        for claim in self.claims.get(&address).into_iter().flatten().rev() {
            match self.ranges.entry(address, claim.node, claim.identity) {
                Ok(entry) => return entry,
                Err(why) => drop(self.refused.entry(address).or_insert_with(|| (claim.clone(), why))),
            }
        }
        None
    }

    fn look_at_all(&mut self) {
        self.open.extend(self.claims.keys());
        self.open.extend(self.written.keys().map(|key| key.to_ip().0));
    }
}

fn more(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
