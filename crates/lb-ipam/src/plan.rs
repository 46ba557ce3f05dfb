//! Who gets what. What a Service holds and may hold it keeps; then, oldest first, those who ask for certain addresses are
//! served, and then everybody else.

use crate::{Pool, Request, pool, sharing};
use model::{Family, ObjectName};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The outcome for all Services and all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By Service.
    pub grants: BTreeMap<ObjectName, Grant>,
    /// By pool.
    pub pools: BTreeMap<String, PoolReport>,
}

/// What a Service has from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its addresses, in the order of its status.
    pub addresses: Vec<IpAddr>,
    /// Whether that is what it asked for.
    pub verdict: Verdict,
}

/// Whether a request is satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Satisfied,
    /// It is not.
    Unsatisfied {
        /// For programs; Cilium's words.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// How a pool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// Why nothing new is given.
    pub conflict: Option<String>,
    /// Addresses that it has.
    pub total: u128,
    /// Addresses of it that are given.
    pub used: u128,
}

impl PoolReport {
    /// Addresses that it has left.
    #[must_use]
    pub fn available(&self) -> u128 {
        self.total.saturating_sub(self.used)
    }
}

/// Plans for all Services that are ours, and all pools.
#[must_use]
pub fn plan(pools: &[Pool], requests: &[Request]) -> Plan {
    let mut pools = pools.to_vec();
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    let pools = pools.as_slice();
    let mut conflicts = pool::conflicts(pools);
    for (index, pool) in pools.iter().enumerate() {
        if let Some(why) = &pool.invalid {
            conflicts.insert(index, why.clone());
        }
    }
    let mut by_age: Vec<&Request> = requests.iter().collect();
    by_age.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let mut planning = Planning {
        pools,
        conflicts: &conflicts,
        taken: BTreeMap::new(),
        shared: BTreeMap::new(),
        next: BTreeMap::new(),
    };
    let mut grants: BTreeMap<&ObjectName, Grant> = BTreeMap::new();
    for request in &by_age {
        let addresses = planning.keep(request);
        grants.insert(&request.name, Grant { addresses, verdict: Verdict::Satisfied });
    }
    let (certain, any): (Vec<&Request>, Vec<&Request>) = by_age.into_iter().partition(|one| !one.wanted.is_empty());
    for request in &certain {
        if let Some(grant) = grants.get_mut(&request.name) {
            planning.give_wanted(request, &mut grant.addresses);
        }
    }
    for request in any {
        if let Some(grant) = grants.get_mut(&request.name) {
            let missed = planning.give_any(request, &mut grant.addresses);
            grant.verdict = judged(request, missed);
        }
    }
    // Who is in the way is told last: by then everybody has what they will have, in this plan and in the next.
    for request in certain {
        if let Some(grant) = grants.get_mut(&request.name) {
            let mut missing = request.wanted.iter().filter(|address| !grant.addresses.contains(address));
            let missed = missing.find_map(|address| planning.refusal(request, *address));
            grant.verdict = judged(request, missed);
        }
    }
    let report = |(index, pool): (usize, &Pool)| {
        let used = |range: &crate::Range| planning.taken.range(range.first()..=range.last()).count() as u128;
        let report = PoolReport {
            conflict: conflicts.get(&index).cloned(),
            total: pool.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.size())),
            used: pool.ranges.iter().map(used).sum(),
        };
        (pool.name.clone(), report)
    };
    Plan {
        pools: pools.iter().enumerate().map(report).collect(),
        grants: grants.into_iter().map(|(name, grant)| (name.clone(), grant)).collect(),
    }
}

struct Planning<'a> {
    pools: &'a [Pool],
    conflicts: &'a BTreeMap<usize, String>,
    /// Who has each address; more than one only when they share.
    taken: BTreeMap<IpAddr, Vec<&'a Request>>,
    /// Addresses of each sharing key.
    shared: BTreeMap<&'a str, BTreeSet<IpAddr>>,
    /// Where to go on looking, by place of pool and range: nothing becomes free while planning.
    next: BTreeMap<(usize, usize), Option<IpAddr>>,
}

impl<'a> Planning<'a> {
    /// What the Service holds and still may: of a pool that selects it, asked for, and nobody's with a better right.
    fn keep(&mut self, request: &'a Request) -> Vec<IpAddr> {
        let mut kept: Vec<IpAddr> = Vec::new();
        for &address in &request.held {
            let family = Family::of(address);
            let asked = if request.wanted.is_empty() {
                request.unreadable.is_none()
                    && request.families.contains(&family)
                    && !kept.iter().any(|other| Family::of(*other) == family)
            } else {
                request.wanted.contains(&address) && !kept.contains(&address)
            };
            let pooled = self.pools.iter().any(|pool| pool.contains(address) && pool.selects(&request.metadata));
            if asked && pooled && self.obstacle(request, address).is_none() {
                self.take(request, address);
                kept.push(address);
            }
        }
        kept
    }

