//! One range of addresses, counted by offset from its start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A Pod range of the node. Offset 0 is the network's own address, 1 the node's (as gateway or router address), and
/// the last of an IPv4 range its broadcast address: none of these is given to a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    net: IpNet,
}

impl Range {
    pub(crate) fn new(net: IpNet) -> Self {
        Self { net: net.trunc() }
    }

    pub(crate) fn net(self) -> IpNet {
        self.net
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        self.net.contains(&address)
    }

    /// First and last offset that a Pod can have; `None` if there is none.
    fn usable(self) -> Option<(u128, u128)> {
        let host_bits = u32::from(self.net.max_prefix_len() - self.net.prefix_len());
        // The whole of IPv6 has one address more than u128 counts; nobody will miss it.
        let last = 1u128.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1);
        let last = if self.net.addr().is_ipv4() { last.checked_sub(1)? } else { last };
        (last >= FIRST).then_some((FIRST, last))
    }

    /// How many Pods can have an address of it.
    pub(crate) fn capacity(self) -> u128 {
        self.usable().map_or(0, |(first, last)| (last - first).saturating_add(1))
    }

    /// All addresses that a Pod can have, once around, beginning after `cursor`.
    pub(crate) fn addresses_after(self, cursor: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let usable = self.usable();
        let start = match (usable, cursor.filter(|address| self.contains(*address))) {
            (Some((first, last)), Some(address)) => {
                let next = self.offset(address).wrapping_add(1);
                if (first..=last).contains(&next) { next } else { first }
            }
            _ => FIRST,
        };
        usable.into_iter().flat_map(move |(first, last)| (start..=last).chain(first..start)).map(move |o| self.at(o))
    }

    fn offset(self, address: IpAddr) -> u128 {
        bits(address).wrapping_sub(bits(self.net.network()))
    }

    fn at(self, offset: u128) -> IpAddr {
        let bits = bits(self.net.network()).wrapping_add(offset);
        match self.net {
            // An offset inside of an IPv4 range leaves the upper 96 bits zero.
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// After the network's own address and the node's.
const FIRST: u128 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(net: &str, cursor: Option<&str>) -> Vec<String> {
        let range = Range::new(net.parse().unwrap());
        range.addresses_after(cursor.map(|c| c.parse().unwrap())).take(1000).map(|a| a.to_string()).collect()
    }

    #[test]
    fn network_node_and_broadcast_are_left_out() {
        let addresses = all("10.244.1.0/24", None);
        assert_eq!(
            (addresses.len(), addresses[0].as_str(), addresses[252].as_str()),
            (253, "10.244.1.2", "10.244.1.254")
        );
        assert_eq!(all("10.244.1.0/30", None), ["10.244.1.2"]);
        for empty in ["10.244.1.0/31", "10.244.1.0/32", "fd00::/127", "fd00::/128"] {
            assert!(all(empty, None).is_empty(), "{empty}");
        }
        assert_eq!(all("fd00::/126", None), ["fd00::2", "fd00::3"]);
        assert_eq!(all("fd00::/64", None)[..2], ["fd00::2", "fd00::3"]);
        assert_eq!(all("::/0", None)[0], "::2");
    }

    #[test]
    fn once_around_from_the_cursor() {
        assert_eq!(all("10.0.0.0/29", Some("10.0.0.4")), ["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        assert_eq!(all("10.0.0.0/29", Some("10.0.0.6"))[0], "10.0.0.2");
        assert_eq!(all("10.0.0.0/29", Some("10.0.0.7"))[0], "10.0.0.2");
        assert_eq!(all("10.0.0.0/29", Some("192.0.2.1"))[0], "10.0.0.2", "a cursor of another range");
        assert_eq!(all("fd00::/126", Some("fd00::3")), ["fd00::2", "fd00::3"]);
    }
}
