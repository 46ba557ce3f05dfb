//! The topology of a lab: namespaces, links, addresses, routes, sysctls. Pure: the same [`LabSpec`] gives the same plan.
//!
//! ```text
//!  control-plane   worker-1   worker-2          each: eth0 in the node range, default route to the fabric
//!        │            │          │
//!   ┌────┴────────────┴──────────┴────┐
//!   │ br0            fabric           │         forwards; knows no Pod and no Service route
//!   └──────────────┬──────────────────┘
//!                  │ outside
//!               outside                         stands for the Internet
//! ```

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    name::{FABRIC, OUTSIDE},
    spec::LabSpec,
    subnets::{OUTSIDE_NET, outside_gateway, outside_host},
};

/// Everything that [`crate::apply`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// In the order of creation.
    pub namespaces: Vec<NamespacePlan>,
    /// Made after all namespaces; a bridge before its ports.
    pub links: Vec<LinkPlan>,
}

/// A namespace and what is inside, links aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacePlan {
    /// Name under `/run/netns`.
    pub name: String,
    /// Written before any link exists, so that every link is born with them.
    pub sysctls: Vec<Sysctl>,
    pub addresses: Vec<AddressPlan>,
    pub routes: Vec<RoutePlan>,
}

/// One file under `/proc/sys`, written inside the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// With slashes: `net/ipv4/ip_forward`.
    pub path: &'static str,
    pub value: &'static str,
    /// Whether its absence (a module that is not loaded) is fine.
    pub optional: bool,
}

/// An address of a link, without duplicate address detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPlan {
    pub link: &'static str,
    /// The address with the prefix of its network.
    pub address: IpNet,
}

/// A route through a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    pub destination: IpNet,
    pub gateway: IpAddr,
}

/// A link or a pair of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkPlan {
    Bridge {
        end: End,
    },
    /// `ends.1` lives in another namespace than `ends.0`; `bridge` is the master of `ends.0`.
    Veth {
        ends: (End, End),
        bridge: Option<&'static str>,
    },
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub namespace: String,
    pub name: String,
    pub mac: [u8; 6],
}

/// Plans the topology of `lab`.
#[must_use]
pub fn topology(lab: &LabSpec) -> Topology {
    let mut namespaces = vec![fabric(lab), outside(lab)];
    let mut links = vec![
        LinkPlan::Bridge {
            end: End { namespace: lab.name.namespace(FABRIC), name: BRIDGE.to_owned(), mac: mac(0, 0) },
        },
        LinkPlan::Veth {
            ends: (
                End { namespace: lab.name.namespace(FABRIC), name: OUTSIDE.to_owned(), mac: mac(1, 0) },
                End { namespace: lab.name.namespace(OUTSIDE), name: DEVICE.to_owned(), mac: mac(2, 0) },
            ),
            bridge: None,
        },
    ];
    for (index, node) in lab.nodes.iter().enumerate() {
        namespaces.push(node_namespace(lab, index));
        links.push(LinkPlan::Veth {
            ends: (
                End { namespace: lab.name.namespace(FABRIC), name: port_name(index), mac: mac(3, index) },
                End { namespace: lab.name.namespace(&node.name), name: DEVICE.to_owned(), mac: mac(4, index) },
            ),
            bridge: Some(BRIDGE),
        });
    }
    Topology { namespaces, links }
}

fn fabric(lab: &LabSpec) -> NamespacePlan {
    let (v4, v6) = lab.subnets.fabric();
    let gateway = outside_gateway();
    NamespacePlan {
        name: lab.name.namespace(FABRIC),
        sysctls: [FORWARDING, ANY_SOURCE, STATIC_IPV6, PLAIN_BRIDGE, MANY_CONNECTIONS].concat(),
        addresses: vec![
            AddressPlan { link: BRIDGE, address: within(v4.into(), lab.subnets.nodes.v4.into()) },
            AddressPlan { link: BRIDGE, address: within(v6.into(), lab.subnets.nodes.v6.into()) },
            AddressPlan { link: OUTSIDE, address: within(gateway[0], OUTSIDE_NET.v4.into()) },
            AddressPlan { link: OUTSIDE, address: within(gateway[1], OUTSIDE_NET.v6.into()) },
        ],
        routes: Vec::new(),
    }
}

