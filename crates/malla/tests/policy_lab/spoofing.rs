//! Whoever claims to be somebody else: each packet is wrong in one thing, is dropped for that reason, and does not arrive. The
//! same packet without the lie does.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use l2_announce::packet_socket::{Listen, PacketSocket};
use network_namespace::NetNs;
use serde_json::Value;

use crate::cluster::{Cluster, malla_path, text};
use crate::pods::{self, Place, Pod};

type Mac = [u8; 6];

/// Where nobody serves anything in the other tests.
const PORT: u16 = 4444;
const VXLAN_PORT: u16 = 8472;

struct Lab {
    cluster: Cluster,
    places: Vec<Place>,
    /// Packets sent so far: each has its own payload.
    sent: u32,
}

/// A listener in a Pod, and where it is.
struct Ear {
    socket: UdpSocket,
    address: IpAddr,
}

impl Lab {
    fn up(routing: &str) -> Self {
        let cluster = Cluster::up(&["--routing", routing]);
        let places = pods::start(&cluster);
        Self { cluster, places, sent: 0 }
    }

    fn pod(&self, name: &str) -> &Place {
        let pod = Pod::all().find(|pod| pod.name() == name).expect("a Pod");
        &self.places[pod.0]
    }

    /// The namespace of a Pod (`x/a`), a node, `fabric` or `outside`.
    fn namespace(&self, of: &str) -> NetNs {
        let named = || PathBuf::from("/run/netns").join(format!("{}-{of}", self.cluster.name));
        NetNs::open(if of.contains('/') { self.pod(of).netns.clone() } else { named() }).unwrap()
    }

    fn listen(&self, pod: &str, family: usize) -> Ear {
        let address = self.pod(pod).addresses[family];
        let socket = self.namespace(pod).run(|| UdpSocket::bind((address, PORT))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        Ear { socket, address }
    }

    /// How often a node dropped something for this reason.
    fn dropped(&self, node: &str, reason: &str) -> u64 {
        let arguments = ["bpf", "stats", "--lab", &self.cluster.name, "--node", node, "-o", "json"];
        let said = Command::new(malla_path()).args(arguments).env_remove("MALLA_LAB").output().unwrap();
        assert!(said.status.success(), "{}", text(&said));
        let all: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
        let is = |entry: &&Value| entry["kind"] == "dropped" && entry["name"] == reason;
        all.iter().find(is).and_then(|entry| entry["packets"].as_u64()).unwrap_or(0)
    }

    fn payload(&mut self) -> Vec<u8> {
        self.sent += 1;
        format!("packet {}", self.sent).into_bytes()
    }

    /// The lie is dropped at this node for this reason, and nobody hears of it.
    fn refused(&mut self, what: &str, node: &str, reason: &str, ear: &Ear, send: impl FnOnce(&Self, &[u8])) {
        let payload = self.payload();
        let before = self.dropped(node, reason);
        send(self, &payload);
        let started = Instant::now();
        while self.dropped(node, reason) == before {
            assert!(started.elapsed() < Duration::from_secs(5), "{what}: not dropped at {node} for {reason}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!ear.hears(&payload), "{what}: it arrived");
    }

    /// The same without a lie.
    fn arrives(&mut self, what: &str, ear: &Ear, send: impl Fn(&Self, &[u8])) {
        let payload = self.payload();
        // The first one may be lost to a neighbour that is looked for.
        assert!(
            (0..3).any(|_| {
                send(self, &payload);
                ear.hears(&payload)
            }),
            "{what}: it did not arrive"
        );
    }
}

impl Ear {
    fn hears(&self, payload: &[u8]) -> bool {
        let mut buffer = [0; 256];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            if &buffer[..length] == payload {
                return true;
            }
        }
        false
    }
}

/// A UDP packet in an Ethernet frame.
fn frame(macs: (Mac, Mac), from: IpAddr, to: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
    let ip = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("{from} and {to} are of two families"),
    };
    let mut bytes = Vec::new();
    ip.udp(ports.0, ports.1).write(&mut bytes, payload).unwrap();
    bytes
}

/// What a VXLAN device would send as the payload of UDP (RFC 7348 §5), with an inner packet to the ear.
fn tunnelled(vni: u32, from: IpAddr, ear: &Ear, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(frame(([2; 6], [4; 6]), from, ear.address, (5555, PORT), payload));
    bytes
}

/// Sends a whole frame from a device of a namespace.
fn send_frame(namespace: &NetNs, device: u32, frame: &[u8]) {
    let sent = namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { PacketSocket::open(Listen::Arp, device).unwrap().send(frame) })
    });
    sent.unwrap().unwrap();
}

