//! The kernel side of an endpoint: the veth pair and what makes it a network. No decisions, only effects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink::{AddressOptions, Error, Link, Netlink, Route, VethEnd, VethPair, sysctl};
use network_namespace::NetNs;

use crate::Endpoint;

/// Both ends' netlink sockets.
pub(crate) struct Wiring<'a> {
    pub host: Netlink,
    pub pod: Netlink,
    node: &'a NetNs,
    pod_namespace: &'a NetNs,
}

impl<'a> Wiring<'a> {
    pub(crate) fn open(node: &'a NetNs, pod_namespace: &'a NetNs) -> netlink::Result<Self> {
        Ok(Self { host: Netlink::open_in(node)?, pod: Netlink::open_in(pod_namespace)?, node, pod_namespace })
    }

    /// Makes the pair with everything that can be set while it is down. Returns the host side.
    pub(crate) fn prepare(&self, endpoint: &Endpoint) -> netlink::Result<Link> {
        if self.pod.link_by_name(&endpoint.ifname)?.is_some() {
            return Err(Error::Invalid {
                operation: "create interface",
                object: format!("{} in {}", endpoint.ifname, endpoint.netns.display()),
                reason: "the Pod has an interface of that name already",
            });
        }
        let end = |name: &str, mac| VethEnd { name: name.to_owned(), mac: Some(mac), mtu: endpoint.mtu };
        let host = self.host.create_veth(&VethPair {
            here: end(&endpoint.host_ifname, endpoint.host_mac),
            peer: end(&endpoint.ifname, endpoint.pod_mac),
            peer_namespace: Some(self.pod_namespace),
        })?;
        let pod = self.pod.link(&endpoint.ifname)?;
        self.host.disable_address_generation(host.index)?;
        self.pod.disable_address_generation(pod.index)?;
        let pod_label = format!("{}/{} {}", endpoint.namespace, endpoint.pod_name, endpoint.container_id);
        self.host.set_alias(host.index, &pod_label)?;
        if endpoint.addresses.iter().any(IpAddr::is_ipv6) {
            // Runtimes switch IPv6 off where a network has none; and nobody on this link may announce routes.
            ipv6_without_announcements(self.node, &endpoint.host_ifname)?;
            ipv6_without_announcements(self.pod_namespace, &endpoint.ifname)?;
        }
        let options = AddressOptions { prefix_route: false, ..AddressOptions::default() };
        for address in &endpoint.addresses {
            self.pod.ensure_address(pod.index, single(*address), options)?;
        }
        let loopback = self.pod.link("lo")?;
        self.pod.set_up(loopback.index)?;
        Ok(host)
    }

    /// Sets the pair up, with what needs it up: routes and neighbours.
    pub(crate) fn activate(&self, endpoint: &Endpoint) -> netlink::Result<()> {
        let host = endpoint.host_ifindex;
        let pod = self.pod.link(&endpoint.ifname)?.index;
        self.host.set_up(host)?;
        for address in &endpoint.addresses {
            self.host.ensure_neighbour(host, *address, endpoint.pod_mac)?;
            self.host.replace_route(&host_route(host, *address))?;
        }
        self.pod.set_up(pod)?;
        for gateway in gateways(&endpoint.addresses) {
            self.pod.ensure_neighbour(pod, gateway, endpoint.host_mac)?;
            self.pod.replace_route(&pod_route(pod, gateway))?;
        }
        Ok(())
    }
}

fn ipv6_without_announcements(netns: &NetNs, link: &str) -> netlink::Result<()> {
    let settings: [(&[&str], &str); 2] =
        [(&["ipv6", "conf", link, "disable_ipv6"], "0"), (&["ipv6", "conf", link, "accept_ra"], "0")];
    sysctl::write_in(netns, &settings)
}

/// The route to a Pod's address in the node's namespace.
pub(crate) fn host_route(interface: u32, address: IpAddr) -> Route {
    Route::to(single(address)).dev(interface)
}

/// A Pod's default route.
pub(crate) fn pod_route(interface: u32, gateway: IpAddr) -> Route {
    Route { onlink: true, ..Route::default_via(gateway).dev(interface) }
}

/// An address alone: /32 or /128.
pub(crate) fn single(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The next hop of each family that the Pod has an address of.
pub(crate) fn gateways(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let v4 = addresses.iter().any(IpAddr::is_ipv4).then_some(IpAddr::V4(GATEWAY_V4));
    let v6 = addresses.iter().any(IpAddr::is_ipv6).then_some(IpAddr::V6(GATEWAY_V6));
    v4.into_iter().chain(v6)
}

/// The next hop of an address.
pub(crate) fn gateway_of(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { IpAddr::V4(GATEWAY_V4) } else { IpAddr::V6(GATEWAY_V6) }
}

/// Link-local (RFC 3927), nobody's: only a permanent neighbour entry knows it.
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
