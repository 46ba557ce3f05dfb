//! Who has which address: pure, with the time given by the caller.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::range::Range;

/// What an address belongs to: one container's one interface, as CNI names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    pub container_id: String,
    pub ifname: String,
}

/// Milliseconds since 1970 by the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// No address of a family is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no free {} address in {}: {in_use} in use, {resting} resting", if *ipv4 { "IPv4" } else { "IPv6" }, list(ranges))]
pub struct Exhausted {
    pub ipv4: bool,
    pub ranges: Vec<IpNet>,
    pub in_use: usize,
    /// Released recently; they come back by themselves.
    pub resting: usize,
}

/// How full a range is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub range: IpNet,
    /// How many Pods can have an address; `u64::MAX` stands for "that and more".
    pub capacity: u64,
    pub in_use: u64,
    pub resting: u64,
}

/// The allocation state of a node.
///
/// One address per family and owner. Addresses are given in turn ("next" rather than "lowest"), and a released one
/// rests before it is given again, so that what still remembers its last holder has time to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocator {
    ranges: Vec<Range>,
    rest: Duration,
    owners: HashMap<Owner, Vec<IpAddr>>,
    in_use: BTreeMap<IpAddr, Owner>,
    resting: BTreeMap<IpAddr, Timestamp>,
    /// Last address given per range, in the order of `ranges`.
    cursors: Vec<Option<IpAddr>>,
}

impl Allocator {
    /// An empty state. Ranges of one family are used in their order.
    #[must_use]
    pub fn new(ranges: &[IpNet], rest: Duration) -> Self {
        let ranges: Vec<Range> = ranges.iter().copied().map(Range::new).collect();
        let cursors = vec![None; ranges.len()];
        Self { ranges, rest, owners: HashMap::new(), in_use: BTreeMap::new(), resting: BTreeMap::new(), cursors }
    }

    /// What [`Self::assign`] should be given for `owner`: an address of each family that has a range, or what the
    /// owner has already. Changes nothing.
    pub fn choose(&self, owner: &Owner, now: Timestamp) -> Result<Vec<IpAddr>, Exhausted> {
        if let Some(addresses) = self.owners.get(owner) {
            return Ok(addresses.clone());
        }
        let mut chosen = Vec::new();
        for ipv4 in [true, false] {
            let mut of_family =
                (0..self.ranges.len()).filter(|i| self.ranges[*i].net().addr().is_ipv4() == ipv4).peekable();
            if of_family.peek().is_none() {
                continue;
            }
            let next = of_family.find_map(|i| {
                self.ranges[i].addresses_after(self.cursors[i]).find(|address| self.is_free(*address, now))
            });
            chosen.push(next.ok_or_else(|| self.exhausted(ipv4))?);
        }
        Ok(chosen)
    }

    /// Gives `addresses` to `owner`, and puts the turn behind them.
    pub fn assign(&mut self, owner: Owner, addresses: Vec<IpAddr>) {
        for address in &addresses {
            self.resting.remove(address);
            self.in_use.insert(*address, owner.clone());
            self.set_cursor(*address);
        }
        self.owners.insert(owner, addresses);
    }

    /// Takes the addresses back from `owner`; they rest from `at` on. Nothing to take is fine.
    pub fn release(&mut self, owner: &Owner, at: Timestamp) -> Vec<IpAddr> {
        let addresses = self.owners.remove(owner).unwrap_or_default();
        for address in &addresses {
            self.in_use.remove(address);
            self.rest(*address, at);
        }
        addresses
    }

    /// Lets an address rest from `at` on. One outside of the ranges (they changed) is forgotten.
    pub(crate) fn rest(&mut self, address: IpAddr, at: Timestamp) {
        if self.ranges.iter().any(|range| range.contains(address)) {
            self.resting.insert(address, at);
        }
    }

    /// Puts the turn behind `address`.
    pub(crate) fn set_cursor(&mut self, address: IpAddr) {
        if let Some(i) = self.ranges.iter().position(|range| range.contains(address)) {
            self.cursors[i] = Some(address);
        }
    }

    /// Forgets what has rested enough, and cuts down times that lie in the future (the clock was set back), so that
    /// nothing rests for ages.
    pub fn tidy(&mut self, now: Timestamp) {
        for at in self.resting.values_mut() {
            *at = (*at).min(now);
        }
        let rest = self.rest;
        self.resting.retain(|_, at| !has_rested(*at, now, rest));
    }

    /// What `owner` has.
    #[must_use]
    pub fn addresses_of(&self, owner: &Owner) -> Option<&[IpAddr]> {
        self.owners.get(owner).map(Vec::as_slice)
    }

    /// Whose `address` is.
    #[must_use]
    pub fn owner_of(&self, address: IpAddr) -> Option<&Owner> {
        self.in_use.get(&address)
    }

    /// Everybody who has addresses, in no order.
    pub fn owners(&self) -> impl Iterator<Item = (&Owner, &[IpAddr])> {
        self.owners.iter().map(|(owner, addresses)| (owner, addresses.as_slice()))
    }