fn send_datagram(namespace: &NetNs, from: IpAddr, to: SocketAddr, payload: &[u8]) {
    let sent = namespace.run(|| UdpSocket::bind((from, 0)).unwrap().send_to(payload, to));
    sent.unwrap().unwrap();
}

/// Index and MAC address of a device.
fn device(namespace: &NetNs, name: &str) -> (u32, Mac) {
    let link = namespace.run(|| netlink::Netlink::open().unwrap().link(name).unwrap()).unwrap();
    (link.index, link.mac.expect("an Ethernet device").0)
}

/// A Pod that uses another's address or MAC, or speaks the tunnel itself.
fn pods_lie(lab: &mut Lab) {
    let namespace = lab.namespace("x/b");
    let (index, own) = device(&namespace, "eth0");
    let gateway = gateway(&lab.namespace("x/b"));
    let (_, other) = device(&lab.namespace("y/b"), "eth0");
    for family in [0, 1] {
        let ear = lab.listen("z/b", family);
        let to = ear.address;
        let of = |lab: &Lab, pod: &str| lab.pod(pod).addresses[family];
        let address = of(lab, "x/b");
        let send = |from: IpAddr, mac: Mac| {
            let namespace = namespace.try_clone().unwrap();
            move |_: &Lab, payload: &[u8]| {
                send_frame(&namespace, index, &frame((mac, gateway), from, to, (5555, PORT), payload));
            }
        };
        lab.arrives("a Pod as itself", &ear, send(address, own));
        let node: IpAddr = ["172.18.0.3", "fc00:f853:ccd:e793::3"][family].parse().unwrap();
        let world: IpAddr = ["203.0.113.2", "2001:db8:113::2"][family].parse().unwrap();
        for (what, from) in [
            ("its neighbour's address", of(lab, "y/b")),
            ("a remote Pod's address", of(lab, "x/c")),
            ("its node's address", node),
            ("an address of the world", world),
        ] {
            let what = format!("a Pod with {what}");
            lab.refused(&what, "worker-1", "INVALID_SOURCE_IP", &ear, send(from, own));
        }
        lab.refused("a Pod with its neighbour's MAC", "worker-1", "INVALID_SOURCE_MAC", &ear, send(address, other));
    }
    let ear = lab.listen("z/c", 0);
    let from = lab.pod("x/c").addresses[0];
    let own = lab.pod("x/b").addresses[0];
    lab.refused("a Pod that speaks VXLAN", "worker-1", "ENCAPSULATION_TRAFFIC_IS_PROHIBITED", &ear, |_, payload| {
        let node = SocketAddr::from(([172, 18, 0, 4], VXLAN_PORT));
        send_datagram(&namespace, own, node, &tunnelled(300, from, &ear, payload));
    });
}

/// The MAC address that a Pod's packets go to.
fn gateway(namespace: &NetNs) -> Mac {
    let all = namespace.run(|| Command::new("ip").args(["-4", "neigh", "show"]).output().unwrap()).unwrap();
    let said = text(&all);
    let mac = said.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    let bytes: Vec<u8> = mac
        .unwrap_or_else(|| panic!("no neighbour: {said}"))
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().expect("a MAC address")
}

