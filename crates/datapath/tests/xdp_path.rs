//! The XDP program in the driver of a veth, with real clients at the other end: what the entry node sends on reaches the other
//! node, and both ways through the node are one to the client.
//!
//! Both ends of the wire complete their checksums (`ethtool -K <device> tx off`), and the other end runs an XDP program too: that is
//! what a veth needs before it delivers what is sent back by XDP.

mod bench;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use bench::checksum;
use bench::packet::{ACK, ETHERNET, Packet, RST, SYN, TCP};
use bench::topology::{PATIENCE, Topology, VXLAN_PORT, send_frame, socket_in};
use bench::world::{
    BOTH, Family, NODE_PORT, REMOTE_IDENTITY, SERVICE_ID, SERVICE_PORT, TARGET_PORT, V4, backend, put_frontend, put_row,
};
use datapath::{XdpMode, sys};
use datapath_layouts::service::FRONTEND_DSR;
use datapath_layouts::{EventKind, Followed, FollowedEnd, Frontend, FrontendKey, ObservationPoint, identity, stats};
use netlink::Netlink;

/// A node whose XDP program runs in the driver. The other end's lives as long as what is given back.
fn topology() -> (Topology, OwnedFd) {
    let t = Topology::new();
    for family in ["ipv4", "ipv6"] {
        std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), "1").unwrap();
    }
    t.datapath().attach_xdp("eth0", t.devices.network, XdpMode::Native).unwrap();
    // The same program: on a device whose MAC address is not the node's it lets everything pass.
    let program = t.datapath().program("xdp_from_network").unwrap();
    let wire = Netlink::open_in(&t.wire).unwrap().link("wire").unwrap().index;
    let link = t.wire.run(|| sys::link_create(program.as_fd(), wire, sys::XDP, sys::XDP_NATIVE)).unwrap().unwrap();
    (t, link)
}

fn serve(t: &Topology, f: Family, flags: u32) {
    let maps = t.datapath().maps();
    put_frontend(maps, f, Frontend { flags, ..Frontend::with_row(SERVICE_ID, 1) });
    let balanced = FrontendKey { address: f.balanced().into(), port: SERVICE_PORT, protocol: TCP, cluster: 0 };
    maps.frontends.insert(&balanced, &Frontend { flags, ..Frontend::with_row(SERVICE_ID, 1) }).unwrap();
    put_row(maps, SERVICE_ID, &[backend(f.remote(), 1)]);
}

fn sent_on(t: &Topology) -> u64 {
    t.datapath().maps().stats.read(stats::XDP_SENT_ON).unwrap().packets
}

/// The inner frame that reached the other node, sound, and from the world.
fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).expect("a frame at the other node");
    assert_eq!(from.ip(), V4.node());
    assert_eq!(u32::from_be_bytes(buffer[4..8].try_into().unwrap()) >> 8, identity::WORLD);
    let frame = buffer[8..length].to_vec();
    checksum::check(&frame).unwrap();
    frame
}

/// Transport header and what follows.
fn transport(f: Family, frame: &[u8]) -> &[u8] {
    &frame[ETHERNET + if f == V4 { 20 } else { 40 }..]
}

fn destination(f: Family, frame: &[u8]) -> (IpAddr, u16) {
    let ip = &frame[ETHERNET..];
    let address: IpAddr = if f == V4 {
        <[u8; 4]>::try_from(&ip[16..20]).unwrap().into()
    } else {
        <[u8; 16]>::try_from(&ip[24..40]).unwrap().into()
    };
    let t = transport(f, frame);
    (address, u16::from_be_bytes([t[2], t[3]]))
}

#[test]
fn in_the_driver_of_a_veth() {
    let (mut t, _link) = topology();
    let other = socket_in(&t.wire, (V4.other_node(), VXLAN_PORT));
    for f in BOTH {
        datagrams(&t, f, &other);
        a_connection(&mut t, f, &other);
    }
    // The next agent takes the program over in place.
    t.kill_agent();
    t.start_agent();
    let adopted = t.datapath().adoption().links_adopted;
    assert!(adopted.contains(&"eth0/xdp_from_network".to_owned()), "{adopted:?}");
    datagrams(&t, V4, &other);
    // And where it is not wanted any more, tc does it all.
    t.datapath().detach_xdp("eth0").unwrap();
    let before = sent_on(&t);
    let client = socket_in(&t.wire, (V4.world(), 0));
    client.send_to(b"question", (V4.node(), NODE_PORT)).unwrap();
    assert_eq!(destination(V4, &receive(&other)), (V4.node(), NODE_PORT));
    assert_eq!(sent_on(&t), before);
}