    fn give_wanted(&mut self, request: &'a Request, addresses: &mut Vec<IpAddr>) {
        for address in request.wanted.iter().copied() {
            if !addresses.contains(&address) && self.refusal(request, address).is_none() {
                self.take(request, address);
                addresses.push(address);
            }
        }
    }

    /// Why the Service does not get an address that it asks for.
    fn refusal(&self, request: &Request, address: IpAddr) -> Option<Verdict> {
        let giving: Vec<&Pool> = self.giving().map(|(_, pool)| pool).filter(|pool| pool.contains(address)).collect();
        if giving.is_empty() {
            return Some(unsatisfied("no_pool", format!("No pool that gives addresses contains {address}")));
        }
        if !giving.iter().any(|pool| pool.selects(&request.metadata)) {
            let message = format!("The pool that contains {address} doesn't select this Service");
            return Some(unsatisfied("pool_selector_mismatch", message));
        }
        let (holder, why) = self.obstacle(request, address)?;
        let holder = &holder.name;
        Some(match request.sharing_key {
            None => unsatisfied("already_allocated", format!("{address} belongs to Service {holder}")),
            Some(_) => unsatisfied(
                "already_allocated_incompatible_service",
                format!("{address} can't be shared with Service {holder}: {why}"),
            ),
        })
    }

    fn give_any(&mut self, request: &'a Request, addresses: &mut Vec<IpAddr>) -> Option<Verdict> {
        let mut missed = None;
        for &family in &request.families {
            if request.unreadable.is_some() || addresses.iter().any(|address| Family::of(*address) == family) {
                continue;
            }
            match self.shareable(request, family).map_or_else(|| self.lowest_free(request, family), Ok) {
                Ok(address) => {
                    self.take(request, address);
                    addresses.push(address);
                }
                Err(verdict) => missed = missed.or(Some((family, verdict))),
            }
        }
        let (family, verdict) = missed?;
        let known =
            |pool: &Pool| pool.selects(&request.metadata) && pool.ranges.iter().any(|range| range.family() == family);
        let not_missed = request.tolerant && !addresses.is_empty() && !self.pools.iter().any(known);
        (!not_missed).then_some(verdict)
    }

    /// An address of the Service's sharing key that it may have too.
    fn shareable(&self, request: &Request, family: Family) -> Option<IpAddr> {
        let of_key = self.shared.get(request.sharing_key.as_deref()?)?;
        of_key.iter().copied().filter(|address| Family::of(*address) == family).find(|address| {
            let selected = |(_, pool): (usize, &Pool)| pool.contains(*address) && pool.selects(&request.metadata);
            self.obstacle(request, *address).is_none() && self.giving().any(selected)
        })
    }

    fn lowest_free(&mut self, request: &Request, family: Family) -> Result<IpAddr, Verdict> {
        let pools: Vec<(usize, &Pool)> = self.giving().filter(|(_, pool)| pool.selects(&request.metadata)).collect();
        let mut full = false;
        for (index, pool) in pools {
            for (place, range) in pool.ranges.iter().enumerate().filter(|(_, range)| range.family() == family) {
                let next = self.next.entry((index, place)).or_insert(Some(range.first()));
                while let Some(address) = *next {
                    if !self.taken.contains_key(&address) {
                        return Ok(address);
                    }
                    *next = range.after(address);
                }
                full = true;
            }
        }
        Err(if full {
            unsatisfied(
                "out_of_ips",
                format!("All pools with {} addresses that select this Service are used up", named(family)),
            )
        } else {
            unsatisfied(
                "no_pool",
                format!("No pool with {} addresses that gives any selects this Service", named(family)),
            )
        })
    }

    /// Pools that give new addresses, by name.
    fn giving(&self) -> impl Iterator<Item = (usize, &'a Pool)> + use<'a, '_> {
        let all = self.pools.iter().enumerate();
        all.filter(|(index, pool)| !pool.disabled && !self.conflicts.contains_key(index))
    }

    /// Who has the address and does not share it with this Service, and why not.
    fn obstacle(&self, request: &Request, address: IpAddr) -> Option<(&'a Request, &'static str)> {
        let holders = self.taken.get(&address)?;
        let obstacles = holders.iter().filter_map(|holder| Some((*holder, sharing::obstacle(holder, request)?)));
        obstacles.min_by(|(a, _), (b, _)| a.name.cmp(&b.name))
    }

    fn take(&mut self, request: &'a Request, address: IpAddr) {
        self.taken.entry(address).or_default().push(request);
        if let Some(key) = &request.sharing_key {
            self.shared.entry(key).or_default().insert(address);
        }
    }
}

fn judged(request: &Request, missed: Option<Verdict>) -> Verdict {
    match (missed, &request.unreadable) {
        (Some(missed), _) => missed,
        (None, Some(text)) => unsatisfied("invalid_ip", format!("{text:?} is no address")),
        (None, None) => Verdict::Satisfied,
    }
}

fn unsatisfied(reason: &'static str, message: String) -> Verdict {
    Verdict::Unsatisfied { reason, message }
}

fn named(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "plan_properties.rs"]
mod properties;
