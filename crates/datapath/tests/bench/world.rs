//! The node in which every fixture plays: who lives where, in both families.

use std::net::IpAddr;

use datapath::maps::Maps;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::route::FLAG_TUNNEL;
use datapath_layouts::service::{BACKEND_LOCAL, FRONTEND_ADDRESS, FRONTEND_NODE_PORT};
use datapath_layouts::{
    Address, AddressKey, Backend, BackendKey, Endpoint, Frontend, FrontendKey, PrefixKey, Route, RouteKind, Routing,
    identity,
};

use super::Devices;

/// IP version; every fixture that can be, is made for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}
pub use Family::{V4, V6};

pub const BOTH: [Family; 2] = [V4, V6];

impl Family {
    fn pick(self, v4: &str, v6: &str) -> IpAddr {
        if self == V4 { v4 } else { v6 }.parse().unwrap()
    }
    /// A Pod of this node.
    pub fn pod(self) -> IpAddr {
        self.pick("10.244.0.10", "fd00:10:244::a")
    }
    /// Another Pod of this node.
    pub fn neighbour(self) -> IpAddr {
        self.pick("10.244.0.11", "fd00:10:244::b")
    }
    /// An address of this node's range that no Pod has.
    pub fn nobody(self) -> IpAddr {
        self.pick("10.244.0.99", "fd00:10:244::63")
    }
    /// A Pod of the other node.
    pub fn remote(self) -> IpAddr {
        self.pick("10.244.1.10", "fd00:10:244:1::a")
    }
    /// This node.
    pub fn node(self) -> IpAddr {
        self.pick("172.18.0.2", "fc00:f853:ccd:e793::2")
    }
    /// The other node.
    pub fn other_node(self) -> IpAddr {
        self.pick("172.18.0.3", "fc00:f853:ccd:e793::3")
    }
    /// The fabric's router.
    pub fn gateway(self) -> IpAddr {
        self.pick("172.18.0.1", "fc00:f853:ccd:e793::1")
    }
    /// Somebody outside.
    pub fn world(self) -> IpAddr {
        self.pick("203.0.113.2", "2001:db8:113::2")
    }
    /// A service's address.
    pub fn service(self) -> IpAddr {
        self.pick("10.96.0.20", "fd00:10:96::20")
    }
    /// A load balancer's address, in the range of the world.
    pub fn balanced(self) -> IpAddr {
        self.pick("203.0.113.200", "2001:db8:113::c8")
    }
    /// A node whose prefix is in no table.
    pub fn unknown(self) -> IpAddr {
        self.pick("192.168.77.7", "fd77::7")
    }
    /// The ICMP protocol.
    pub fn icmp(self) -> u8 {
        if self == V4 { 1 } else { 58 }
    }
}

pub const POD_MAC: [u8; 6] = [0x0a, 0, 0, 0, 0, 0x0a];
pub const NEIGHBOUR_MAC: [u8; 6] = [0x0a, 0, 0, 0, 0, 0x0b];
pub const HOST_MAC: [u8; 6] = [0x0e, 0, 0, 0, 0, 0x0a];

pub const POD_IDENTITY: u32 = 3000;
pub const NEIGHBOUR_IDENTITY: u32 = 3001;
/// Of the other node's Pods.
pub const REMOTE_IDENTITY: u32 = 3002;

/// Ports of the service that fixtures set up.
pub const SERVICE_PORT: u16 = 80;
pub const TARGET_PORT: u16 = 8080;
pub const NODE_PORT: u16 = 30080;
/// [`Frontend::service_id`] of the service, in both families.
pub const SERVICE_ID: u32 = 7;

/// A backend as fixtures name it.
pub fn backend(address: IpAddr, id: u32) -> Backend {
    Backend { address: address.into(), id, port: TARGET_PORT, flags: BACKEND_LOCAL, ..Backend::ZERO }
}

/// Writes the service: its ClusterIP and its NodePort, for TCP, UDP and SCTP.
pub fn put_service(maps: &Maps, family: Family, backends: &[Backend]) {
    put_frontend(maps, family, Frontend::with_row(SERVICE_ID, backends.len() as u32));
    put_row(maps, SERVICE_ID, backends);
}

