//! Where a Pod's address may be: the ranges of its node, and the way there. Pure.

use crate::topology::Desired;
use datapath_layouts::{Address, PrefixKey, Route, RouteKind};
use model::{Family, Node};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Ranges of all nodes, with the way to each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    routes: HashMap<PrefixKey, Route>,
    /// Lengths of the ranges, as people write them, by family; one look-up for each.
    lengths: BTreeSet<(Family, u8)>,
    /// By any address of a node: the underlay address that its entries have.
    tunnels: HashMap<IpAddr, Address>,
}

/// Why an address is not taken for a Pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No node has this address.
    UnknownNode(IpAddr),
    /// The Pod has an address and no node.
    NoNode,
    /// It lies in no range, or in another node's.
    Elsewhere {
        /// The node that the Pod is said to be on.
        node: IpAddr,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownNode(node) => write!(f, "no node has the address {node}"),
            Self::NoNode => f.write_str("its slice names no node"),
            Self::Elsewhere { node } => write!(f, "it lies in no Pod range of node {node}"),
        }
    }
}

impl Ranges {
    /// From the planned entries, which know who has a range that two claim.
    #[must_use]
    pub fn new(desired: &Desired, own: &Node, nodes: &[&Node]) -> Self {
        let mut out = Self::default();
        for (key, route) in &desired.ipcache {
            if [RouteKind::RemotePods as u8, RouteKind::LocalPods as u8].contains(&route.kind) {
                let (address, length) = key.to_ip();
                out.lengths.insert((Family::of(address), length));
                out.routes.insert(*key, *route);
            }
        }
        for node in nodes.iter().copied().filter(|node| node.name != own.name) {
            let tunnel = node.underlay().map_or(Address::ZERO, Address::from_ip);
            out.tunnels.extend(node.addresses.iter().map(|address| (*address, tunnel)));
        }
        // The own entries name no tunnel.
        out.tunnels.extend(own.addresses.iter().map(|address| (*address, Address::ZERO)));
        out
    }

    /// The entry of a Pod's address; `None` for a Pod of this node, which is an endpoint.
    ///
    /// # Errors
    /// When the address can't be the Pod's.
    pub fn entry(&self, address: IpAddr, node: Option<IpAddr>, identity: u32) -> Result<Option<Route>, Refusal> {
        let node = node.ok_or(Refusal::NoNode)?;
        let tunnel = *self.tunnels.get(&node).ok_or(Refusal::UnknownNode(node))?;
        let family = Family::of(address);
        let mut longest_first = self.lengths.iter().rev().filter(|(of, _)| *of == family);
        let range = longest_first.find_map(|(_, length)| self.routes.get(&PrefixKey::from_ip(address, *length)));
        match range {
            Some(range) if range.tunnel == tunnel && range.kind == RouteKind::LocalPods as u8 => Ok(None),
            Some(range) if range.tunnel == tunnel => Ok(Some(Route { identity, ..*range })),
            _ => Err(Refusal::Elsewhere { node }),
        }
    }
}
