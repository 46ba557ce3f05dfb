//! Nodes and what the kernel knows of its neighbours → by which device each node is known. Pure.

use datapath_layouts::{Address, AddressKey, Neighbour};
use ipnet::IpNet;
use model::{Node, NodeName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// What the map `neighbours` holds.
pub type Entries = HashMap<AddressKey, Neighbour>;

/// How far it is known who is a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins {
    /// How many nodes are known by the device that their frames come from.
    pub by_device: usize,
    /// Nodes on the link that have never answered: nothing in their name is let in.
    pub unknown: Vec<NodeName>,
    /// Nodes behind a router, and nodes whose devices are not asked for: who sends in their name can't be told from them.
    pub by_address: Vec<NodeName>,
}

/// The other nodes' addresses that are reached without a router: in a prefix of this node's, and not its own.
#[must_use]
pub fn on_the_link<'a>(
    own: &'a NodeName,
    nodes: impl Iterator<Item = &'a Node>,
    prefixes: &[IpNet],
) -> BTreeSet<IpAddr> {
    let ours = |address: &IpAddr| prefixes.iter().any(|prefix| prefix.addr() == *address);
    let near = |address: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(address));
    let others = nodes.filter(|node| node.name != *own).flat_map(|node| node.addresses.iter().copied());
    others.filter(|address| near(address) && !ours(address)).collect()
}

/// Those of them that the kernel does not look after. It forgets that when the device goes down. What somebody has written for
/// good stays as it is: looked after, it would have to answer.
#[must_use]
pub fn to_look_after(on_the_link: &BTreeSet<IpAddr>, table: &[netlink::Neighbour]) -> BTreeSet<IpAddr> {
    let known = table.iter().filter(|neighbour| neighbour.managed || neighbour.permanent);
    on_the_link.difference(&known.map(|neighbour| neighbour.address).collect()).copied().collect()
}

/// What the map is to hold. Who answered once keeps its device until another answers: when a node is down, nobody takes its
/// place by having its address.
#[must_use]
pub fn entries(on_the_link: &BTreeSet<IpAddr>, table: &[netlink::Neighbour], written: &Entries) -> Entries {
    let answering = table.iter().filter(|neighbour| neighbour.valid);
    let answering: HashMap<IpAddr, [u8; 6]> =
        answering.filter_map(|neighbour| Some((neighbour.address, neighbour.mac?.0))).collect();
    let entry = |address: &IpAddr| {
        let key = AddressKey::local(Address::from_ip(*address));
        let before = written.get(&key).map_or([0; 6], |entry| entry.mac);
        let mac = answering.get(address).copied().unwrap_or(before);
        (key, Neighbour { mac, ..Neighbour::ZERO })
    };
    on_the_link.iter().map(entry).collect()
}

/// How far it is known who is who, node by node.
#[must_use]
pub fn origins<'a>(own: &NodeName, nodes: impl Iterator<Item = &'a Node>, entries: &Entries) -> Origins {
    let mut out = Origins::default();
    for node in nodes.filter(|node| node.name != *own) {
        let found = |address: &IpAddr| entries.get(&AddressKey::local(Address::from_ip(*address)));
        let known: Vec<_> = node.addresses.iter().map(found).collect();
        if known.contains(&None) {
            out.by_address.push(node.name.clone());
        } else if known.iter().flatten().any(|entry| entry.mac == [0; 6]) {
            out.unknown.push(node.name.clone());
        } else {
            out.by_device += 1;
        }
    }
    out.unknown.sort_unstable();
    out.by_address.sort_unstable();
    out
}
