//! The address ranges of a lab, and who gets which part. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A range in each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dual {
    pub v4: Ipv4Net,
    pub v6: Ipv6Net,
}

/// Every range of a lab. They do not overlap each other, nor [`OUTSIDE_NET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnets {
    /// What kind's container network is: the nodes and, as the first address, the fabric.
    pub nodes: Dual,
    /// A /24 and a /64 of it for each node.
    pub pods: Dual,
    pub services: Dual,
}

/// Why ranges do not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("{option} {text:?}: write a CIDR such as {example}, or one of each family separated by a comma")]
    NoCidr { option: &'static str, text: String, example: String },
    #[error("{option} {given} has host bits set: write {network}")]
    HostBits { option: &'static str, given: IpNet, network: IpNet },
    #[error("{option} names two ranges of one family: {text:?}")]
    SameFamily { option: &'static str, text: String },
    #[error("{option} {given} does not fit: {why}")]
    Size { option: &'static str, given: IpNet, why: String },
    #[error("{a_name} {a} and {b_name} {b} overlap: choose another with {option}")]
    Overlap { a_name: &'static str, a: IpNet, b_name: &'static str, b: IpNet, option: &'static str },
}

impl Dual {
    /// Both ranges, IPv4 first.
    #[must_use]
    pub fn both(&self) -> [IpNet; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// As Kubernetes' flags want it: comma separated, IPv4 first.
    #[must_use]
    pub fn comma_separated(&self) -> String {
        format!("{},{}", self.v4, self.v6)
    }

    /// The defaults with what `text` says put in their place.
    fn resolve(self, option: &'static str, text: Option<&str>) -> Result<Self, SubnetError> {
        let mut result = self;
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(result) };
        let (mut seen_v4, mut seen_v6) = (false, false);
        for part in text.split(',').map(str::trim) {
            let net: IpNet = part.parse().map_err(|_| SubnetError::NoCidr {
                option,
                text: text.to_owned(),
                example: self.v4.to_string(),
            })?;
            if net.addr() != net.network() {
                return Err(SubnetError::HostBits { option, given: net, network: net.trunc() });
            }
            let seen = match net {
                IpNet::V4(net) => {
                    result.v4 = net;
                    &mut seen_v4
                }
                IpNet::V6(net) => {
                    result.v6 = net;
                    &mut seen_v6
                }
            };
            if std::mem::replace(seen, true) {
                return Err(SubnetError::SameFamily { option, text: text.to_owned() });
            }
        }
        Ok(result)
    }
}

impl Subnets {
    /// The ranges for a lab of `nodes` nodes; each option is a CIDR, or one of each family with a comma between.
    pub fn resolve(
        nodes: usize,
        node_subnet: Option<&str>,
        pod_subnet: Option<&str>,
        service_subnet: Option<&str>,
    ) -> Result<Self, SubnetError> {
        let subnets = Self {
            nodes: DEFAULT_NODE_NET.resolve(NODE_OPTION, node_subnet)?,
            pods: DEFAULT_POD_NET.resolve(POD_OPTION, pod_subnet)?,
            services: DEFAULT_SERVICE_NET.resolve(SERVICE_OPTION, service_subnet)?,
        };
        subnets.check_sizes(nodes)?;
        subnets.check_overlaps()?;
        Ok(subnets)
    }

    /// The fabric's own addresses: the first of the node range. The forwarder's clients are seen as these.
    #[must_use]
    pub fn fabric(&self) -> (Ipv4Addr, Ipv6Addr) {
        (nth_v4(self.nodes.v4, 1), nth_v6(self.nodes.v6, 1))
    }

    /// Addresses of the node at `index` (0 is the control plane): the second and following of the node range.
    #[must_use]
    pub fn node(&self, index: usize) -> (Ipv4Addr, Ipv6Addr) {
        let offset = FIRST_NODE + index as u32;
        (nth_v4(self.nodes.v4, offset), nth_v6(self.nodes.v6, u128::from(offset)))
    }

    /// The `n`th address of each Service range: the API is the first, the DNS the tenth (kubeadm).
    #[must_use]
    pub fn nth_service(&self, n: u32) -> [IpAddr; 2] {
        [nth_v4(self.services.v4, n).into(), nth_v6(self.services.v6, u128::from(n)).into()]
    }

    /// The Pod ranges of the node at `index`: a /24 and a /64.
    #[must_use]
    pub fn pod_ranges(&self, index: usize) -> Dual {
        let v4 = u32::from(self.pods.v4.network()).wrapping_add((index as u32) << (32 - NODE_PODS_V4));
        let v6 = u128::from(self.pods.v6.network()).wrapping_add((index as u128) << (128 - NODE_PODS_V6));
        Dual { v4: net_v4(v4, NODE_PODS_V4), v6: net_v6(v6, NODE_PODS_V6) }
    }

    fn check_sizes(&self, nodes: usize) -> Result<(), SubnetError> {
        let too_small = |option, given: IpNet, why: String| Err(SubnetError::Size { option, given, why });
        // Network, fabric, nodes, broadcast.
        let needed = FIRST_NODE as u128 + nodes as u128 + 1;
        for net in self.nodes.both() {
            let bits = u32::from(net.max_prefix_len() - net.prefix_len());
            if bits < 128 && (1u128 << bits) < needed {
                return too_small(NODE_OPTION, net, format!("{nodes} nodes and the fabric need {needed} addresses"));
            }
        }
        for (net, per_node) in [(self.pods.v4.into(), NODE_PODS_V4), (self.pods.v6.into(), NODE_PODS_V6)] {
            let net: IpNet = net;
            let fits = per_node
                .checked_sub(net.prefix_len())
                .is_some_and(|bits| bits >= 64 || (1u128 << bits) >= nodes as u128);
            if !fits {
                return too_small(POD_OPTION, net, format!("each of the {nodes} nodes takes a /{per_node} of it"));
            }
        }
        // Kubernetes' own bounds: at most 20 bits, room for the API's address and the DNS at .10.
        for net in self.services.both() {
            let bits = net.max_prefix_len() - net.prefix_len();
            if !(4..=20).contains(&bits) {
                let (widest, narrowest) = (net.max_prefix_len() - 20, net.max_prefix_len() - 4);
                return too_small(SERVICE_OPTION, net, format!("write a prefix from /{widest} to /{narrowest}"));
            }
        }
        Ok(())
    }

    fn check_overlaps(&self) -> Result<(), SubnetError> {
        let ours = [
            ("node range", NODE_OPTION, self.nodes),
            ("Pod range", POD_OPTION, self.pods),
            ("Service range", SERVICE_OPTION, self.services),
        ];
        for (index, (a_name, option, a)) in ours.iter().enumerate() {
            for a in a.both() {
                for (b_name, b) in reserved() {
                    if overlap(a, b) {
                        return Err(SubnetError::Overlap { a_name, a, b_name, b, option });
                    }
                }
                for (b_name, option, b) in &ours[index + 1..] {
                    if let Some(b) = b.both().into_iter().find(|b| overlap(a, *b)) {
                        return Err(SubnetError::Overlap { a_name, a, b_name, b, option });
                    }
                }
            }
        }
        Ok(())
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Ranges that no lab may use: what the lab's outside is, and what means something else everywhere.
fn reserved() -> [(&'static str, IpNet); 9] {
    let v4 = |a, b, c, d, prefix| IpNet::V4(net_v4(u32::from(Ipv4Addr::new(a, b, c, d)), prefix));
    let v6 = |first: u16, prefix| IpNet::V6(net_v6(u128::from(first) << 112, prefix));
    [
        ("the outside network", OUTSIDE_NET.v4.into()),
        ("the outside network", OUTSIDE_NET.v6.into()),
        ("loopback", v4(127, 0, 0, 0, 8)),
        ("link-local", v4(169, 254, 0, 0, 16)),
        ("multicast and reserved", v4(224, 0, 0, 0, 3)),
        ("this network", v4(0, 0, 0, 0, 8)),
        ("link-local", v6(0xfe80, 10)),
        ("multicast", v6(0xff00, 8)),
        ("loopback and mapped", v6(0, 8)),
    ]
}

fn nth_v4(net: Ipv4Net, n: u32) -> Ipv4Addr {
    u32::from(net.network()).wrapping_add(n).into()
}

fn nth_v6(net: Ipv6Net, n: u128) -> Ipv6Addr {
    u128::from(net.network()).wrapping_add(n).into()
}

/// `prefix` is at most 32.
fn net_v4(address: u32, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(address), prefix)
}

/// `prefix` is at most 128.
fn net_v6(address: u128, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(address), prefix)
}

/// The outside host's addresses: the second of [`OUTSIDE_NET`]; the fabric has the first.
#[must_use]
pub fn outside_host() -> [IpAddr; 2] {
    [nth_v4(OUTSIDE_NET.v4, 2).into(), nth_v6(OUTSIDE_NET.v6, 2).into()]
}

/// The fabric's addresses towards the outside host.
#[must_use]
pub fn outside_gateway() -> [IpAddr; 2] {
    [nth_v4(OUTSIDE_NET.v4, 1).into(), nth_v6(OUTSIDE_NET.v6, 1).into()]
}

/// kind's container network as Docker and Podman make it.
const DEFAULT_NODE_NET: Dual = Dual {
    v4: Ipv4Net::new_assert(Ipv4Addr::new(172, 18, 0, 0), 16),
    v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0xf853, 0xccd, 0xe793, 0, 0, 0, 0), 64),
};
/// kind's defaults.
const DEFAULT_POD_NET: Dual = Dual {
    v4: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16),
    v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0), 56),
};
/// kubeadm's default, and kind's beside it.
const DEFAULT_SERVICE_NET: Dual = Dual {
    v4: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12),
    v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112),
};
/// TEST-NET-3 (RFC 5737) and a piece of the documentation prefix (RFC 3849): nothing real answers there.
pub const OUTSIDE_NET: Dual = Dual {
    v4: Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    v6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0), 64),
};
/// kube-controller-manager's `--node-cidr-mask-size-ipv4` and `-ipv6`.
const NODE_PODS_V4: u8 = 24;
const NODE_PODS_V6: u8 = 64;
/// Network address, then the fabric, then the nodes.
const FIRST_NODE: u32 = 2;
const NODE_OPTION: &str = "--node-subnet";
const POD_OPTION: &str = "--pod-subnet";
const SERVICE_OPTION: &str = "--service-subnet";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: usize, node: &str, pod: &str, service: &str) -> Result<Subnets, SubnetError> {
        Subnets::resolve(nodes, Some(node), Some(pod), Some(service))
    }

    #[test]
    fn defaults_are_the_three_worlds() {
        let subnets = check(3, "", "", "").unwrap();
        assert_eq!(subnets.node(0).0.to_string(), "172.18.0.2");
        assert_eq!(subnets.node(2).1.to_string(), "fc00:f853:ccd:e793::4");
        assert_eq!(subnets.fabric().0.to_string(), "172.18.0.1");
        assert_eq!(subnets.pod_ranges(2).comma_separated(), "10.244.2.0/24,fd00:10:244:2::/64");
        assert_eq!(subnets.services.comma_separated(), "10.96.0.0/12,fd00:10:96::/112");
        assert_eq!(outside_host()[0].to_string(), "203.0.113.2");
    }

    #[test]
    fn one_family_may_be_given_alone() {
        let subnets = check(1, "192.168.7.0/24", "fd99::/48", "fd98::/112,10.0.0.0/16").unwrap();
        assert_eq!(subnets.nodes.comma_separated(), "192.168.7.0/24,fc00:f853:ccd:e793::/64");
        assert_eq!(subnets.pods.comma_separated(), "10.244.0.0/16,fd99::/48");
        assert_eq!(subnets.services.comma_separated(), "10.0.0.0/16,fd98::/112");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_option_to_use() {
        for (nodes, node, pod, service, says) in [
            (3, "172.18.0.0", "", "", "--node-subnet"),
            (3, "172.18.0.1/16", "", "", "write 172.18.0.0/16"),
            (3, "172.18.0.0/29,10.5.0.0/16", "", "", "two ranges of one family"),
            (6, "172.18.0.0/29", "", "", "need 9 addresses"),
            (3, "", "10.244.0.0/23", "", "takes a /24"),
            (3, "", "10.244.0.0/25", "", "takes a /24"),
            (5, "", "fd00:1::/62", "", "takes a /64"),
            (3, "", "", "10.0.0.0/8", "/12"),
            (3, "", "", "10.0.0.0/30", "/28"),
            (3, "", "10.96.0.0/16", "", "overlap"),
            (3, "203.0.0.0/16", "", "", "outside"),
            (3, "", "169.254.0.0/16", "", "link-local"),
            (3, "", "", "::/112", "loopback and mapped"),
        ] {
            let error = check(nodes, node, pod, service).expect_err(says).to_string();
            assert!(error.contains(says), "{error} / {says}");
        }
    }
}
