//! The overlay with real VXLAN frames over a veth: what the other node sends arrives or is refused, and what leaves
//! carries the right key. Attached as an agent would (by links, or by clsact where the kernel has no tcx).

mod bench;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};

use bench::checksum;
use bench::packet::{ACK, ETHERNET, Packet, RST, SYN};
use bench::topology::{PATIENCE, Topology, VXLAN_PORT, send_frame as send, socket_in, wire_addresses};
use bench::world::{BOTH, Family, POD_IDENTITY, REMOTE_IDENTITY, SERVICE_ID, V4, V6, backend, put_row};
use datapath_layouts::policy::{Direction, policy_flags};
use datapath_layouts::route::FLAG_TUNNEL;
use datapath_layouts::{
    AddressKey, Backend, DropReason, Endpoint, EventKind, Frontend, FrontendKey, ObservationPoint, Policy, PolicyKey,
    PrefixKey, Route, RouteKind, identity,
};

const CLIENT: u16 = 40000;
const SERVER: u16 = 443;

/// The next frame that the node sent: its VNI, and the inner frame.
fn receive(socket: &UdpSocket) -> (u32, Vec<u8>) {
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer).expect("a frame from the node");
    assert_eq!(buffer[0], 8, "the VNI is valid");
    let vni = u32::from_be_bytes(buffer[4..8].try_into().unwrap()) >> 8;
    (vni, buffer[8..length].to_vec())
}

/// Inner source and destination of a frame without options or extension headers, and its UDP ports.
fn ends(frame: &[u8]) -> ((IpAddr, u16), (IpAddr, u16)) {
    let ip = &frame[ETHERNET..];
    let (source, destination, udp): (IpAddr, IpAddr, usize) = if ip[0] >> 4 == 4 {
        let a = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
        (a(12), a(16), 20)
    } else {
        let a = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
        (a(8), a(24), 40)
    };
    let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    ((source, port(udp)), (destination, port(udp + 2)))
}

fn any(f: Family) -> IpAddr {
    if f == V4 { "0.0.0.0" } else { "::" }.parse().unwrap()
}

#[test]
fn frames_of_the_overlay() {
    let mut t = Topology::new();
    let other = socket_in(&t.wire, (V4.other_node(), VXLAN_PORT));
    for f in BOTH {
        let server = socket_in(&t.pod, (any(f), SERVER));
        arrives_and_is_answered(&mut t, f, &other, &server, V4.node());
        a_client_that_entered_elsewhere(&mut t, f, &other, &server);
        a_client_that_enters_by_another_node(&mut t, f, &other, &server);
        one_port_by_two_nodes(&mut t, f, &other);
        refused(&mut t, f, &other, &server);
        the_host(&mut t, f, &other);
        the_hosts_policy(&mut t, f, &other);
        a_node_is_who_its_address_says(&mut t, f, &other, &server);
        a_host_port(&mut t, f, &other, &server);
    }
    by_ipv6(&mut t);
}

fn arrives_and_is_answered(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket, node: IpAddr) {
    t.forget_events();
    // The inner MAC addresses are nobody's.
    let request = Packet::udp((f.remote(), CLIENT), (f.pod(), SERVER)).macs([0xaa; 6], [0xba; 6]);
    send(other, node, REMOTE_IDENTITY, &request);
    let mut buffer = [0; 100];
    let (length, client) = server.recv_from(&mut buffer).expect("the frame's content in the Pod");
    assert_eq!((&buffer[..length], client.ip(), client.port()), (&b"question"[..], f.remote(), CLIENT));
    let event = t.event(|e| e.kind == EventKind::NewFlow as u8).expect("a new flow");
    assert_eq!(event.point, ObservationPoint::ToEndpoint as u8);
    assert_eq!((event.source_identity, event.destination_identity), (REMOTE_IDENTITY, POD_IDENTITY));
    server.send_to(b"answer", client).unwrap();
    let (vni, frame) = receive(other);
    assert_eq!(vni, POD_IDENTITY, "the Pod's identity travels with its packet");
    assert_eq!(ends(&frame), ((f.pod(), SERVER), (f.remote(), CLIENT)));
    checksum::check(&frame).unwrap();
}

fn a_client_that_entered_elsewhere(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket) {
    t.forget_events();
    send(other, V4.node(), identity::WORLD, &Packet::udp((f.world(), CLIENT), (f.pod(), SERVER)));
    let mut buffer = [0; 100];
    let (_, client) = server.recv_from(&mut buffer).expect("the client's packet in the Pod");
    assert_eq!(client.ip(), f.world(), "the client's address is kept");
    server.send_to(b"answer", client).unwrap();
    let (vni, frame) = receive(other);
    assert_eq!(vni, POD_IDENTITY);
    assert_eq!(ends(&frame), ((f.pod(), SERVER), (f.world(), CLIENT)), "the answer goes back by the node it came from");
    checksum::check(&frame).unwrap();
}

