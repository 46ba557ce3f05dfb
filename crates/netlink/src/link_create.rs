//! New links: veth pairs, bridges, VXLAN devices.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage},
};
use network_namespace::NetNs;

use crate::{
    Link, LinkKind, MacAddress,
    connection::{Netlink, Request},
    error::{Error, Result},
    link::check_name,
};

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    pub name: String,
    /// The kernel invents one if there is none here.
    pub mac: Option<MacAddress>,
    /// In bytes.
    pub mtu: u32,
}

/// A veth pair. Both ends are made in one step, each in its namespace under its final name, and stay down.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// The end in the namespace of the netlink socket.
    pub here: VethEnd,
    pub peer: VethEnd,
    /// Where the peer goes; beside `here` if absent.
    pub peer_namespace: Option<&'a NetNs>,
}

/// A VXLAN device in collect-metadata mode ("external"): eBPF gives tunnel key and remote per packet.
/// No learning; UDP checksum zero is sent and accepted over IPv6, as over IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    pub name: String,
    /// UDP port.
    pub port: u16,
    pub mac: Option<MacAddress>,
    /// In bytes.
    pub mtu: u32,
}

impl Netlink {
    /// Makes a veth pair and returns the end that is here.
    pub fn create_veth(&self, pair: &VethPair<'_>) -> Result<Link> {
        let object = format!("{} with peer {}", pair.here.name, pair.peer.name);
        let request = Request { operation: "create veth", object: &object };
        check_name(request, &pair.here.name)?;
        check_name(request, &pair.peer.name)?;

        let mut peer = LinkMessage::default();
        peer.attributes = end_attributes(&pair.peer);
        if let Some(netns) = pair.peer_namespace {
            peer.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
        }
        let mut message = LinkMessage::default();
        message.attributes = end_attributes(&pair.here);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(request, message)?;
        self.link(&pair.here.name)
    }

    /// Makes a bridge.
    pub fn create_bridge(&self, name: &str) -> Result<Link> {
        let request = Request { operation: "create bridge", object: name };
        check_name(request, name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.create(request, message)?;
        self.link(name)
    }

    /// Makes a bridge, unless one of that name is there.
    pub fn ensure_bridge(&self, name: &str) -> Result<Link> {
        match self.link_by_name(name)? {
            Some(link) if link.kind == LinkKind::Bridge => Ok(link),
            Some(_) => Err(another_kind("create bridge", name)),
            None => self.create_bridge(name),
        }
    }

    /// Makes a VXLAN device.
    pub fn create_vxlan(&self, vxlan: &Vxlan) -> Result<Link> {
        let request = Request { operation: "create vxlan", object: &vxlan.name };
        check_name(request, &vxlan.name)?;
        let mut message = LinkMessage::default();
        message.attributes = end_attributes(&VethEnd { name: vxlan.name.clone(), mac: vxlan.mac, mtu: vxlan.mtu });
        let options = vec![
            InfoVxlan::CollectMetadata(true),
            InfoVxlan::Learning(false),
            InfoVxlan::Port(vxlan.port),
            InfoVxlan::UDPCsum(false),
            InfoVxlan::UDPZeroCsumTX(true),
            InfoVxlan::UDPZeroCsumRX(true),
        ];
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(options)),
        ]));
        self.create(request, message)?;
        self.link(&vxlan.name)
    }

    /// Makes a VXLAN device, adopting one of the same name, port and mode. One with another port or mode is made
    /// anew; a link of another kind is an error, as it is somebody else's.
    pub fn ensure_vxlan(&self, vxlan: &Vxlan) -> Result<Link> {
        let Some(link) = self.link_by_name(&vxlan.name)? else { return self.create_vxlan(vxlan) };
        let LinkKind::Vxlan { port, external } = link.kind else {
            return Err(another_kind("create vxlan", &vxlan.name));
        };
        if !external || port != vxlan.port {
            self.delete_link(link.index)?;
            return self.create_vxlan(vxlan);
        }
        if link.mtu != vxlan.mtu {
            self.set_mtu(link.index, vxlan.mtu)?;
        }
        if let Some(mac) = vxlan.mac
            && link.mac != Some(mac)
        {
            self.set_mac(link.index, mac)?;
        }
        self.link(&vxlan.name)
    }

    fn create(&self, request: Request<'_>, message: LinkMessage) -> Result<()> {
        self.change(request, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }
}

fn end_attributes(end: &VethEnd) -> Vec<LinkAttribute> {
    let mut attributes = vec![LinkAttribute::IfName(end.name.clone()), LinkAttribute::Mtu(end.mtu)];
    attributes.extend(end.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes
}

fn another_kind(operation: &'static str, name: &str) -> Error {
    Error::Invalid { operation, object: name.to_owned(), reason: "a link of that name and of another kind exists" }
}
