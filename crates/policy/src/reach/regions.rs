//! Addresses that no policy tells apart.

use crate::rule::{Peer, Peers, Policy};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one family that are in the same prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// One of them.
    pub address: IpAddr,
    /// Another one, where there are two.
    pub another: Option<IpAddr>,
    /// The longest prefix that holds them; none: in no prefix that is named.
    pub within: Option<IpNet>,
}

/// Every prefix that policies name, with the ones that they except.
#[must_use]
pub fn prefixes<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> BTreeSet<IpNet> {
    let mut all = BTreeSet::new();
    for rule in policies.into_iter().flat_map(|policy| &policy.rules) {
        let Peers::OneOf(peers) = &rule.peers else { continue };
        for peer in peers {
            if let Peer::Cidr { net, except, .. } = peer {
                all.insert(net.trunc());
                all.extend(except.iter().map(IpNet::trunc));
            }
        }
    }
    all
}

/// One region for each set of prefixes that an address can be in, in one family.
#[must_use]
pub fn regions(prefixes: &BTreeSet<IpNet>, v4: bool) -> Vec<Region> {
    let mine: Vec<&IpNet> = prefixes.iter().filter(|net| net.addr().is_ipv4() == v4).collect();
    // Between two neighbouring borders nothing changes.
    let mut borders = BTreeSet::from([0]);
    for net in &mine {
        borders.insert(number(net.network()));
        borders.extend(number(net.broadcast()).checked_add(1));
    }
    let held = |address: &IpAddr| -> Vec<bool> { mine.iter().map(|net| net.contains(address)).collect() };
    // Documentation's addresses first: a region that has one is told by it.
    let usual = USUAL.into_iter().filter(|address| address.is_ipv4() == v4).map(number);
    let borders = usual.chain(borders);
    let mut found: BTreeMap<Vec<bool>, Region> = BTreeMap::new();
    for border in borders {
        let Some(address) = address(border, v4) else { continue };
        let inside = held(&address);
        let next = border.checked_add(1).and_then(|next| self::address(next, v4));
        let another = next.filter(|next| held(next) == inside);
        let longest = mine.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
        let within = longest.map(|net| **net);
        let region = found.entry(inside).or_insert(Region { address, another, within });
        if region.another.is_none() && region.address != address {
            region.another = Some(address);
        }
    }
    found.into_values().collect()
}

/// RFC 5737 §3, RFC 3849 §2.
const USUAL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, v4: bool) -> Option<IpAddr> {
    if v4 { u32::try_from(number).ok().map(|n| Ipv4Addr::from(n).into()) } else { Some(Ipv6Addr::from(number).into()) }
}
