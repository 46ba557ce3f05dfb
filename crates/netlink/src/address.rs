//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
};

use crate::{
    connection::{Netlink, Request},
    error::{Result, unless_exists, unless_missing},
};

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub interface: u32,
    /// The address with its prefix length; host bits are kept.
    pub address: IpNet,
    /// IFA_F_* (include/uapi/linux/if_addr.h).
    pub flags: u32,
    /// Link scope rather than global or host.
    pub link_scope: bool,
}

impl Address {
    /// Duplicate address detection is under way (IFA_F_TENTATIVE).
    #[must_use]
    pub fn is_tentative(&self) -> bool {
        AddressFlags::from_bits_retain(self.flags).contains(AddressFlags::Tentative)
    }
}

/// How an address is added. The default is what every address here wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressOptions {
    /// IPv6: usable at once, no duplicate address detection.
    pub nodad: bool,
    /// The kernel makes the route to the prefix.
    pub prefix_route: bool,
    /// Scope link instead of global.
    pub link_scope: bool,
}

impl Default for AddressOptions {
    fn default() -> Self {
        Self { nodad: true, prefix_route: true, link_scope: false }
    }
}

impl Netlink {
    /// The addresses of one link, or of all.
    pub fn addresses(&self, interface: Option<u32>) -> Result<Vec<Address>> {
        let request = Request { operation: "list", object: "addresses" };
        let answers = self.dump(request, RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let all = answers.into_iter().filter_map(decode);
        Ok(all.filter(|address| interface.is_none_or(|index| index == address.interface)).collect())
    }

    /// Adds an address.
    pub fn add_address(&self, interface: u32, address: IpNet, options: AddressOptions) -> Result<()> {
        let object = format!("{address} on link {interface}");
        let mut message = encode(interface, address);
        if options.link_scope {
            message.header.scope = AddressScope::Link;
        }
        let mut flags = AddressFlags::empty();
        if options.nodad && address.addr().is_ipv6() {
            flags |= AddressFlags::Nodad;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        if !options.prefix_route {
            flags |= AddressFlags::Noprefixroute;
        }
        if !flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let request = Request { operation: "add address", object: &object };
        self.change(request, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds an address unless the link has it; tells whether it was added.
    pub fn ensure_address(&self, interface: u32, address: IpNet, options: AddressOptions) -> Result<bool> {
        unless_exists(self.add_address(interface, address, options))
    }

    /// Deletes an address.
    pub fn delete_address(&self, interface: u32, address: IpNet) -> Result<()> {
        let object = format!("{address} on link {interface}");
        let request = Request { operation: "delete address", object: &object };
        self.change(request, RouteNetlinkMessage::DelAddress(encode(interface, address)), 0)
    }

    /// Deletes an address if it is there; tells whether it was.
    pub fn ensure_address_deleted(&self, interface: u32, address: IpNet) -> Result<bool> {
        unless_missing(self.delete_address(interface, address))
    }
}

pub(crate) fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn encode(interface: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(address.addr());
    message.header.index = interface;
    message.header.prefix_len = address.prefix_len();
    // The far end of a point-to-point link would be IFA_ADDRESS; without one both are the same.
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    message
}

fn decode(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut remote) = (None, None);
    let mut flags = u32::from(message.header.flags.bits());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => remote = Some(*address),
            AddressAttribute::Flags(all) => flags = all.bits(),
            _ => {}
        }
    }
    Some(Address {
        interface: message.header.index,
        // IPv6 gives IFA_LOCAL only for point-to-point.
        address: IpNet::new(local.or(remote)?, message.header.prefix_len).ok()?,
        flags,
        link_scope: message.header.scope == AddressScope::Link,
    })
}