    /// Addresses that rest, with the time of their release.
    pub fn resting(&self) -> impl Iterator<Item = (IpAddr, Timestamp)> {
        self.resting.iter().map(|(address, at)| (*address, *at))
    }

    /// The last address given of each range that has one.
    pub(crate) fn cursors(&self) -> impl Iterator<Item = IpAddr> {
        self.cursors.iter().copied().flatten()
    }

    /// How full the ranges are.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let count = |range: Range, mut all: &mut dyn Iterator<Item = &IpAddr>| {
            (&mut all).filter(|address| range.contains(**address)).count() as u64
        };
        let usage = |range: &Range| Usage {
            range: range.net(),
            capacity: u64::try_from(range.capacity()).unwrap_or(u64::MAX),
            in_use: count(*range, &mut self.in_use.keys()),
            resting: count(*range, &mut self.resting.keys()),
        };
        self.ranges.iter().map(usage).collect()
    }

    fn is_free(&self, address: IpAddr, now: Timestamp) -> bool {
        let rested = self.resting.get(&address).is_none_or(|at| has_rested(*at, now, self.rest));
        rested && !self.in_use.contains_key(&address)
    }

    fn exhausted(&self, ipv4: bool) -> Exhausted {
        let of_family = |address: &&IpAddr| address.is_ipv4() == ipv4;
        Exhausted {
            ipv4,
            ranges: self.ranges.iter().map(|range| range.net()).filter(|net| net.addr().is_ipv4() == ipv4).collect(),
            in_use: self.in_use.keys().filter(of_family).count(),
            resting: self.resting.keys().filter(of_family).count(),
        }
    }
}

fn has_rested(at: Timestamp, now: Timestamp, rest: Duration) -> bool {
    u128::from(now.0.saturating_sub(at.0)) >= rest.as_millis()
}

fn list(ranges: &[IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner { container_id: name.to_owned(), ifname: "eth0".to_owned() }
    }

    fn give(allocator: &mut Allocator, name: &str, now: u64) -> Result<Vec<String>, Exhausted> {
        let addresses = allocator.choose(&owner(name), Timestamp(now))?;
        allocator.assign(owner(name), addresses.clone());
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    fn allocator(ranges: &[&str]) -> Allocator {
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Allocator::new(&ranges, Duration::from_secs(30))
    }

    #[test]
    fn one_address_of_each_family_in_turn() {
        let mut a = allocator(&["10.244.1.0/24", "fd00:10:244:1::/64"]);
        assert_eq!(give(&mut a, "a", 0).unwrap(), ["10.244.1.2", "fd00:10:244:1::2"]);
        assert_eq!(give(&mut a, "b", 0).unwrap(), ["10.244.1.3", "fd00:10:244:1::3"]);
        assert_eq!(give(&mut a, "a", 0).unwrap(), ["10.244.1.2", "fd00:10:244:1::2"], "the same owner again");
        a.release(&owner("a"), Timestamp(0));
        assert_eq!(give(&mut a, "a", 60_000).unwrap()[0], "10.244.1.4", "in turn, though .2 is free again");
        assert!(a.release(&owner("nobody"), Timestamp(0)).is_empty());
    }

    #[test]
    fn a_released_address_rests_even_when_no_other_is_free() {
        let mut a = allocator(&["10.0.0.0/29"]);
        for name in ["a", "b", "c", "d", "e"] {
            give(&mut a, name, 0).unwrap();
        }
        a.release(&owner("c"), Timestamp(1000));
        let error = give(&mut a, "f", 30_999).unwrap_err();
        assert_eq!((error.in_use, error.resting), (4, 1));
        assert_eq!(error.to_string(), "no free IPv4 address in 10.0.0.0/29: 4 in use, 1 resting");
        assert_eq!(give(&mut a, "f", 31_000).unwrap(), ["10.0.0.4"]);
    }

    #[test]
    fn a_clock_set_back_does_not_make_addresses_rest_for_ages() {
        let mut a = allocator(&["10.0.0.0/30"]);
        give(&mut a, "a", 0).unwrap();
        a.release(&owner("a"), Timestamp(u64::MAX));
        a.tidy(Timestamp(1000));
        assert!(give(&mut a, "b", 30_000).is_err());
        assert!(give(&mut a, "b", 31_000).is_ok());
    }

    #[test]
    fn one_family_short_gives_nothing_of_the_other() {
        let mut a = allocator(&["10.0.0.0/24", "fd00::/127"]);
        assert!(!give(&mut a, "a", 0).unwrap_err().ipv4);
        assert_eq!(a.usage()[0].in_use, 0);
    }

    #[test]
    fn a_second_range_of_a_family_is_used_when_the_first_is_full() {
        let mut a = allocator(&["10.0.0.0/30", "10.0.1.0/30"]);
        assert_eq!(give(&mut a, "a", 0).unwrap(), ["10.0.0.2"]);
        assert_eq!(give(&mut a, "b", 0).unwrap(), ["10.0.1.2"]);
        assert!(give(&mut a, "c", 0).is_err());
        assert_eq!(a.usage().iter().map(|u| (u.capacity, u.in_use)).collect::<Vec<_>>(), [(1, 1), (1, 1)]);
    }
}
