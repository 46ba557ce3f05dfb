//! One node with a client Pod, a server Pod and a client on the wire. Who translates services is not decided here.

use anyhow::{Context, Result, ensure};
use netlink::{AddressOptions, MacAddress, Netlink, Route, VethEnd, VethPair, sysctl};
use network_namespace::NetNs;
use std::net::{IpAddr, Ipv4Addr};

pub const NODE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
pub const WIRE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 3);
/// Somebody outside of the cluster.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 11);
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));

/// The ports on which the server listens: two backends.
pub const TARGET_PORTS: [u16; 2] = [8080, 8081];

/// The namespaces; the node's is the one of the thread that made them.
pub struct Node {
    pub wire: NetNs,
    pub client: Pod,
    pub server: Pod,
    pub network: u32,
}

pub struct Pod {
    pub netns: NetNs,
    /// Name and index of the host's side.
    pub interface: &'static str,
    pub index: u32,
    pub mac: [u8; 6],
    pub host_mac: [u8; 6],
}

fn end(name: &str, mac: [u8; 6]) -> VethEnd {
    VethEnd { name: name.to_owned(), mac: Some(MacAddress(mac)), mtu: 1500 }
}

impl Node {
    /// Moves this thread into the node's namespaces and makes everything around it.
    pub fn new() -> Result<Self> {
        isolate()?;
        let netlink = Netlink::open()?;
        netlink.set_up(netlink.link("lo")?.index)?;
        // Before any link is there, so that each starts with it. Both ways forward by the same kernel.
        for (name, value) in [
            (&["ipv4", "ip_forward"][..], "1"),
            (&["ipv4", "conf", "all", "rp_filter"], "0"),
            (&["ipv4", "conf", "default", "rp_filter"], "0"),
        ] {
            sysctl::write(name, value).with_context(|| format!("set sysctl {}", name.join(".")))?;
        }
        let wire = NetNs::create()?;
        let options = AddressOptions::default();
        let pair = VethPair {
            here: end("eth0", [2, 0, 0, 0, 0, 1]),
            peer: end("wire", [2, 0, 0, 0, 0, 2]),
            peer_namespace: Some(&wire),
        };
        let network = netlink.create_veth(&pair)?.index;
        netlink.add_address(network, format!("{NODE}/16").parse()?, options)?;
        netlink.set_up(network)?;
        let outside = Netlink::open_in(&wire)?;
        let index = outside.link("wire")?.index;
        outside.add_address(index, format!("{WIRE}/16").parse()?, options)?;
        outside.set_up(index)?;
        for (one, other) in [(&netlink, WIRE), (&outside, NODE)] {
            let (device, mac) = if other == WIRE { (network, 2) } else { (index, 1) };
            one.ensure_neighbour(device, other.into(), MacAddress([2, 0, 0, 0, 0, mac]))?;
        }
        many_ports(&wire)?;
        let client = pod(&netlink, "lxclient", CLIENT)?;
        let server = pod(&netlink, "lxserver", SERVER)?;
        Ok(Self { wire, client, server, network })
    }
}

/// As Malla's CNI plugin makes it; plain routing works over it, too.
fn pod(netlink: &Netlink, interface: &'static str, address: Ipv4Addr) -> Result<Pod> {
    let netns = NetNs::create()?;
    let last = address.octets()[3];
    let (mac, host_mac) = ([0x0a, 0, 0, 0, 0, last], [0x0e, 0, 0, 0, 0, last]);
    let pair = VethPair { here: end(interface, host_mac), peer: end("eth0", mac), peer_namespace: Some(&netns) };
    let index = netlink.create_veth(&pair)?.index;
    netlink.set_up(index)?;
    let inside = Netlink::open_in(&netns)?;
    inside.set_up(inside.link("lo")?.index)?;
    let eth0 = inside.link("eth0")?.index;
    let alone = AddressOptions { prefix_route: false, ..AddressOptions::default() };
    inside.add_address(eth0, IpAddr::from(address).into(), alone)?;
    inside.set_up(eth0)?;
    inside.ensure_neighbour(eth0, GATEWAY, MacAddress(host_mac))?;
    inside.replace_route(&Route { onlink: true, ..Route::default_via(GATEWAY).dev(eth0) })?;
    netlink.ensure_neighbour(index, address.into(), MacAddress(mac))?;
    netlink.replace_route(&Route::to(IpAddr::from(address).into()).dev(index))?;
    many_ports(&netns)?;
    Ok(Pod { netns, interface, index, mac, host_mac })
}

/// Room for a run's connections.
fn many_ports(netns: &NetNs) -> Result<()> {
    sysctl::write_in(netns, &[(&["ipv4", "ip_local_port_range"][..], "10000 65000")])?;
    Ok(())
}

/// Leaves the machine's network and mounts, for the rest of this thread's life.
fn isolate() -> Result<()> {
    let check = |result: i32, what: &str| {
        ensure!(result == 0, "{what} (root needed): {}", std::io::Error::last_os_error());
        Ok(())
    };
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: plain system calls with constant C strings; they change this thread alone.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS), "make namespaces")?;
        let none = std::ptr::null();
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, std::ptr::null()), "make mounts private")?;
        // `iptables` and `sysctl` look at the network through these.
        check(libc::mount(c"bpf".as_ptr(), c"/mnt".as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()), "mount a bpffs")
    }
}
