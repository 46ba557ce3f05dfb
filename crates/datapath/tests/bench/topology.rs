//! A node with a Pod, and a wire to another node that speaks whatever the test makes it speak. Everything lives in
//! namespaces that end with the test's thread.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use datapath::{Datapath, EventReader, Profile, Settings};
use datapath_layouts::{Event, EventKind, Routing};
use netlink::{AddressOptions, MacAddress, Netlink, Route, VethEnd, VethPair, Vxlan};
use network_namespace::NetNs;

use super::packet::Packet;
use super::world::{self, BOTH, HOST_MAC, POD_MAC, V4, V6};
use super::{Devices, config, isolate, mount_bpffs};

/// How long something that must happen may take; emulated machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The node's port for the overlay.
pub const VXLAN_PORT: u16 = 8472;

pub struct Topology {
    /// `None` while the agent is dead.
    running: Option<Datapath>,
    pub settings: Settings,
    pub events: EventReader,
    /// The other end of the node's wire.
    pub wire: NetNs,
    pub pod: NetNs,
    pub devices: Devices,
}

fn end(name: &str, mac: [u8; 6]) -> VethEnd {
    VethEnd { name: name.to_owned(), mac: Some(MacAddress(mac)), mtu: 1500 }
}

/// The wire's own addresses: those of the other node, and of two that are none.
pub fn wire_addresses() -> [IpAddr; 5] {
    let extra = |text: &str| text.parse().unwrap();
    [V4.other_node(), V6.other_node(), extra("172.18.0.4"), extra("172.18.0.9"), extra("fc00:f853:ccd:e793::9")]
}

impl Topology {
    /// Moves this thread into the node's namespace and makes everything around it.
    pub fn new() -> Self {
        isolate();
        let directory: PathBuf = mount_bpffs();
        let (wire, pod) = (NetNs::create().unwrap(), NetNs::create().unwrap());
        let node = Netlink::open().unwrap();
        let options = AddressOptions::default();
        let alone = AddressOptions { prefix_route: false, ..options };

        node.set_up(node.link("lo").unwrap().index).unwrap();
        let eth0 = VethPair {
            here: end("eth0", [2, 0, 0, 0, 0, 1]),
            peer: end("wire", [2, 0, 0, 0, 0, 2]),
            peer_namespace: Some(&wire),
        };
        let network = node.create_veth(&eth0).unwrap().index;
        for (address, length) in [(V4.node(), 16), (V6.node(), 64)] {
            node.add_address(network, format!("{address}/{length}").parse().unwrap(), options).unwrap();
        }
        node.set_up(network).unwrap();
        // Both ends, so that what arrives looks as from a real network device: with its checksum.
        checksum_offload("eth0", false);
        wire.run(|| checksum_offload("wire", false)).unwrap();
        let other = Netlink::open_in(&wire).unwrap();
        let index = other.link("wire").unwrap().index;
        for address in wire_addresses() {
            let length = if address.is_ipv4() { 16 } else { 64 };
            other.add_address(index, format!("{address}/{length}").parse().unwrap(), options).unwrap();
        }
        // It is also the fabric's router, and somebody behind it.
        for family in BOTH {
            other.add_address(index, family.gateway().into(), alone).unwrap();
            other.add_address(index, family.world().into(), alone).unwrap();
        }
        other.set_up(index).unwrap();
        for family in BOTH {
            // The fabric sends a load balancer's address to the node.
            let route = Route {
                gateway: Some(family.node()),
                source: Some(family.world()),
                ..Route::to(family.balanced().into()).dev(index)
            };
            other.replace_route(&route).unwrap();
        }

        let vxlan = Vxlan { name: "overlay".to_owned(), port: VXLAN_PORT, mac: None, mtu: 1450 };
        let overlay = node.create_vxlan(&vxlan).unwrap().index;
        node.set_arp(overlay, false).unwrap();
        node.set_up(overlay).unwrap();

        let pair = VethPair { here: end("lxpod", HOST_MAC), peer: end("eth0", POD_MAC), peer_namespace: Some(&pod) };
        let host_side = node.create_veth(&pair).unwrap().index;
        node.set_up(host_side).unwrap();
        let inside = Netlink::open_in(&pod).unwrap();
        inside.set_up(inside.link("lo").unwrap().index).unwrap();
        let pod_side = inside.link("eth0").unwrap().index;
        for family in BOTH {
            inside.add_address(pod_side, family.pod().into(), alone).unwrap();
            node.ensure_neighbour(host_side, family.pod(), MacAddress(POD_MAC)).unwrap();
        }
        inside.set_up(pod_side).unwrap();
        for family in BOTH {
            node.replace_route(&Route::to(family.pod().into()).dev(host_side)).unwrap();
            let gateway: IpAddr = if family == V4 { "169.254.1.1" } else { "fe80::1" }.parse().unwrap();
            inside.ensure_neighbour(pod_side, gateway, MacAddress(HOST_MAC)).unwrap();
            inside.replace_route(&Route { onlink: true, ..Route::default_via(gateway).dev(pod_side) }).unwrap();
        }
        for (prefix, source) in [("10.244.1.0/24", V4.node()), ("fd00:10:244:1::/64", V6.node())] {
            let route = Route { source: Some(source), ..Route::to(prefix.parse().unwrap()).dev(overlay) };
            node.replace_route(&route).unwrap();
        }

        let devices = Devices { pod: host_side, neighbour: 0, network, overlay };
        let settings = Settings { bpf_dir: directory, config: config(&devices), profile: Profile::Lab };
        let datapath = Datapath::start(&settings).unwrap();
        world::put(datapath.maps(), &devices, Routing::Overlay);
        datapath.attach_overlay("overlay", overlay).unwrap();
        datapath.attach_network("eth0", network).unwrap();
        datapath.attach_pod("lxpod", host_side).unwrap();
        assert!(datapath.is_pod_attached("lxpod"));
        let events = datapath.events().unwrap();
        Self { running: Some(datapath), settings, events, wire, pod, devices }
    }

