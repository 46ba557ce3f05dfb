//! Direct server return at the backend's node, with real VXLAN frames over a veth: what the entry node passed on as it was is
//! served here, and the answer leaves by this node's own device with the service's address.

mod bench;

use std::net::{IpAddr, UdpSocket};

use bench::packet::{Packet, SYN, UDP};
use bench::topology::{Topology, VXLAN_PORT, send_frame, socket_in, wire_addresses};
use bench::tracked::tracked;
use bench::world::{
    BOTH, Family, NODE_PORT, POD_IDENTITY, REMOTE_IDENTITY, SERVICE_ID, SERVICE_PORT, TARGET_PORT, V4, backend,
    put_frontend, put_row,
};
use datapath_layouts::service::{FRONTEND_DSR, SERVICE_FLOW_DIRECT};
use datapath_layouts::{
    AddressKey, DropReason, Endpoint, EventKind, Frontend, FrontendKey, ObservationPoint, ServiceFlow, endpoint,
    identity,
};
use netlink::{Netlink, Route};

const CLIENT: u16 = 40000;
/// The row of this node's backends.
const HERE: u32 = 9;

/// The service with direct server return: a NodePort, and a load balancer's address. `here`: backends of this node.
fn serve(t: &Topology, f: Family, here: &[IpAddr], flags: u32) {
    let maps = t.datapath().maps();
    let frontend =
        Frontend { flags, local_id: HERE, local_backends: here.len() as u32, ..Frontend::with_row(SERVICE_ID, 1) };
    put_frontend(maps, f, frontend);
    let key = FrontendKey { address: f.balanced().into(), port: SERVICE_PORT, protocol: UDP, cluster: 0 };
    maps.frontends.insert(&key, &frontend).unwrap();
    // Chosen among all nodes' backends it would be the other node's: only this node's may answer.
    put_row(maps, SERVICE_ID, &[backend(f.remote(), 1)]);
    let here: Vec<_> = here.iter().enumerate().map(|(i, address)| backend(*address, i as u32 + 2)).collect();
    put_row(maps, HERE, &here);
}

/// A client's packet, as the entry node passes it on.
fn passed_on(entry: &UdpSocket, packet: &Packet) {
    send_frame(entry, V4.node(), identity::WORLD, packet);
}

fn any(f: Family) -> IpAddr {
    if f == V4 { "0.0.0.0" } else { "::" }.parse().unwrap()
}

/// Nothing came back to the node at which the client entered.
fn nothing_at(entry: &UdpSocket) {
    entry.set_nonblocking(true).unwrap();
    assert!(entry.recv_from(&mut [0; 2048]).is_err(), "the answer went back to the entry node");
    entry.set_nonblocking(false).unwrap();
}

#[test]
fn passed_on_packets_are_answered_straight() {
    let mut t = Topology::new();
    let entry = socket_in(&t.wire, (V4.other_node(), VXLAN_PORT));
    for f in BOTH {
        let server = socket_in(&t.pod, (any(f), TARGET_PORT));
        let client = socket_in(&t.wire, (f.world(), CLIENT));
        serve(&t, f, &[f.pod()], FRONTEND_DSR);
        answered(&mut t, f, &entry, &server, &client);
        keeps_its_backend(&t, f, &entry, &server);
        an_error_about_an_answer(&t, f, &entry, &server);
        refused(&mut t, f, &entry, &server);
        by_the_host(&mut t, f, &entry, &client);
    }
}

fn answered(t: &mut Topology, f: Family, entry: &UdpSocket, server: &UdpSocket, client: &UdpSocket) {
    t.forget_events();
    let request = Packet::udp((f.world(), CLIENT), (f.balanced(), SERVICE_PORT)).macs([0xaa; 6], [0xba; 6]);
    for _ in 0..2 {
        passed_on(entry, &request);
        let mut buffer = [0; 100];
        let (length, from) = server.recv_from(&mut buffer).expect("the client's packet in the Pod");
        assert_eq!((&buffer[..length], from.ip(), from.port()), (&b"question"[..], f.world(), CLIENT));
        server.send_to(b"answer", from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).expect("the answer at the client, by the node's own device");
        assert_eq!((&buffer[..length], from.ip(), from.port()), (&b"answer"[..], f.balanced(), SERVICE_PORT));
    }
    nothing_at(entry);
    let event = t.event(|e| e.kind == EventKind::NewFlow as u8).expect("a new flow");
    assert_eq!(event.point, ObservationPoint::ToEndpoint as u8);
    assert_eq!((event.source_identity, event.destination_identity), (identity::WORLD, POD_IDENTITY));
    assert_eq!((event.original, event.original_port), (f.balanced().into(), SERVICE_PORT));
    // To a NodePort of the entry node, whose address no answer of ours could have otherwise.
    passed_on(entry, &Packet::tcp((f.world(), CLIENT), (f.other_node(), NODE_PORT), SYN));
    let (key, _) = tracked(6, (f.world(), CLIENT), (f.pod(), TARGET_PORT)).key();
    let event = t.event(|e| e.kind == EventKind::NewFlow as u8).expect("a new flow");
    assert_eq!((event.original, event.original_port), (f.other_node().into(), NODE_PORT));
    // Nobody listens there: the Pod's reset has ended it by now, or does so soon.
    let flow = t.datapath().maps().half_open.get(&key).unwrap().expect("a tracked flow");
    assert_eq!((flow.service_address, flow.service_port), (f.other_node().into(), NODE_PORT));
}