/// A load balancer's address went to another node, and with it the client's way in.
fn a_client_that_enters_by_another_node(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket) {
    let address = wire_addresses()[2];
    let second = socket_in(&t.wire, (address, VXLAN_PORT));
    let key = PrefixKey::from_ip(address, 32);
    let node = Route { tunnel: address.into(), kind: RouteKind::RemoteNode as u8, ..Route::ZERO };
    t.datapath().maps().ipcache.insert(&key, &node).unwrap();
    let mut buffer = [0; 100];
    for by in [other, &second, other] {
        send(by, V4.node(), identity::WORLD, &Packet::udp((f.world(), CLIENT), (f.pod(), SERVER)));
        let (_, client) = server.recv_from(&mut buffer).expect("the client's packet in the Pod");
        server.send_to(b"answer", client).unwrap();
        assert_eq!(ends(&receive(by).1).1, (f.world(), CLIENT), "the answer follows the client");
    }
    // Who is no node moves nothing.
    t.datapath().maps().ipcache.remove(&key).unwrap();
    t.forget_events();
    send(&second, V4.node(), identity::WORLD, &Packet::udp((f.world(), CLIENT), (f.pod(), SERVER)));
    assert_eq!(t.next_drop(), DropReason::UnknownSender as u8);
    server.send_to(b"answer", (f.world(), CLIENT)).unwrap();
    assert_eq!(ends(&receive(other).1).1, (f.world(), CLIENT));
}

/// One client, one of its ports, the NodePorts of two nodes, and one backend: two connections.
fn one_port_by_two_nodes(t: &mut Topology, f: Family, first: &UdpSocket) {
    let address = wire_addresses()[2];
    let second = socket_in(&t.wire, (address, VXLAN_PORT));
    let key = PrefixKey::from_ip(address, 32);
    let node = Route { tunnel: address.into(), kind: RouteKind::RemoteNode as u8, ..Route::ZERO };
    t.datapath().maps().ipcache.insert(&key, &node).unwrap();
    let listener = t.pod.run(|| TcpListener::bind((f.pod(), SERVER))).unwrap().unwrap();
    let segment = |flags| Packet::tcp((f.world(), CLIENT), (f.pod(), SERVER), flags);
    let word = |frame: &[u8], at: usize| {
        let at = ETHERNET + if f == V4 { 20 } else { 40 } + at;
        u32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
    };
    let mut peers = Vec::new();
    let mut open = Vec::new();
    for by in [first, &second] {
        send(by, V4.node(), identity::WORLD, &segment(SYN).numbers(1000, 0));
        let (_, frame) = receive(by);
        assert_eq!(ends(&frame), ((f.pod(), SERVER), (f.world(), CLIENT)), "SYN and ACK to the client's own port");
        assert_eq!(word(&frame, 8), 1001);
        checksum::check(&frame).unwrap();
        let theirs = word(&frame, 4).wrapping_add(1);
        send(by, V4.node(), identity::WORLD, &segment(ACK).numbers(1001, theirs));
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), f.world());
        peers.push(peer.port());
        open.push((by, stream, theirs));
    }
    assert!(peers[0] == CLIENT && peers[1] != CLIENT, "{peers:?}");
    // Each says something, and ends, without the other.
    for (by, mut stream, theirs) in open {
        stream.write_all(b"hello").unwrap();
        let (_, frame) = receive(by);
        assert_eq!((ends(&frame).1, word(&frame, 4)), ((f.world(), CLIENT), theirs));
        checksum::check(&frame).unwrap();
        send(by, V4.node(), identity::WORLD, &segment(RST | ACK).numbers(1001, theirs));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    t.datapath().maps().ipcache.remove(&key).unwrap();
}