/// Numbers of identities, as the agents tell them.
fn identity(lab: &Lab, pod: &str) -> u32 {
    let arguments = ["endpoint", "get", pod, "--lab", &lab.cluster.name, "-o", "json"];
    let said = Command::new(malla_path()).args(arguments).env_remove("MALLA_LAB").output().unwrap();
    let all: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", text(&said)));
    all[0]["identity"].as_u64().expect("a number") as u32
}

/// Nodes, and what pretends to be one, at the door of worker-1.
fn tunnels_lie(lab: &mut Lab) {
    let door = SocketAddr::from(([172, 18, 0, 3], VXLAN_PORT));
    let worker_2: IpAddr = [172, 18, 0, 4].into();
    let number = identity(lab, "x/c");
    for family in [0, 1] {
        let ear = lab.listen("z/b", family);
        let from = |lab: &Lab, pod: &str| lab.pod(pod).addresses[family];
        let send = |place: &'static str, own: IpAddr, vni: u32, inner: IpAddr| {
            let ear = &ear;
            move |lab: &Lab, payload: &[u8]| {
                send_datagram(&lab.namespace(place), own, door, &tunnelled(vni, inner, ear, payload));
            }
        };
        let (own, world) = (from(lab, "x/c"), ["203.0.113.9", "2001:db8:113::9"][family].parse().unwrap());
        lab.arrives("a node with its Pod", &ear, send("worker-2", worker_2, number, own));
        lab.arrives("a node with a client from outside", &ear, send("worker-2", worker_2, 2, world));
        for (what, inner) in [
            ("a Pod of a third node", from(lab, "x/a")),
            ("a Pod of the receiver", from(lab, "y/b")),
            ("the receiver", ["172.18.0.3", "fc00:f853:ccd:e793::3"][family].parse().unwrap()),
            ("a third node", ["172.18.0.2", "fc00:f853:ccd:e793::2"][family].parse().unwrap()),
            ("a Service", ["10.96.0.1", "fd00:10:96::1"][family].parse().unwrap()),
        ] {
            let what = format!("a node that forwards {what}");
            lab.refused(&what, "worker-1", "INVALID_SOURCE_IP", &ear, send("worker-2", worker_2, number, inner));
        }
        for (what, vni, inner, reason) in [
            ("a client from outside with a Pod's identity", number, world, "INVALID_IDENTITY"),
            ("a client from outside as the receiver's node", 1, world, "INVALID_IDENTITY"),
            ("a Pod as the receiver's node", 1, own, "INVALID_IDENTITY"),
            ("a Pod as a node", 6, own, "INVALID_IDENTITY"),
            ("a Pod of another cluster", (7 << 16) | number, own, "INVALID_VNI"),
        ] {
            lab.refused(what, "worker-1", reason, &ear, send("worker-2", worker_2, vni, inner));
        }
        // The fabric's address is on the nodes' segment and no node's.
        let fabric: IpAddr = [172, 18, 0, 1].into();
        lab.refused("no node, with a Pod", "worker-1", "INVALID_SOURCE_IP", &ear, send("fabric", fabric, number, own));
        lab.refused("no node, with a client", "worker-1", "UNKNOWN_SENDER", &ear, send("fabric", fabric, 2, world));
    }
}

