//! What the map `endpoints` says of a Pod. Pure.

use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::{Address, AddressKey, Endpoint, identity};
use model::{HostPort, ObjectName};
use std::collections::HashSet;
use std::net::IpAddr;

/// A Pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    /// Its number on this node; 0 while it has none.
    pub id: u32,
    /// Its security identity.
    pub identity: u32,
    /// The Pod, if the runtime said which.
    pub name: Option<ObjectName>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead to it.
    pub host_ports: Vec<HostPort>,
    /// Host side of its link: name.
    pub interface: String,
    /// Host side of its link: index.
    pub index: u32,
    /// MAC address inside the Pod.
    pub mac: [u8; 6],
    /// MAC address of the host side.
    pub host_mac: [u8; 6],
    /// Largest packet of its link, bytes.
    pub mtu: u16,
}

/// The policy that an identity's Pods have: its own, which denies everything while nobody has written it. A Pod whose identity is
/// not known (*init*) has one that nobody ever writes. Who has no labels (*unmanaged*) is selected by none.
#[must_use]
pub const fn policy_id(number: u32) -> u32 {
    if number == identity::INIT || number >= identity::FIRST_ALLOCATED { number } else { 0 }
}

/// The entries of a Pod: one per address.
pub fn entries(pod: &LocalPod) -> impl Iterator<Item = (AddressKey, Endpoint)> {
    let endpoint = Endpoint {
        ifindex: pod.index,
        id: pod.id,
        identity: pod.identity,
        policy_id: policy_id(pod.identity),
        mac: pod.mac,
        flags: 0,
        host_mac: pod.host_mac,
        mtu: pod.mtu,
    };
    pod.addresses.iter().map(move |a| (AddressKey::local(Address::from_ip(*a)), endpoint))
}

/// Entries that belong to none of the Pods; the host's own are not looked at.
#[must_use]
pub fn stale<'a>(observed: &[(AddressKey, Endpoint)], pods: impl Iterator<Item = &'a LocalPod>) -> Vec<AddressKey> {
    let known: HashSet<Address> = pods.flat_map(|p| &p.addresses).map(|a| Address::from_ip(*a)).collect();
    let ours = observed.iter().filter(|(_, e)| e.flags & FLAG_HOST == 0);
    ours.filter(|(key, _)| !known.contains(&key.address)).map(|(key, _)| *key).collect()
}