    /// What comes from outside has only the start of its checksum from now on, as on a virtual machine's device; what
    /// the node sends is still completed by its device.
    pub fn leave_checksums_to_the_node(&self) {
        self.wire.run(|| checksum_offload("wire", true)).unwrap();
    }

    pub fn datapath(&self) -> &Datapath {
        self.running.as_ref().expect("the agent lives")
    }

    /// The agent ends without a word: its descriptors are closed, what is pinned stays.
    pub fn kill_agent(&mut self) {
        self.running = None;
    }

    /// An agent starts over what is pinned.
    pub fn start_agent(&mut self) {
        self.running = Some(Datapath::start(&self.settings).unwrap());
    }

    /// The events until one satisfies `wanted`; all of them when none did in time.
    pub fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Result<Event, Vec<Event>> {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            self.events.drain(|e| seen.push(*e));
            if let Some(found) = seen.iter().find(|e| wanted(e)) {
                return Ok(*found);
            }
            if Instant::now() > until {
                return Err(seen);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The reason of the next drop.
    pub fn next_drop(&mut self) -> u8 {
        self.event(|e| e.kind == EventKind::Drop as u8).map(|e| e.reason).expect("a drop")
    }

    pub fn forget_events(&mut self) {
        self.events.drain(|_| {});
    }
}

/// A UDP socket in a namespace.
pub fn socket_in(netns: &NetNs, address: impl Into<SocketAddr>) -> UdpSocket {
    let address = address.into();
    let socket = netns.run(|| UdpSocket::bind(address)).unwrap().unwrap_or_else(|e| panic!("bind {address}: {e}"));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    if address.is_ipv6() && address.port() == VXLAN_PORT {
        // VXLAN sends no UDP checksum, which over IPv6 only those accept who say so (RFC 6935).
        const UDP_NO_CHECK6_RX: libc::c_int = 102;
        let on: libc::c_int = 1;
        let length = size_of_val(&on) as libc::socklen_t;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        // SAFETY: the value lives through the call and its length is given.
        let result = unsafe {
            libc::setsockopt(fd, libc::IPPROTO_UDP, UDP_NO_CHECK6_RX, std::ptr::from_ref(&on).cast(), length)
        };
        assert_eq!(result, 0, "accept UDP without checksum: {}", std::io::Error::last_os_error());
    }
    socket
}

/// Sends a frame to the node as VXLAN does (RFC 7348 §5).
pub fn send_frame(socket: &UdpSocket, node: IpAddr, vni: u32, packet: &Packet) {
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(packet.bytes());
    socket.send_to(&bytes, (node, VXLAN_PORT)).unwrap();
}

/// Without it checksums are real ones on the wire (`ethtool -K <device> tx on|off`).
fn checksum_offload(device: &str, on: bool) {
    /// `SIOCETHTOOL` and `ETHTOOL_STXCSUM` (`linux/sockios.h`, `linux/ethtool.h`).
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    const ETHTOOL_STXCSUM: u32 = 0x17;
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut value = [ETHTOOL_STXCSUM, u32::from(on)];
    // SAFETY: all-zero is a valid value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request names a device and points to a value that lives through the call.
    let result = unsafe {
        libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), SIOCETHTOOL as _, std::ptr::from_mut(&mut request))
    };
    assert_eq!(result, 0, "switch checksum offload: {}", std::io::Error::last_os_error());
}