/// Writes the service's frontends, whatever rows they name.
pub fn put_frontend(maps: &Maps, family: Family, frontend: Frontend) {
    let any = if family == V4 { Address::V4_ANY } else { Address::ZERO };
    for protocol in [6, 17, 132] {
        let exact = FrontendKey { address: family.service().into(), port: SERVICE_PORT, protocol, cluster: 0 };
        maps.frontends.insert(&exact, &frontend).unwrap();
        let node = FrontendKey { address: any, port: NODE_PORT, protocol, cluster: 0 };
        let flags = frontend.flags | FRONTEND_NODE_PORT;
        maps.frontends.insert(&node, &Frontend { flags, ..frontend }).unwrap();
    }
}

/// The service again, at its load balancer's address.
pub fn put_balanced(maps: &Maps, family: Family) {
    let key = FrontendKey { address: family.balanced().into(), port: SERVICE_PORT, protocol: 17, cluster: 0 };
    maps.frontends.insert(&key, &Frontend::with_row(SERVICE_ID, 1)).unwrap();
}

/// Writes a row of backends.
pub fn put_row(maps: &Maps, row: u32, backends: &[Backend]) {
    for (slot, backend) in backends.iter().enumerate() {
        maps.backends.insert(&BackendKey { service_id: row, slot: slot as u32 }, backend).unwrap();
    }
}

/// Says that services have this address.
pub fn put_address(maps: &Maps, address: IpAddr) {
    let entry = Frontend { flags: FRONTEND_ADDRESS, ..Frontend::ZERO };
    maps.frontends.insert(&FrontendKey::whole_address(address.into()), &entry).unwrap();
}

/// Pods, nodes and routes of one family.
fn put_family(maps: &Maps, devices: &Devices, routing: Routing, family: Family) {
    let pod = Endpoint {
        ifindex: devices.pod,
        id: 10,
        identity: POD_IDENTITY,
        mac: POD_MAC,
        host_mac: HOST_MAC,
        mtu: 1450,
        ..Endpoint::ZERO
    };
    let neighbour =
        Endpoint { ifindex: devices.neighbour, id: 11, identity: NEIGHBOUR_IDENTITY, mac: NEIGHBOUR_MAC, ..pod };
    let host = Endpoint { identity: identity::HOST, flags: FLAG_HOST, ..Endpoint::ZERO };
    for (address, endpoint) in [(family.pod(), pod), (family.neighbour(), neighbour), (family.node(), host)] {
        maps.endpoints.insert(&AddressKey::local(address.into()), &endpoint).unwrap();
    }
    // The underlay is IPv4 for both families, as in the lab.
    let tunnel = V4.other_node().into();
    let tunnelled = routing == Routing::Overlay;
    let remote = Route {
        tunnel,
        next_hop: if tunnelled { Address::ZERO } else { family.other_node().into() },
        identity: REMOTE_IDENTITY,
        ifindex: if tunnelled { 0 } else { devices.network },
        mtu: if tunnelled { 0 } else { 1500 },
        kind: RouteKind::RemotePods as u8,
        flags: if tunnelled { FLAG_TUNNEL } else { 0 },
        reserved: 0,
    };
    let node =
        Route { next_hop: Address::ZERO, identity: identity::REMOTE_NODE, kind: RouteKind::RemoteNode as u8, ..remote };
    let local = Route { kind: RouteKind::LocalPods as u8, ..Route::ZERO };
    let services = Route { kind: RouteKind::Services as u8, ..Route::ZERO };
    let link = Route {
        identity: identity::WORLD,
        ifindex: devices.network,
        mtu: 1500,
        kind: RouteKind::World as u8,
        ..Route::ZERO
    };
    let world = Route { next_hop: family.gateway().into(), ..link };
    let (pods, remotes, cluster, fabric, all) = if family == V4 {
        (24, 24, ("10.96.0.0", 12), ("172.18.0.0", 16), ("203.0.0.0", 8))
    } else {
        (64, 64, ("fd00:10:96::", 112), ("fc00:f853:ccd:e793::", 64), ("2000::", 3))
    };
    let full = if family == V4 { 32 } else { 128 };
    for (prefix, length, route) in [
        (family.pod(), pods, local),
        (family.remote(), remotes, remote),
        (family.other_node(), full, node),
        (cluster.0.parse().unwrap(), cluster.1, services),
        (fabric.0.parse().unwrap(), fabric.1, link),
        (all.0.parse().unwrap(), all.1, world),
    ] {
        maps.ipcache.insert(&PrefixKey::from_ip(prefix, length), &route).unwrap();
    }
}

/// Everything that a fixture may count on. Not a default route: what is in no table must have its fixture too.
pub fn put(maps: &Maps, devices: &Devices, routing: Routing) {
    for family in BOTH {
        put_family(maps, devices, routing, family);
    }
}
