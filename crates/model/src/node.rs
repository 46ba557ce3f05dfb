//! A node as the network sees it.

use crate::{Family, NodeName};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A node of the cluster: where it is and which Pods it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// `status.addresses` of type InternalIP, in the object's order.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_ranges: Vec<IpNet>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// Its labels, as the object has them.
    pub labels: BTreeMap<Box<str>, Box<str>>,
}

impl Node {
    /// Its first address of a family.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|&a| Family::of(a) == family)
    }

    /// Where tunnels to this node end: its IPv4 address, or the IPv6 one where it has no other.
    #[must_use]
    pub fn underlay(&self) -> Option<IpAddr> {
        self.address(Family::V4).or_else(|| self.address(Family::V6))
    }

    /// Whether an address is the node's own or in one of its Pod ranges.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.pod_ranges.iter().any(|range| range.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underlay_prefers_ipv4() {
        let mut node = Node {
            name: "worker-1".into(),
            addresses: vec!["fc00::3".parse().unwrap(), "172.18.0.3".parse().unwrap()],
            pod_ranges: vec!["10.244.1.0/24".parse().unwrap()],
            zone: None,
            labels: BTreeMap::new(),
        };
        assert_eq!(node.underlay(), Some("172.18.0.3".parse().unwrap()));
        assert!(node.holds("10.244.1.9".parse().unwrap()) && !node.holds("10.244.2.9".parse().unwrap()));
        node.addresses.pop();
        assert_eq!(node.underlay(), Some("fc00::3".parse().unwrap()));
    }
}
