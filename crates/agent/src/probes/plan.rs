//! Whom to probe and when. Pure: time comes in as what has passed since the start.

use super::Protocol;
use model::{Family, Node, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

/// One way to another node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The other node.
    pub node: NodeName,
    /// Its address of one family.
    pub address: IpAddr,
    /// How it is asked.
    pub protocol: Protocol,
}

/// The ways to all other nodes: by the first address of each family that both have, since tunnels and routes lead there too.
/// Never to oneself, nor to what no other node can have.
#[must_use]
pub fn targets<'a>(own: &Node, nodes: impl Iterator<Item = &'a Node>) -> BTreeSet<Target> {
    let families = [Family::V4, Family::V6].into_iter().filter(|family| own.address(*family).is_some());
    let others = nodes.filter(|node| node.name != own.name);
    let ways = others.flat_map(|node| families.clone().filter_map(move |family| Some((node, node.address(family)?))));
    let ways = ways.filter(|(_, address)| is_elsewhere(*address) && !own.addresses.contains(address));
    ways.flat_map(|(node, address)| Protocol::ALL.map(|protocol| Target { node: node.name.clone(), address, protocol }))
        .collect()
}

/// Those of these nodes to which no target leads.
#[must_use]
pub fn without_target<'a>(nodes: impl Iterator<Item = &'a Node>, targets: &BTreeSet<Target>) -> BTreeSet<NodeName> {
    let reached: BTreeSet<&NodeName> = targets.iter().map(|target| &target.node).collect();
    nodes.map(|node| &node.name).filter(|name| !reached.contains(name)).cloned().collect()
}

/// A link-local address says nothing without its device.
fn is_elsewhere(address: IpAddr) -> bool {
    let on_link = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(on_link || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// When each target is probed next. Each has a place of its own in the interval, which differs from node to node, so that neither
/// the probes of one node nor those for one node come all at once.
#[derive(Debug)]
pub struct Schedule {
    own: NodeName,
    wish: Duration,
    interval: Duration,
    known: BTreeSet<Target>,
    /// Those that had no turn yet.
    fresh: BTreeSet<Target>,
    queue: BTreeSet<(Duration, Target)>,
    /// Under way, with the time of their next turn.
    running: BTreeMap<Target, Duration>,
}

impl Schedule {
    /// Nobody to probe yet.
    #[must_use]
    pub fn new(own: NodeName, wish: Duration) -> Self {
        Self {
            own,
            wish,
            interval: wish,
            known: BTreeSet::new(),
            fresh: BTreeSet::new(),
            queue: BTreeSet::new(),
            running: BTreeMap::new(),
        }
    }

    /// Between two probes of one target: what was wished for, or in a large cluster as much as keeps [`RATE`].
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Probes that are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// From now on these and no others. Who is new has its first turn soon, however many others there are; of many new ones each
    /// waits as long as keeps [`RATE`].
    pub fn set(&mut self, targets: BTreeSet<Target>, now: Duration) {
        self.interval = self.wish.max(spaced(targets.len()));
        self.queue.retain(|(_, target)| targets.contains(target));
        self.fresh.retain(|target| targets.contains(target));
        let is_new = |target: &&Target| !self.known.contains(*target) && !self.running.contains_key(*target);
        let new: Vec<Target> = targets.iter().filter(is_new).cloned().collect();
        self.fresh.extend(new.iter().cloned());
        let soon = self.interval.min(spaced(self.fresh.len()).max(SOON));
        for target in new {
            let wait = self.place(&target, soon);
            self.queue.insert((now + wait, target));
        }
        self.known = targets;
    }

    /// Whose turn it is, the longest due first, and no more than `most` under way at once.
    pub fn take_due(&mut self, now: Duration, most: usize) -> Vec<Target> {
        let mut taken = Vec::new();
        while self.running.len() < most && self.queue.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, target)) = self.queue.pop_first() else { break };
            self.fresh.remove(&target);
            self.running.insert(target.clone(), self.turn_after(&target, now));
            taken.push(target);
        }
        taken
    }

    /// A probe has ended; whether anybody still wants to know of it.
    pub fn finished(&mut self, target: &Target) -> bool {
        let next = self.running.remove(target);
        let wanted = self.known.contains(target);
        if let (true, Some(next)) = (wanted, next) {
            self.queue.insert((next, target.clone()));
        }
        wanted
    }

    /// When somebody has a turn that does not run yet.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The first turn in the target's place of the interval that is at least half an interval away.
    fn turn_after(&self, target: &Target, now: Duration) -> Duration {
        let (interval, place) = (nanos(self.interval), nanos(self.place(target, self.interval)));
        let earliest = nanos(now) + interval / 2;
        let rounds = earliest.saturating_sub(place).div_ceil(interval);
        Duration::from_nanos(place + rounds * interval)
    }

    fn place(&self, target: &Target, interval: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&self.own, target).hash(&mut hasher);
        Duration::from_nanos(hasher.finish() % nanos(interval).max(1))
    }
}

/// Time for so many probes.
fn spaced(count: usize) -> Duration {
    Duration::from_secs(1).saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)) / RATE
}

/// 584 years are enough.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// Probes per second that one node sends at most, on average: with a thousand nodes of two families each is probed every 50 s.
pub const RATE: u32 = 80;
/// Who is new is probed within this time if few others are.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "plan_tests.rs"]
pub mod tests;