fn outside(lab: &LabSpec) -> NamespacePlan {
    let host = outside_host();
    NamespacePlan {
        name: lab.name.namespace(OUTSIDE),
        sysctls: [ANY_SOURCE, STATIC_IPV6].concat(),
        addresses: vec![
            AddressPlan { link: DEVICE, address: within(host[0], OUTSIDE_NET.v4.into()) },
            AddressPlan { link: DEVICE, address: within(host[1], OUTSIDE_NET.v6.into()) },
        ],
        routes: outside_gateway().map(default_route).to_vec(),
    }
}

fn node_namespace(lab: &LabSpec, index: usize) -> NamespacePlan {
    let (v4, v6) = lab.subnets.node(index);
    let (gateway_v4, gateway_v6) = lab.subnets.fabric();
    NamespacePlan {
        name: lab.name.namespace(&lab.nodes[index].name),
        sysctls: [FORWARDING, ANY_SOURCE, STATIC_IPV6].concat(),
        addresses: vec![
            AddressPlan { link: DEVICE, address: within(v4.into(), lab.subnets.nodes.v4.into()) },
            AddressPlan { link: DEVICE, address: within(v6.into(), lab.subnets.nodes.v6.into()) },
        ],
        routes: vec![default_route(gateway_v4.into()), default_route(gateway_v6.into())],
    }
}

fn default_route(gateway: IpAddr) -> RoutePlan {
    let destination = match gateway {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    };
    RoutePlan { destination, gateway }
}

/// `address` with the prefix length of `net`, which is of the same family.
fn within(address: IpAddr, net: IpNet) -> IpNet {
    IpNet::new_assert(address, net.prefix_len())
}

/// A locally administered unicast address (IEEE 802, bit 1 of the first byte), fixed so that captures of two runs compare.
fn mac(kind: u8, index: usize) -> [u8; 6] {
    let index = index as u16;
    [0x02, 0x6d, 0x6c, kind, (index >> 8) as u8, index as u8] // "ml"
}

/// The fabric's end of a node's link, at most 15 bytes (IFNAMSIZ).
fn port_name(index: usize) -> String {
    format!("node{index}")
}

const fn sysctl(path: &'static str, value: &'static str) -> Sysctl {
    Sysctl { path, value, optional: false }
}

/// The nodes forward for their Pods, the fabric for everybody.
const FORWARDING: &[Sysctl] = &[sysctl("net/ipv4/ip_forward", "1"), sysctl("net/ipv6/conf/all/forwarding", "1")];
/// No reverse path filter: with the tunnel a reply may leave by another device than its request came in by. 0 must
/// stand in `all` and in the device, because the kernel takes the larger of both (ip-sysctl.rst, rp_filter).
const ANY_SOURCE: &[Sysctl] =
    &[sysctl("net/ipv4/conf/all/rp_filter", "0"), sysctl("net/ipv4/conf/default/rp_filter", "0")];
/// Addresses and routes are the plan's alone, and usable at once (no duplicate address detection).
const STATIC_IPV6: &[Sysctl] = &[
    sysctl("net/ipv6/conf/all/disable_ipv6", "0"),
    sysctl("net/ipv6/conf/default/disable_ipv6", "0"),
    sysctl("net/ipv6/conf/all/accept_ra", "0"),
    sysctl("net/ipv6/conf/default/accept_ra", "0"),
    sysctl("net/ipv6/conf/all/accept_dad", "0"),
    sysctl("net/ipv6/conf/default/accept_dad", "0"),
];
/// A switch hands frames on; with br_netfilter loaded on the machine it would pull them through netfilter and defragment.
const PLAIN_BRIDGE: &[Sysctl] = &[
    Sysctl { path: "net/bridge/bridge-nf-call-iptables", value: "0", optional: true },
    Sysctl { path: "net/bridge/bridge-nf-call-ip6tables", value: "0", optional: true },
    Sysctl { path: "net/bridge/bridge-nf-call-arptables", value: "0", optional: true },
];
/// The forwarder's connections all start at the fabric's address: without these, 28,000 of them per minute to one port
/// use up every source port in TIME_WAIT (RFC 6191 reuse is safe, both ends have timestamps).
const MANY_CONNECTIONS: &[Sysctl] =
    &[sysctl("net/ipv4/ip_local_port_range", "1024 65535"), sysctl("net/ipv4/tcp_tw_reuse", "1")];
/// The bridge in the fabric.
pub const BRIDGE: &str = "br0";
/// A node's (and the outside host's) one device.
pub const DEVICE: &str = "eth0";

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