/// A frame that must not arrive: what is wrong, outer source, VNI, inner source and destination, and the reason.
type Refused = (&'static str, IpAddr, u32, IpAddr, IpAddr, DropReason);

fn refused(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket) {
    let [node, _, second, stranger, _] = wire_addresses();
    let cases: [Refused; 9] = [
        (
            "another node's Pod from the wrong node",
            second,
            REMOTE_IDENTITY,
            f.remote(),
            f.pod(),
            DropReason::InvalidSourceIp,
        ),
        ("our own Pod", node, POD_IDENTITY, f.neighbour(), f.pod(), DropReason::InvalidSourceIp),
        ("our own range", node, POD_IDENTITY, f.nobody(), f.pod(), DropReason::InvalidSourceIp),
        ("ourselves", node, identity::HOST, f.node(), f.pod(), DropReason::InvalidSourceIp),
        ("an address in no table", node, identity::WORLD, f.unknown(), f.pod(), DropReason::InvalidSourceIp),
        ("the world with a Pod's identity", node, POD_IDENTITY, f.world(), f.pod(), DropReason::InvalidIdentity),
        (
            "the world from an address that is no node",
            stranger,
            identity::WORLD,
            f.world(),
            f.pod(),
            DropReason::UnknownSender,
        ),
        ("another cluster", node, 1 << 16 | REMOTE_IDENTITY, f.remote(), f.pod(), DropReason::InvalidVni),
        ("a Pod that is not here", node, REMOTE_IDENTITY, f.remote(), f.nobody(), DropReason::NoLocalEndpoint),
    ];
    for (what, outer, vni, source, destination, reason) in cases {
        let sender = if outer == node { other.try_clone().unwrap() } else { socket_in(&t.wire, (outer, VXLAN_PORT)) };
        t.forget_events();
        send(&sender, V4.node(), vni, &Packet::udp((source, CLIENT), (destination, SERVER)));
        assert_eq!(t.next_drop(), reason as u8, "{what} ({f:?})");
    }
    // The node relays for nobody, not even between two others.
    t.forget_events();
    send(other, V4.node(), REMOTE_IDENTITY, &Packet::udp((f.remote(), CLIENT), (f.world(), SERVER)));
    assert_eq!(t.next_drop(), DropReason::StaleOrUnroutable as u8);
    server.set_nonblocking(true).unwrap();
    assert!(server.recv_from(&mut [0; 100]).is_err(), "nothing of this reached the Pod");
    server.set_nonblocking(false).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// The host's own stack at both ends of the overlay's device.
fn the_host(t: &mut Topology, f: Family, other: &UdpSocket) {
    let host = UdpSocket::bind((f.node(), 5000)).unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    t.forget_events();
    host.send_to(b"hello", (f.remote(), SERVER)).unwrap();
    let (vni, frame) = receive(other);
    assert_eq!(vni, identity::REMOTE_NODE, "to others the host is a remote node");
    assert_eq!(ends(&frame), ((f.node(), 5000), (f.remote(), SERVER)));
    send(other, V4.node(), REMOTE_IDENTITY, &Packet::udp((f.remote(), SERVER), (f.node(), 5000)));
    let mut buffer = [0; 100];
    let (length, from) = host.recv_from(&mut buffer).expect("the answer at the host");
    assert_eq!((&buffer[..length], from.ip()), (&b"question"[..], f.remote()));
}

/// What a Pod elsewhere sends to the node is judged by the node's policy, as long as it has one.
fn the_hosts_policy(t: &mut Topology, f: Family, other: &UdpSocket) {
    const PORT: u16 = 5001;
    let host = UdpSocket::bind((f.node(), PORT)).unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    let maps = t.datapath().maps();
    let key = AddressKey::local(f.node().into());
    let endpoint = maps.endpoints.get(&key).unwrap().expect("the node");
    let direction = |direction| PolicyKey::new(identity::HOST, direction);
    let shut = Policy { epoch: 1, flags: policy_flags::DEFAULT_DENY, ..Policy::ZERO };
    maps.policies.insert(&direction(Direction::Ingress), &shut).unwrap();
    maps.policies.insert(&direction(Direction::Egress), &Policy { epoch: 1, ..Policy::ZERO }).unwrap();
    maps.endpoints.insert(&key, &Endpoint { policy_id: identity::HOST, ..endpoint }).unwrap();
    let asks = Packet::udp((f.remote(), CLIENT + 3), (f.node(), PORT));
    t.forget_events();
    send(other, V4.node(), REMOTE_IDENTITY, &asks);
    let drop = t.event(|e| e.kind == EventKind::Drop as u8).expect("a drop");
    assert_eq!(drop.reason, DropReason::PolicyDenied as u8);
    assert_eq!((drop.source_identity, drop.destination_identity), (REMOTE_IDENTITY, identity::HOST));
    // It speaks where it likes, and is answered.
    host.send_to(b"hello", (f.remote(), SERVER)).unwrap();
    assert_eq!(ends(&receive(other).1), ((f.node(), PORT), (f.remote(), SERVER)));
    send(other, V4.node(), REMOTE_IDENTITY, &Packet::udp((f.remote(), SERVER), (f.node(), PORT)));
    let mut buffer = [0; 100];
    assert_eq!(host.recv_from(&mut buffer).expect("the answer at the host").1.port(), SERVER);
    let maps = t.datapath().maps();
    maps.endpoints.insert(&key, &endpoint).unwrap();
    send(other, V4.node(), REMOTE_IDENTITY, &asks);
    assert_eq!(host.recv_from(&mut buffer).expect("what nobody judges").1.port(), CLIENT + 3);
    for key in [Direction::Ingress, Direction::Egress].map(direction) {
        maps.policies.remove(&key).unwrap();
    }
}

/// Another node is who its address says, not who it claims to be: not a Pod, and least of all this node, whom every Pod here
/// lets in. What comes from the tunnel with that claim is dropped.
fn a_node_is_who_its_address_says(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket) {
    let asks = Packet::udp((f.other_node(), CLIENT), (f.pod(), SERVER));
    t.forget_events();
    send(other, V4.node(), identity::HOST, &asks);
    let drop = t.event(|e| e.kind == EventKind::Drop as u8).expect("a drop");
    assert_eq!(drop.reason, DropReason::InvalidIdentity as u8);
    send(other, V4.node(), identity::REMOTE_NODE, &asks);
    server.recv_from(&mut [0; 100]).expect("the frame's content in the Pod");
    let event = t.event(|e| e.kind == EventKind::NewFlow as u8).expect("a new flow");
    assert_eq!((event.source_identity, event.destination_identity), (identity::REMOTE_NODE, POD_IDENTITY));
}

/// A Pod of the other node asks for a port of this node that is a Pod's: it comes by the tunnel, and so does the answer.
fn a_host_port(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket) {
    const HOST_PORT: u16 = 8081;
    let client = (f.remote(), CLIENT + 7);
    let asks = |port| Packet::udp(client, (f.node(), port));
    let host = UdpSocket::bind((f.node(), HOST_PORT + 1)).unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    put_row(t.datapath().maps(), SERVICE_ID, &[Backend { port: SERVER, ..backend(f.pod(), 1) }]);
    let key = FrontendKey { address: f.node().into(), port: HOST_PORT, protocol: 17, cluster: 0 };
    t.datapath().maps().frontends.insert(&key, &Frontend::with_row(SERVICE_ID, 1)).unwrap();
    let mut buffer = [0; 100];
    for _ in 0..2 {
        send(other, V4.node(), REMOTE_IDENTITY, &asks(HOST_PORT));
        let (_, from) = server.recv_from(&mut buffer).expect("the question in the Pod");
        assert_eq!((from.ip(), from.port()), client, "the client's address is kept");
        server.send_to(b"answer", from).unwrap();
        let (vni, frame) = receive(other);
        assert_eq!((vni, ends(&frame)), (POD_IDENTITY, ((f.node(), HOST_PORT), client)));
        checksum::check(&frame).unwrap();
    }
    // The port beside it is the node's own.
    send(other, V4.node(), REMOTE_IDENTITY, &asks(HOST_PORT + 1));
    assert_eq!(host.recv_from(&mut buffer).expect("the question at the host").1.ip(), client.0);
    t.datapath().maps().frontends.remove(&key).unwrap();
}

/// The same over an IPv6 underlay, for Pods of a node that is known by its IPv6 address.
fn by_ipv6(t: &mut Topology) {
    for f in BOTH {
        let route = Route {
            tunnel: V6.other_node().into(),
            identity: REMOTE_IDENTITY,
            kind: RouteKind::RemotePods as u8,
            flags: FLAG_TUNNEL,
            ..Route::ZERO
        };
        let length = if f == V4 { 24 } else { 64 };
        t.datapath().maps().ipcache.insert(&PrefixKey::from_ip(f.remote(), length), &route).unwrap();
    }
    let other = socket_in(&t.wire, (V6.other_node(), VXLAN_PORT));
    let stranger = socket_in(&t.wire, (wire_addresses()[4], VXLAN_PORT));
    for f in BOTH {
        let server = socket_in(&t.pod, (any(f), SERVER));
        arrives_and_is_answered_again(t, f, &other, &server);
        t.forget_events();
        send(&stranger, V6.node(), REMOTE_IDENTITY, &Packet::udp((f.remote(), CLIENT + 1), (f.pod(), SERVER)));
        assert_eq!(t.next_drop(), DropReason::InvalidSourceIp as u8);
    }
}

/// As [`arrives_and_is_answered`], with a flow of its own.
fn arrives_and_is_answered_again(t: &mut Topology, f: Family, other: &UdpSocket, server: &UdpSocket) {
    for (key, _) in t.datapath().maps().conntrack.entries().unwrap() {
        t.datapath().maps().conntrack.remove(&key).unwrap();
    }
    arrives_and_is_answered(t, f, other, server, V6.node());
}
