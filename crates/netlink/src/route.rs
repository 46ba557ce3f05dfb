//! Routes.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
        RouteType,
    },
};

use crate::{
    address::family_of,
    connection::{Netlink, Request},
    error::{Result, unless_exists, unless_missing},
};

/// A route. [`Route::to`] starts one with everything else left to the kernel's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `0.0.0.0/0` or `::/0` is the default route.
    pub destination: IpNet,
    pub kind: RouteKind,
    pub gateway: Option<IpAddr>,
    /// Index of the link to send through.
    pub interface: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Routing table; 254 is the main one.
    pub table: u32,
    /// Lower wins. IPv6 routes without one get 1024 from the kernel.
    pub metric: Option<u32>,
    /// Path MTU in bytes.
    pub mtu: Option<u32>,
    /// Decided from kind and gateway if absent, as `ip route` does. IPv6 has none.
    pub scope: Option<Scope>,
    /// The gateway is on the link though no prefix says so.
    pub onlink: bool,
    /// Who made it (RTPROT_*).
    pub protocol: u8,
}

/// What happens to a packet that the route matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RouteKind {
    #[default]
    Unicast,
    Local,
    Broadcast,
    Anycast,
    Multicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
    Other,
}

/// How far the destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Universe,
    Link,
    Host,
}

impl Route {
    /// A unicast route in the main table.
    #[must_use]
    pub fn to(destination: IpNet) -> Self {
        Self {
            destination,
            kind: RouteKind::Unicast,
            gateway: None,
            interface: None,
            source: None,
            table: MAIN_TABLE,
            metric: None,
            mtu: None,
            scope: None,
            onlink: false,
            protocol: RTPROT_STATIC,
        }
    }

    /// The default route of the family of `gateway`, through it.
    #[must_use]
    pub fn default_via(gateway: IpAddr) -> Self {
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let destination = IpNet::new_assert(any, 0);
        Self { gateway: Some(gateway), ..Self::to(destination) }
    }

    /// Sends through this link.
    #[must_use]
    pub fn dev(self, interface: u32) -> Self {
        Self { interface: Some(interface), ..self }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " on link {interface}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

impl Netlink {
    /// All routes of both families in `table`, or in all tables. Without cached ones.
    pub fn routes(&self, table: Option<u32>) -> Result<Vec<Route>> {
        let request = Request { operation: "list", object: "routes" };
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump(request, RouteNetlinkMessage::GetRoute(message))?;
            routes.extend(answers.into_iter().filter_map(decode));
        }
        routes.retain(|route| table.is_none_or(|table| table == route.table));
        Ok(routes)
    }

    /// Adds a route; one to the same destination with the same metric must not exist.
    pub fn add_route(&self, route: &Route) -> Result<()> {
        self.new_route("add route", route, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route unless one to the same destination with the same metric is there; tells whether it was added.
    pub fn ensure_route(&self, route: &Route) -> Result<bool> {
        unless_exists(self.add_route(route))
    }

    /// Adds a route or replaces the one to the same destination with the same metric.
    pub fn replace_route(&self, route: &Route) -> Result<()> {
        self.new_route("replace route", route, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Deletes a route; fields that are absent match any.
    pub fn delete_route(&self, route: &Route) -> Result<()> {
        let object = route.to_string();
        let mut message = encode(route);
        if route.scope.is_none() {
            message.header.scope = RouteScope::NoWhere; // any
        }
        self.change(Request { operation: "delete route", object: &object }, RouteNetlinkMessage::DelRoute(message), 0)
    }

    /// Deletes a route if it is there; tells whether it was.
    pub fn ensure_route_deleted(&self, route: &Route) -> Result<bool> {
        unless_missing(self.delete_route(route))
    }

    fn new_route(&self, operation: &'static str, route: &Route, flags: u16) -> Result<()> {
        let object = route.to_string();
        self.change(Request { operation, object: &object }, RouteNetlinkMessage::NewRoute(encode(route)), flags)
    }
}

fn encode(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family_of(route.destination.addr()),
        destination_prefix_length: route.destination.prefix_len(),
        protocol: RouteProtocol::from(route.protocol),
        scope: scope_of(route),
        kind: kind_to_wire(route.kind),
        // Tables above 255 travel in the attribute alone.
        table: u8::try_from(route.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
        flags: if route.onlink { RouteFlags::Onlink } else { RouteFlags::empty() },
        ..RouteHeader::default()
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if route.destination.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    attributes.extend(route.interface.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

fn decode(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route::to(IpNet::new(any, header.destination_prefix_length).ok()?);
    route.kind = kind_from_wire(header.kind);
    route.table = u32::from(header.table);
    route.protocol = header.protocol.into();
    route.onlink = header.flags.contains(RouteFlags::Onlink);
    route.scope = match header.scope {
        _ if any.is_ipv6() => None,
        RouteScope::Universe => Some(Scope::Universe),
        RouteScope::Link => Some(Scope::Link),
        RouteScope::Host => Some(Scope::Host),
        _ => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.destination = IpNet::new(to_ip(address)?, header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Gateway(address) => route.gateway = to_ip(address),
            RouteAttribute::PrefSource(address) => route.source = to_ip(address),
            RouteAttribute::Oif(index) => route.interface = Some(*index),
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(metric) => route.metric = Some(*metric),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|m| if let RouteMetric::Mtu(mtu) = m { Some(*mtu) } else { None });
            }
            _ => {}
        }
    }
    Some(route)
}

fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// As iproute2 decides it (`ip/iproute.c`, `iproute_modify`).
fn scope_of(route: &Route) -> RouteScope {
    match (route.scope, route.kind) {
        _ if route.destination.addr().is_ipv6() => RouteScope::Universe,
        (Some(Scope::Universe), _) => RouteScope::Universe,
        (Some(Scope::Link), _) => RouteScope::Link,
        (Some(Scope::Host), _) | (None, RouteKind::Local) => RouteScope::Host,
        (None, RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast) => RouteScope::Link,
        (None, RouteKind::Unicast) if route.gateway.is_none() => RouteScope::Link,
        (None, _) => RouteScope::Universe,
    }
}

fn kind_to_wire(kind: RouteKind) -> RouteType {
    match kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Local => RouteType::Local,
        RouteKind::Broadcast => RouteType::Broadcast,
        RouteKind::Anycast => RouteType::Anycast,
        RouteKind::Multicast => RouteType::Multicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Throw => RouteType::Throw,
        RouteKind::Other => RouteType::Unspec,
    }
}

fn kind_from_wire(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        _ => RouteKind::Other,
    }
}

/// RT_TABLE_MAIN.
const MAIN_TABLE: u32 = 254;
/// RTPROT_STATIC: made by an administrator, i.e. not to be touched by routing daemons.
const RTPROT_STATIC: u8 = 4;
