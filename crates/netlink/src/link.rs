//! Links as the kernel shows them.

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use crate::{
    MacAddress,
    connection::{Netlink, Request},
    error::{Error, Result, unless_missing},
};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: LinkKind,
    /// Absent for links without Ethernet addresses.
    pub mac: Option<MacAddress>,
    /// In bytes.
    pub mtu: u32,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Up with a carrier (IFF_LOWER_UP).
    pub carrier: bool,
    /// Index of the bridge it belongs to.
    pub master: Option<u32>,
    /// Index of the other end of a veth pair, in the peer's namespace.
    pub peer: Option<u32>,
    /// The local id of the peer's namespace, if it is another one.
    pub peer_namespace: Option<i32>,
    /// Free text (IFLA_IFALIAS).
    pub alias: Option<String>,
}

/// What sort of link, with what must be compared before one is adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkKind {
    Loopback,
    Veth,
    Bridge,
    Vxlan {
        /// UDP port.
        port: u16,
        /// Collect-metadata mode ("external").
        external: bool,
    },
    /// Any other, by the kernel's name; physical ones have none.
    Other(String),
}

impl Netlink {
    /// All links of the namespace.
    pub fn links(&self) -> Result<Vec<Link>> {
        let request = Request { operation: "list", object: "links" };
        let answers = self.dump(request, RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(decode).collect())
    }

    /// The link of that name, if there is one.
    pub fn link_by_name(&self, name: &str) -> Result<Option<Link>> {
        let request = Request { operation: "get link", object: name };
        check_name(request, name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.get_link(request, message)
    }

    /// The link of that index, if there is one.
    pub fn link_by_index(&self, index: u32) -> Result<Option<Link>> {
        let object = format!("with index {index}");
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.get_link(Request { operation: "get link", object: &object }, message)
    }

    /// The link of that name; an error if there is none.
    pub fn link(&self, name: &str) -> Result<Link> {
        self.link_by_name(name)?.ok_or_else(|| Error::NotFound { operation: "get link", object: name.to_owned() })
    }

    /// Deletes a link (of a veth pair: both ends).
    pub fn delete_link(&self, index: u32) -> Result<()> {
        let object = format!("with index {index}");
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.change(Request { operation: "delete link", object: &object }, RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Deletes the link of that name if it is there; tells whether it was.
    pub fn ensure_link_deleted(&self, name: &str) -> Result<bool> {
        match self.link_by_name(name)? {
            Some(link) => unless_missing(self.delete_link(link.index)),
            None => Ok(false),
        }
    }

    fn get_link(&self, request: Request<'_>, mut message: LinkMessage) -> Result<Option<Link>> {
        message.header.interface_family = AddressFamily::Unspec;
        match self.get(request, RouteNetlinkMessage::GetLink(message)) {
            Ok(answers) => Ok(answers.into_iter().find_map(decode)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Refuses what the kernel would refuse or, worse, understand otherwise (`dev_valid_name` in net/core/dev.c).
pub(crate) fn check_name(request: Request<'_>, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(request.invalid("an interface name has 1 to 15 bytes"));
    }
    if name == "." || name == ".." || name.bytes().any(|c| c == b'/' || c == b':' || c == 0 || c.is_ascii_whitespace())
    {
        return Err(request.invalid("an interface name has no '/', ':', blank or NUL and is not a dot"));
    }
    Ok(())
}

fn decode(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let loopback = flags.contains(LinkFlags::Loopback);
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: if loopback { LinkKind::Loopback } else { LinkKind::Other(String::new()) },
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        master: None,
        peer: None,
        peer_namespace: None,
        alias: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) => link.mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddress),
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.peer_namespace = Some(id),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::LinkInfo(infos) => link.kind = decode_kind(&infos).unwrap_or(link.kind),
            _ => {}
        }
    }
    Some(link)
}

fn decode_kind(infos: &[LinkInfo]) -> Option<LinkKind> {
    let kind = infos.iter().find_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None })?;
    let data = infos.iter().find_map(|info| if let LinkInfo::Data(data) = info { Some(data) } else { None });
    Some(match (kind, data) {
        (InfoKind::Veth, _) => LinkKind::Veth,
        (InfoKind::Bridge, _) => LinkKind::Bridge,
        (InfoKind::Vxlan, Some(InfoData::Vxlan(options))) => {
            let port = options.iter().find_map(|o| if let InfoVxlan::Port(port) = o { Some(*port) } else { None });
            let external = options.iter().any(|o| matches!(o, InfoVxlan::CollectMetadata(true)));
            LinkKind::Vxlan { port: port.unwrap_or_default(), external }
        }
        (other, _) => LinkKind::Other(other.to_string()),
    })
}

/// IFNAMSIZ without the terminating NUL.
const MAX_NAME: usize = 15;