/// Direct server return: as they are, from the first one whose next hop is known.
fn datagrams(t: &Topology, f: Family, other: &UdpSocket) {
    serve(t, f, FRONTEND_DSR);
    let client = socket_in(&t.wire, (f.world(), 0));
    let ask = |text: &str| {
        client.send_to(text.as_bytes(), (f.node(), NODE_PORT)).unwrap();
        let frame = receive(other);
        assert_eq!(destination(f, &frame), (f.node(), NODE_PORT));
        assert_eq!(&transport(f, &frame)[8..], text.as_bytes());
    };
    ask("where tc may have to find the neighbour");
    let before = sent_on(t);
    for text in ["one", "two", &"three".repeat(200)] {
        ask(text);
    }
    assert_eq!(sent_on(t) - before, 3, "by XDP");
}

/// Back through the entry node: tc opens the connection, XDP sends its data on, translated.
fn a_connection(t: &mut Topology, f: Family, other: &UdpSocket) {
    serve(t, f, 0);
    let connecting = t.wire.run(|| spawn_connect(f)).unwrap();
    let syn = receive(other);
    assert_eq!(destination(f, &syn), (f.remote(), TARGET_PORT));
    let word = |frame: &[u8], at: usize| u32::from_be_bytes(transport(f, frame)[at..at + 4].try_into().unwrap());
    let client_port = u16::from_be_bytes(transport(f, &syn)[..2].try_into().unwrap());
    let answer = |flags, sequence, acknowledged| {
        let packet = Packet::tcp((f.remote(), TARGET_PORT), (f.world(), client_port), flags);
        send_frame(other, V4.node(), REMOTE_IDENTITY, &packet.numbers(sequence, acknowledged));
    };
    answer(SYN | ACK, 5000, word(&syn, 4).wrapping_add(1));
    let mut client: TcpStream = connecting.join().unwrap();
    // The client may have asked again before it had the answer.
    let ack = std::iter::repeat_with(|| receive(other)).find(|frame| transport(f, frame)[13] & SYN == 0).unwrap();
    assert_eq!(word(&ack, 8), 5001);
    let before = sent_on(t);
    for text in ["GET", "more than that, and odd"] {
        client.write_all(text.as_bytes()).unwrap();
        let data = receive(other);
        assert_eq!(destination(f, &data), (f.remote(), TARGET_PORT));
        let header = usize::from(transport(f, &data)[12] >> 4) * 4;
        assert_eq!(&transport(f, &data)[header..], text.as_bytes());
        answer(ACK, 5001, word(&data, 4).wrapping_add(text.len() as u32));
    }
    assert!(sent_on(t) - before >= 2, "the data went by XDP: {}", sent_on(t) - before);
    // What somebody follows XDP leaves to tc, which tells of it.
    let (before, maps) = (sent_on(t), t.datapath().maps());
    let end = FollowedEnd::new(f.world().into(), client_port, TCP);
    maps.followed.insert(&0, &Followed::of(&[FollowedEnd::ZERO, end])).unwrap();
    t.forget_events();
    client.write_all(b"followed").unwrap();
    receive(other);
    assert_eq!(sent_on(t), before, "not by XDP");
    let told = t.event(|e| e.kind == EventKind::Trace as u8 && e.source_port == client_port).expect("it is told");
    assert_eq!((told.followed, told.point), (1 << 1, ObservationPoint::FromNetwork as u8));
    t.datapath().maps().followed.insert(&0, &Followed::ZERO).unwrap();
    // A reset ends it, by tc; the client hears it from the address that it called.
    let packet = Packet::tcp((f.remote(), TARGET_PORT), (f.world(), client_port), RST | ACK);
    send_frame(other, V4.node(), REMOTE_IDENTITY, &packet.numbers(5001, word(&ack, 4).wrapping_add(34)));
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// Connects to the load balancer's address, in the namespace of the thread that calls.
fn spawn_connect(f: Family) -> std::thread::JoinHandle<TcpStream> {
    std::thread::spawn(move || TcpStream::connect_timeout(&(f.balanced(), SERVICE_PORT).into(), PATIENCE).unwrap())
}
