//! Neighbour entries (ARP and ND), the permanent ones that replace both protocols here.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use crate::{
    MacAddress,
    address::family_of,
    connection::{Netlink, Request},
    error::{Result, unless_missing},
};

/// Who answers for an address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub interface: u32,
    pub address: IpAddr,
    /// Absent while it is being resolved.
    pub mac: Option<MacAddress>,
    /// Never ages, never asked for (NUD_PERMANENT).
    pub permanent: bool,
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

fn encode(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(address);
    message.header.ifindex = interface;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn decode(message: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        interface: message.header.ifindex,
        address: address?,
        mac: mac.map(MacAddress),
        permanent: message.header.state == NeighbourState::Permanent,
    })
}
