//! A pool, as planning needs it.

use crate::range::{Ends, Range};
use custom_resources::{CiliumLoadBalancerIPPool, IpPoolSpec, matches_service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::{collections::BTreeMap, net::IpAddr};

/// A `CiliumLoadBalancerIPPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// When it was created, in seconds; with the name this is its age among others.
    pub created: i64,
    /// Its usable addresses.
    pub ranges: Vec<Range>,
    /// Why it can't be used as it is written.
    pub invalid: Option<String>,
    /// Nothing new is given.
    pub disabled: bool,
    selector: Option<LabelSelector>,
}

impl Pool {
    /// A pool of the API. What can't be read of it is told in `invalid`.
    #[must_use]
    pub fn of(object: &CiliumLoadBalancerIPPool) -> Self {
        let IpPoolSpec { service_selector, allow_first_last_ips, blocks, disabled } = &object.spec;
        // Cilium's default since 1.16.
        let ends = if allow_first_last_ips.as_deref() == Some("No") { Ends::Left } else { Ends::Given };
        let (mut ranges, mut invalid) = (Vec::new(), None);
        for block in blocks {
            match Range::of_block(block, ends) {
                Ok(range) => ranges.push(range),
                Err(error) => invalid = invalid.or(Some(error.0)),
            }
        }
        if let Err(error) = matches_service(service_selector.as_ref(), &ObjectMeta::default()) {
            invalid = invalid.or(Some(error.message));
        }
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            created: object.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second()),
            ranges,
            invalid,
            disabled: *disabled,
            selector: service_selector.clone(),
        }
    }

    /// Whether a Service may have addresses from here; a selector without meaning selects nothing.
    pub(crate) fn selects(&self, service: &ObjectMeta) -> bool {
        matches_service(self.selector.as_ref(), service).unwrap_or(false)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }
}

/// Why a pool gives nothing new, by the pool's place in `pools`: an older pool has some of its addresses, or it names
/// some twice. A pool that gives nothing for such a reason is in nobody's way.
pub(crate) fn conflicts(pools: &[Pool]) -> BTreeMap<usize, String> {
    let mut by_age: Vec<usize> = (0..pools.len()).collect();
    by_age.sort_by(|a, b| (pools[*a].created, &pools[*a].name).cmp(&(pools[*b].created, &pools[*b].name)));
    let mut occupied = Occupied::default();
    let mut conflicts = BTreeMap::new();
    for index in by_age {
        let mut own = Occupied::default();
        let mut why = None;
        for range in &pools[index].ranges {
            if let Some((other, owner)) = occupied.overlapping(range) {
                why = Some(format!("{range} overlaps {other} of pool {}", pools[owner].name));
            } else if let Some((other, _)) = own.overlapping(range) {
                why = Some(format!("{range} overlaps {other} of the same pool"));
            }
            own.insert(*range, index);
            if why.is_some() {
                break;
            }
        }
        match why {
            Some(why) => {
                conflicts.insert(index, why);
            }
            None => occupied.0.extend(own.0),
        }
    }
    conflicts
}

/// Ranges that don't overlap, by their first address.
#[derive(Default)]
struct Occupied(BTreeMap<IpAddr, (Range, usize)>);

impl Occupied {
    fn overlapping(&self, range: &Range) -> Option<(Range, usize)> {
        let (other, owner) = self.0.range(..=range.last()).next_back()?.1;
        (other.last() >= range.first()).then_some((*other, *owner))
    }

    fn insert(&mut self, range: Range, owner: usize) {
        self.0.insert(range.first(), (range, owner));
    }
}