/// Whatever the row says by now.
fn keeps_its_backend(t: &Topology, f: Family, entry: &UdpSocket, server: &UdpSocket) {
    serve(t, f, &[f.nobody()], FRONTEND_DSR);
    passed_on(entry, &Packet::udp((f.world(), CLIENT), (f.balanced(), SERVICE_PORT)));
    server.recv_from(&mut [0; 100]).expect("the flow goes on");
    // And what this node passed on itself while it was the entry node comes back to it as a new flow.
    serve(t, f, &[f.pod()], FRONTEND_DSR);
    let (key, _) = tracked(UDP, (f.world(), CLIENT + 1), (f.balanced(), SERVICE_PORT)).key();
    let flow = ServiceFlow {
        last_seen_ns: u64::MAX / 2,
        address: V4.other_node().into(),
        service_id: SERVICE_ID,
        flags: SERVICE_FLOW_DIRECT,
        ..ServiceFlow::ZERO
    };
    t.datapath().maps().service_flows.insert(&key, &flow).unwrap();
    passed_on(entry, &Packet::udp((f.world(), CLIENT + 1), (f.balanced(), SERVICE_PORT)));
    server.recv_from(&mut [0; 100]).expect("it is served here and goes no further");
    nothing_at(entry);
}

/// A router says that an answer was too big: that reaches the Pod which sent it.
fn an_error_about_an_answer(t: &Topology, f: Family, entry: &UdpSocket, server: &UdpSocket) {
    let answer = Packet::udp((f.balanced(), SERVICE_PORT), (f.world(), CLIENT));
    let (kind, code) = if f == V4 { (3, 3) } else { (1, 4) };
    let error = Packet::icmp(f.world(), f.balanced(), kind, code, [0; 4], &answer.ip_bytes());
    // A socket hears of ports that nobody listens at only when it is connected.
    t.pod.run(|| server.connect((f.world(), CLIENT))).unwrap().unwrap();
    passed_on(entry, &error);
    let heard = server.recv(&mut [0; 100]).expect_err("the error at the Pod's socket");
    assert_eq!(heard.kind(), std::io::ErrorKind::ConnectionRefused);
    disconnect(server);
}

/// `connect(2)` to nobody.
fn disconnect(socket: &UdpSocket) {
    let nobody = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    let length = size_of_val(&nobody) as libc::socklen_t;
    let fd = std::os::fd::AsRawFd::as_raw_fd(socket);
    // SAFETY: the address lives through the call and its length is given.
    assert_eq!(unsafe { libc::connect(fd, &raw const nobody, length) }, 0);
}

fn refused(t: &mut Topology, f: Family, entry: &UdpSocket, server: &UdpSocket) {
    let [_, _, second, _, _] = wire_addresses();
    let stranger = socket_in(&t.wire, (second, VXLAN_PORT));
    let packet = |port| Packet::udp((f.world(), port), (f.balanced(), SERVICE_PORT));
    t.forget_events();
    send_frame(&stranger, V4.node(), identity::WORLD, &packet(CLIENT + 2));
    assert_eq!(t.next_drop(), DropReason::UnknownSender as u8, "from an address that is no node");
    t.forget_events();
    send_frame(entry, V4.node(), REMOTE_IDENTITY, &packet(CLIENT + 2));
    assert_eq!(t.next_drop(), DropReason::InvalidIdentity as u8, "with a Pod's identity");
    t.forget_events();
    send_frame(entry, V4.node(), REMOTE_IDENTITY, &Packet::udp((f.remote(), CLIENT), (f.balanced(), SERVICE_PORT)));
    assert_eq!(t.next_drop(), DropReason::StaleOrUnroutable as u8, "a Pod's: it has a way of its own to the service");
    serve(t, f, &[], FRONTEND_DSR);
    t.forget_events();
    passed_on(entry, &packet(CLIENT + 2));
    assert_eq!(t.next_drop(), DropReason::NoLocalBackend as u8, "without a backend here it goes no further");
    serve(t, f, &[f.pod()], 0);
    t.forget_events();
    passed_on(entry, &packet(CLIENT + 2));
    assert_eq!(t.next_drop(), DropReason::StaleOrUnroutable as u8, "of a service that does not ask for it");
    server.set_nonblocking(true).unwrap();
    assert!(server.recv_from(&mut [0; 100]).is_err(), "nothing of this reached the Pod");
    server.set_nonblocking(false).unwrap();
    nothing_at(entry);
}

/// A backend in the host's network.
fn by_the_host(t: &mut Topology, f: Family, entry: &UdpSocket, client: &UdpSocket) {
    serve(t, f, &[f.node()], FRONTEND_DSR);
    let own = t.datapath().maps().endpoints.get(&AddressKey::local(f.node().into())).unwrap();
    assert_eq!(own.map(|e: Endpoint| e.flags), Some(endpoint::FLAG_HOST));
    let out = Route { gateway: Some(f.gateway()), ..Route::to(f.world().into()).dev(t.devices.network) };
    Netlink::open().unwrap().replace_route(&out).unwrap();
    let server = UdpSocket::bind((f.node(), TARGET_PORT)).unwrap();
    server.set_read_timeout(Some(bench::topology::PATIENCE)).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let (key, _) = tracked(UDP, (f.world(), client_port), (f.balanced(), SERVICE_PORT)).key();
    t.datapath().maps().service_flows.remove(&key).unwrap();
    passed_on(entry, &Packet::udp((f.world(), client_port), (f.balanced(), SERVICE_PORT)));
    let mut buffer = [0; 100];
    let (_, from) = server.recv_from(&mut buffer).expect("the client's packet at the host");
    assert_eq!((from.ip(), from.port()), (f.world(), client_port));
    server.send_to(b"from the host", from).unwrap();
    let (length, from) = client.recv_from(&mut buffer).expect("the host's answer");
    assert_eq!((&buffer[..length], from.ip(), from.port()), (&b"from the host"[..], f.balanced(), SERVICE_PORT));
    nothing_at(entry);
}
