//! Prefixes that policies name.

use crate::rule::{Peer, Peers, Policy};
use crate::subject::NodeFacts;
use datapath_layouts::PrefixKey;
use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Without bits behind its length; an IPv4 prefix in its mapped form (RFC 4291 §2.5.5.2) is the IPv4 one.
pub(super) fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(net) = Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return IpNet::V4(net.trunc());
    }
    net.trunc()
}

/// Whether one holds all of the other; both are canonical.
pub(super) fn contains(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other)
}

pub(super) fn key(net: &IpNet) -> PrefixKey {
    PrefixKey::from_ip(net.addr(), net.prefix_len())
}

/// Back from a key; `None` where no plan could have written it.
pub(super) fn net(key: &PrefixKey) -> Option<IpNet> {
    let (ip, bits) = key.to_ip();
    IpNet::new(ip, bits).ok()
}

/// What holds IPv4 addresses in the map, where `::/0` would otherwise hold them too.
const ALL_IPV4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

/// All prefixes that these policies name.
pub(super) fn named<'a>(policies: impl Iterator<Item = &'a Policy>, nodes: &[NodeFacts]) -> BTreeSet<IpNet> {
    let mut all = BTreeSet::new();
    for rule in policies.flat_map(|policy| &policy.rules) {
        let Peers::OneOf(peers) = &rule.peers else { continue };
        for peer in peers {
            match peer {
                Peer::Cidr { net, except, .. } => {
                    all.insert(canonical(*net));
                    all.extend(except.iter().copied().map(canonical));
                }
                Peer::Nodes(selector) => {
                    let selected = nodes.iter().filter(|node| selector.matches(&node.labels));
                    all.extend(selected.flat_map(|node| &node.addresses).map(|ip| canonical(IpNet::from(*ip))));
                }
                _ => {}
            }
        }
    }
    if !all.is_empty() {
        all.insert(ALL_IPV4);
    }
    all
}
