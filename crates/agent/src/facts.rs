//! What the node's own network looks like: read from the kernel, changed by nobody here except for the overlay device.

use crate::error::Error;
use ipnet::IpNet;
use netlink::{Netlink, RouteKind, Vxlan};
use std::net::IpAddr;

/// Name of the VXLAN device.
pub const OVERLAY: &str = "malla.vxlan";
/// Outer Ethernet, IPv4, UDP and VXLAN headers without the outer Ethernet: 20 + 8 + 8 + 14 (inner Ethernet), RFC 7348 §5.
const OVERHEAD_V4: u32 = 50;
/// The same over IPv6.
const OVERHEAD_V6: u32 = 70;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet, bytes.
    pub mtu: u32,
}

/// The node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The device towards other nodes.
    pub network: Device,
    /// The VXLAN device.
    pub overlay: Device,
    /// Global addresses of `network`, with their prefixes.
    pub addresses: Vec<IpNet>,
    /// Next hops of the default routes through `network`.
    pub gateways: Vec<IpAddr>,
}

impl Facts {
    /// Largest packet that the overlay takes without fragments outside.
    #[must_use]
    pub fn overlay_mtu(&self, underlay: IpAddr) -> u32 {
        overlay_mtu(self.network.mtu, underlay)
    }
}

/// What remains of the network device's MTU inside of the tunnel, bytes.
#[must_use]
pub fn overlay_mtu(network_mtu: u32, underlay: IpAddr) -> u32 {
    network_mtu.saturating_sub(if underlay.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 })
}

/// Reads the node's network and sees to it that the overlay device is there, as it should be.
///
/// The kernel makes the device once; a later agent finds it and changes only what differs.
///
/// # Errors
/// When the network device is not there or the kernel refuses a request.
pub fn read(netlink: &Netlink, device: &str, underlay: IpAddr) -> Result<Facts, Error> {
    let link = netlink.link(device).map_err(Error::facts("read the network device"))?;
    let network = Device {
        mac: link.mac.map(|m| m.0).ok_or_else(|| Error::NotEthernet { device: device.to_owned() })?,
        name: link.name,
        index: link.index,
        mtu: link.mtu,
    };
    let overlay = ensure_overlay(netlink, overlay_mtu(network.mtu, underlay))?;
    let addresses = netlink.addresses(Some(network.index)).map_err(Error::facts("read addresses"))?;
    let routes = netlink.routes(Some(MAIN_TABLE)).map_err(Error::facts("read routes"))?;
    let mut gateways: Vec<IpAddr> = Vec::new();
    for route in routes.iter().filter(|r| r.destination.prefix_len() == 0 && r.kind == RouteKind::Unicast) {
        let here = route.interface == Some(network.index);
        if let Some(gateway) = route.gateway.filter(|g| here && !gateways.iter().any(|o| o.is_ipv4() == g.is_ipv4())) {
            gateways.push(gateway);
        }
    }
    let mut addresses: Vec<IpNet> = addresses.into_iter().filter(|a| !a.link_scope).map(|a| a.address).collect();
    addresses.sort_unstable();
    Ok(Facts { network, overlay, addresses, gateways })
}

fn ensure_overlay(netlink: &Netlink, mtu: u32) -> Result<Device, Error> {
    let wanted = Vxlan { name: OVERLAY.to_owned(), port: datapath_layouts::config::VXLAN_PORT, mac: None, mtu };
    let link = netlink.ensure_vxlan(&wanted).map_err(Error::facts("create the overlay device"))?;
    // Whoever sends into it knows no neighbours: eBPF decides the tunnel, and the inner MAC address means nothing.
    netlink.set_arp(link.index, false).map_err(Error::facts("switch off neighbour discovery on the overlay device"))?;
    if !link.up {
        netlink.disable_address_generation(link.index).map_err(Error::facts("set up the overlay device"))?;
        netlink.set_up(link.index).map_err(Error::facts("set up the overlay device"))?;
    }
    Ok(Device { name: link.name, index: link.index, mac: link.mac.map(|m| m.0).unwrap_or_default(), mtu: link.mtu })
}

/// RT_TABLE_MAIN.
pub const MAIN_TABLE: u32 = 254;