/// Frames from the device of worker-2 that name another device, or another node, at the door of worker-1.
fn devices_lie(lab: &mut Lab) {
    let (index, own) = device(&lab.namespace("worker-2"), "eth0");
    let (_, door) = device(&lab.namespace("worker-1"), "eth0");
    let [control_plane, worker_1, worker_2]: [IpAddr; 3] = [2, 3, 4].map(|last| [172, 18, 0, last].into());
    let number = identity(lab, "x/c");
    let other = [own[0], own[1], own[2], own[3], own[4], own[5] ^ 1];
    let third = identity(lab, "x/a");
    for family in [0, 1] {
        let ear = lab.listen("z/b", family);
        let (to, pod) = (&ear, lab.pod("x/c").addresses[family]);
        let of_third = lab.pod("x/a").addresses[family];
        let send = |mac: Mac, node: IpAddr, vni: u32, inner: IpAddr| {
            move |lab: &Lab, payload: &[u8]| {
                let outer = frame((mac, door), node, worker_1, (5555, VXLAN_PORT), &tunnelled(vni, inner, to, payload));
                send_frame(&lab.namespace("worker-2"), index, &outer);
            }
        };
        lab.arrives("a node by its device", &ear, send(own, worker_2, number, pod));
        let reason = "INVALID_SOURCE_MAC";
        lab.refused("a node by another device", "worker-1", reason, &ear, send(other, worker_2, number, pod));
        let another = send(own, control_plane, third, of_third);
        lab.refused("another node's tunnel by this node's device", "worker-1", reason, &ear, another);
    }
}

/// With native routing there is no tunnel to tell who sent: the device is all that does.
fn devices_lie_natively(lab: &mut Lab) {
    // Sent from the segment itself: a node lets no such frame out.
    let (index, _) = device(&lab.namespace("fabric"), "br0");
    let (_, own) = device(&lab.namespace("worker-2"), "eth0");
    let (_, door) = device(&lab.namespace("worker-1"), "eth0");
    let other = [own[0], own[1], own[2], own[3], own[4], own[5] ^ 1];
    for family in [0, 1] {
        let ear = lab.listen("z/b", family);
        let to = ear.address;
        let send = |mac: Mac, from: IpAddr| {
            move |lab: &Lab, payload: &[u8]| {
                let whole = frame((mac, door), from, to, (5555, PORT), payload);
                send_frame(&lab.namespace("fabric"), index, &whole);
            }
        };
        let pod = |lab: &Lab, name: &str| lab.pod(name).addresses[family];
        let node: IpAddr = ["172.18.0.2", "fc00:f853:ccd:e793::2"][family].parse().unwrap();
        let world: IpAddr = ["203.0.113.9", "2001:db8:113::9"][family].parse().unwrap();
        let (its, of_third, here) = (pod(lab, "x/c"), pod(lab, "x/a"), pod(lab, "y/b"));
        lab.arrives("a Pod by its node's device", &ear, send(own, its));
        lab.arrives("the world by any device", &ear, send(other, world));
        let reason = "INVALID_SOURCE_MAC";
        lab.refused("a Pod by a device of nobody", "worker-1", reason, &ear, send(other, its));
        lab.refused("a third node's Pod by this node's device", "worker-1", reason, &ear, send(own, of_third));
        lab.refused("a third node by this node's device", "worker-1", reason, &ear, send(own, node));
        lab.refused("the receiver's Pod", "worker-1", "INVALID_SOURCE_IP", &ear, send(own, here));
    }
}

/// Every agent knows the devices of the two others.
fn devices_are_known(lab: &Lab) {
    let arguments = ["status", "--lab", &lab.cluster.name, "-o", "json"];
    let said = Command::new(malla_path()).args(arguments).env_remove("MALLA_LAB").output().unwrap();
    let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{}", text(&said)));
    let nodes = report["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        let origins = serde_json::json!({"by_device": 2, "unknown": [], "by_address": []});
        assert_eq!(node["status"]["node_origins"], origins, "{node}");
    }
}

#[test]
fn nobody_passes_for_somebody_else() {
    let mut lab = Lab::up("vxlan");
    devices_are_known(&lab);
    pods_lie(&mut lab);
    tunnels_lie(&mut lab);
    devices_lie(&mut lab);
}

#[test]
fn nobody_passes_for_somebody_else_natively() {
    let mut lab = Lab::up("native");
    devices_lie_natively(&mut lab);
}
