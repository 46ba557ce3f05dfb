//! Changes to one link. Links are named by index, which a rename or a race cannot redirect.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage},
};
use network_namespace::NetNs;

use crate::{
    MacAddress,
    connection::{Netlink, Request},
    error::Result,
    link::check_name,
};

impl Netlink {
    /// Sets the link up.
    pub fn set_up(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.set_link("set up link", index, message)
    }

    /// Sets the link down.
    pub fn set_down(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.change_mask = LinkFlags::Up;
        self.set_link("set down link", index, message)
    }

    /// Switches neighbour discovery on or off (IFF_NOARP): without it, every neighbour is taken to be there.
    pub fn set_arp(&self, index: u32, on: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = if on { LinkFlags::empty() } else { LinkFlags::Noarp };
        message.header.change_mask = LinkFlags::Noarp;
        self.set_link("set neighbour discovery of link", index, message)
    }

    /// Sets the MTU, in bytes.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        self.set_attribute("set MTU of link", index, LinkAttribute::Mtu(mtu))
    }

    /// Sets the Ethernet address.
    pub fn set_mac(&self, index: u32, mac: MacAddress) -> Result<()> {
        self.set_attribute("set MAC of link", index, LinkAttribute::Address(mac.0.to_vec()))
    }

    /// Makes the link a port of the bridge `master`, or of none.
    pub fn set_master(&self, index: u32, master: Option<u32>) -> Result<()> {
        self.set_attribute("set master of link", index, LinkAttribute::Controller(master.unwrap_or(0)))
    }

    /// Renames the link.
    pub fn rename(&self, index: u32, name: &str) -> Result<()> {
        check_name(Request { operation: "rename link to", object: name }, name)?;
        self.set_attribute("rename link", index, LinkAttribute::IfName(name.to_owned()))
    }

    /// Sets the free text that `ip -d link` shows as alias (up to 255 bytes).
    pub fn set_alias(&self, index: u32, alias: &str) -> Result<()> {
        self.set_attribute("set alias of link", index, LinkAttribute::IfAlias(alias.to_owned()))
    }

    /// Length of the transmit queue, in packets.
    pub fn set_txqueuelen(&self, index: u32, packets: u32) -> Result<()> {
        self.set_attribute("set queue length of link", index, LinkAttribute::TxQueueLen(packets))
    }

    /// Largest GSO packet that the link takes, in bytes (IPv6; kernels before 6.3 for IPv4 too).
    pub fn set_gso_max_size(&self, index: u32, bytes: u32) -> Result<()> {
        self.set_attribute("set GSO size of link", index, LinkAttribute::GsoMaxSize(bytes))
    }

    /// Largest packet that GRO builds on the link, in bytes (IPv6; kernels before 6.3 for IPv4 too).
    pub fn set_gro_max_size(&self, index: u32, bytes: u32) -> Result<()> {
        self.set_attribute("set GRO size of link", index, LinkAttribute::GroMaxSize(bytes))
    }

    /// No link-local address of the kernel's making (`addrgenmode none`). Before the link is set up.
    pub fn disable_address_generation(&self, index: u32) -> Result<()> {
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        self.set_attribute("set addrgenmode of link", index, LinkAttribute::AfSpecUnspec(vec![inet6]))
    }

    /// Moves the link into another namespace, where it may get another name. It goes down and loses its addresses.
    pub fn move_to(&self, index: u32, netns: &NetNs, name: Option<&str>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
        if let Some(name) = name {
            check_name(Request { operation: "move link to another namespace as", object: name }, name)?;
            message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        }
        self.set_link("move to another namespace link", index, message)
    }

    fn set_attribute(&self, operation: &'static str, index: u32, attribute: LinkAttribute) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(attribute);
        self.set_link(operation, index, message)
    }

    fn set_link(&self, operation: &'static str, index: u32, mut message: LinkMessage) -> Result<()> {
        message.header.index = index;
        let object = format!("with index {index}");
        self.change(Request { operation, object: &object }, RouteNetlinkMessage::SetLink(message), 0)
    }
}
