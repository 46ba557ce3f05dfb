//! Neighbour entries (ARP and ND): permanent ones that replace both protocols, and those that the kernel looks after.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use crate::{
    MacAddress,
    address::family_of,
    connection::{Netlink, Request, Subscription},
    error::{Result, unless_missing},
};

/// Who answers for an address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub interface: u32,
    pub address: IpAddr,
    /// Absent while it is being resolved.
    pub mac: Option<MacAddress>,
    /// Somebody answers, or did when last asked: not absent, not without an answer (NUD_VALID of `net/neighbour.h`).
    pub valid: bool,
    /// Never ages, never asked for (NUD_PERMANENT).
    pub permanent: bool,
    /// The kernel looks after it (NTF_EXT_MANAGED).
    pub managed: bool,
}

impl Netlink {
    /// The neighbour entries of one link, or of all, in both families.
    pub fn neighbours(&self, interface: Option<u32>) -> Result<Vec<Neighbour>> {
        let request = Request { operation: "list", object: "neighbours" };
        let mut neighbours = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            let answers = self.dump(request, RouteNetlinkMessage::GetNeighbour(message))?;
            neighbours.extend(answers.into_iter().filter_map(decode));
        }
        neighbours.retain(|neighbour| interface.is_none_or(|index| index == neighbour.interface));
        Ok(neighbours)
    }

    /// Adds or replaces a permanent entry.
    pub fn ensure_neighbour(&self, interface: u32, address: IpAddr, mac: MacAddress) -> Result<()> {
        let object = format!("{address} at {mac} on link {interface}");
        let mut message = encode(interface, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let request = Request { operation: "set neighbour", object: &object };
        self.change(request, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Has the kernel find the address now, and keep looking after it (NTF_EXT_MANAGED, Linux 5.16).
    pub fn ensure_managed_neighbour(&self, interface: u32, address: IpAddr) -> Result<()> {
        let object = format!("{address} on link {interface}");
        let mut message = encode(interface, address);
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        let request = Request { operation: "have the kernel look after neighbour", object: &object };
        self.change(request, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
    }

    /// Deletes an entry.
    pub fn delete_neighbour(&self, interface: u32, address: IpAddr) -> Result<()> {
        let object = format!("{address} on link {interface}");
        let message = RouteNetlinkMessage::DelNeighbour(encode(interface, address));
        self.change(Request { operation: "delete neighbour", object: &object }, message, 0)
    }

    /// Deletes an entry if it is there; tells whether it was.
    pub fn ensure_neighbour_deleted(&self, interface: u32, address: IpAddr) -> Result<bool> {
        unless_missing(self.delete_neighbour(interface, address))
    }
}

/// What the kernel tells of neighbours as it happens.
#[derive(Debug)]
pub struct NeighbourWatch(Subscription);

impl NeighbourWatch {
    /// Listens in the calling thread's namespace, from now on.
    pub fn open() -> Result<Self> {
        /// `RTMGRP_NEIGH` of `linux/rtnetlink.h`.
        const GROUP: u32 = 4;
        Subscription::open("neighbours", GROUP).map(Self)
    }

    /// Waits for what is told next: new entries, what changed in old ones, and those that are gone (which are not valid).
    /// `None`: more happened than the socket could hold, and only the table itself knows what.
    pub fn wait(&mut self) -> Result<Option<Vec<Neighbour>>> {
        match self.0.wait() {
            Ok(messages) => Ok(Some(messages.into_iter().filter_map(decode).collect())),
            Err(error) if error.errno() == Some(libc::ENOBUFS) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn encode(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(address);
    message.header.ifindex = interface;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn decode(message: RouteNetlinkMessage) -> Option<Neighbour> {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
    let (message, is_there) = match message {
        RouteNetlinkMessage::NewNeighbour(message) => (message, true),
        RouteNetlinkMessage::DelNeighbour(message) => (message, false),
        _ => return None,
    };
    let mut address = None;
    let (mut mac, mut managed) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        interface: message.header.ifindex,
        address: address?,
        mac: mac.map(MacAddress),
        valid: is_there && matches!(message.header.state, Permanent | Noarp | Reachable | Probe | Stale | Delay),
        permanent: message.header.state == NeighbourState::Permanent,
        managed,
    })
}
