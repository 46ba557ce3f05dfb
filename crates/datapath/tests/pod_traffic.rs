//! A Pod's own kernel and real sockets against the attached programs: the world, NodePorts forwarded through the
//! tunnel, and the errors that a kernel must understand.

mod bench;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use bench::checksum;
use bench::packet::{ETHERNET, Packet};
use bench::topology::{PATIENCE, Topology, VXLAN_PORT, socket_in};
use bench::world::{
    BOTH, Family, NODE_PORT, REMOTE_IDENTITY, SERVICE_PORT, TARGET_PORT, V4, backend, put_address, put_service,
};
use datapath_layouts::identity;
use netlink::{Netlink, Route};

const CLIENT: u16 = 40000;
const SERVER: u16 = 443;

#[test]
fn the_world_sees_the_node() {
    let t = Topology::new();
    for f in BOTH {
        let server = socket_in(&t.wire, (f.world(), SERVER));
        let client = socket_in(&t.pod, (f.pod(), CLIENT));
        client.send_to(b"question", (f.world(), SERVER)).unwrap();
        let mut buffer = [0; 64];
        let (_, peer) = server.recv_from(&mut buffer).expect("the question outside");
        assert_eq!(peer.ip(), f.node(), "masqueraded");
        assert!(peer.port() >= 61000, "by a port of its range: {peer}");
        server.send_to(b"answer", peer).unwrap();
        let (length, from) = client.recv_from(&mut buffer).expect("the answer in the Pod");
        assert_eq!((&buffer[..length], from), (&b"answer"[..], SocketAddr::from((f.world(), SERVER))));
        tcp_to_the_world(&t, f);
    }
}

/// A connection with enough bytes for segments of all sizes.
fn tcp_to_the_world(t: &Topology, f: Family) {
    let listener = t.wire.run(|| TcpListener::bind((f.world(), SERVER))).unwrap().unwrap();
    let address = SocketAddr::from((f.world(), SERVER));
    let data: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let (mut stream, peer) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(b"done").unwrap();
            (all, peer)
        });
        let mut client = t.pod.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&data).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "done");
        let (all, peer) = served.join().unwrap();
        assert_eq!(peer.ip(), f.node());
        assert!(all == data, "every byte arrived");
    });
}

#[test]
fn a_node_port_whose_backend_is_elsewhere() {
    let t = Topology::new();
    let other = socket_in(&t.wire, (V4.other_node(), VXLAN_PORT));
    for f in BOTH {
        put_service(t.datapath().maps(), f, &[backend(f.remote(), 1)]);
        let client = socket_in(&t.wire, (f.world(), CLIENT));
        client.send_to(b"question", (f.node(), NODE_PORT)).unwrap();
        let mut buffer = [0; 4096];
        let (length, _) = other.recv_from(&mut buffer).expect("the question in the tunnel");
        let frame = &buffer[8..length];
        assert_eq!(u32::from_be_bytes(buffer[4..8].try_into().unwrap()) >> 8, identity::WORLD);
        checksum::check(frame).unwrap();
        let want = Packet::udp((f.world(), CLIENT), (f.remote(), TARGET_PORT)).ip_bytes();
        let addresses = if f == V4 { 12..20 } else { 8..40 };
        assert_eq!(frame[ETHERNET..][addresses.clone()], want[addresses], "the client's address is kept");
        let mut answer = vec![8, 0, 0, 0];
        answer.extend((REMOTE_IDENTITY << 8).to_be_bytes());
        answer.extend(Packet::udp((f.remote(), TARGET_PORT), (f.world(), CLIENT)).bytes());
        other.send_to(&answer, (V4.node(), VXLAN_PORT)).unwrap();
        let (length, from) = client.recv_from(&mut buffer).expect("the answer at the client");
        assert_eq!(&buffer[..length], b"question");
        assert_eq!(from, SocketAddr::from((f.node(), NODE_PORT)), "from whom it asked");
    }
}

/// Per packet: its kernel would drop a packet from its own address.
#[test]
fn a_pod_reaches_itself_by_its_service() {
    let t = Topology::new();
    for f in BOTH {
        put_service(t.datapath().maps(), f, &[backend(f.pod(), 1)]);
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        let listener = t.pod.run(|| TcpListener::bind((f.pod(), TARGET_PORT))).unwrap().unwrap();
        let mut client = t.pod.run(|| TcpStream::connect_timeout(&service, PATIENCE)).unwrap().unwrap();
        let (mut served, peer) = listener.accept().unwrap();
        assert_ne!(peer.ip(), f.pod());
        assert_eq!(peer.port(), client.local_addr().unwrap().port());
        client.write_all(&[7; 40_000]).unwrap();
        let mut all = vec![0; 40_000];
        served.read_exact(&mut all).unwrap();
        served.write_all(b"answer").unwrap();
        client.read_exact(&mut all[..6]).unwrap();
        assert_eq!(&all[..6], b"answer");
        let server = socket_in(&t.pod, (f.pod(), TARGET_PORT));
        let client = socket_in(&t.pod, (f.pod(), CLIENT));
        client.send_to(b"question", service).unwrap();
        let (_, peer) = server.recv_from(&mut all).expect("the question");
        server.send_to(b"answer", peer).unwrap();
        assert_eq!(client.recv_from(&mut all).expect("the answer"), (6, service));
    }
}

#[test]
fn errors_that_the_pods_kernel_understands() {
    let t = Topology::new();
    for f in BOTH {
        refused(&t, f);
        path_mtu(&t, f);
        last_hop(&t, f);
    }
    t.leave_checksums_to_the_node();
    for f in BOTH {
        refused(&t, f);
    }
}

/// Not through the socket hooks, for this process is in no cgroup of theirs: per packet. For a service without endpoints,
/// and for a port of a service's address that no service has.
fn refused(t: &Topology, f: Family) {
    put_service(t.datapath().maps(), f, &[]);
    put_address(t.datapath().maps(), f.service());
    put_address(t.datapath().maps(), f.balanced());
    let from_the_pod = [(f.service(), SERVICE_PORT), (f.service(), SERVICE_PORT + 1), (f.balanced(), SERVER)];
    let from_outside = [(f.node(), NODE_PORT), (f.balanced(), SERVER)];
    for (netns, from, places) in [(&t.pod, f.pod(), &from_the_pod[..]), (&t.wire, f.world(), &from_outside)] {
        for place in places {
            let to = SocketAddr::from(*place);
            let begun = Instant::now();
            let connected = netns.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
            assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused, "TCP from {from} to {to}");
            assert!(begun.elapsed() < Duration::from_millis(900), "at the first packet, not at its second: {to}");
            let client = socket_in(netns, (from, CLIENT));
            netns.run(|| client.connect(to)).unwrap().unwrap();
            client.send(b"?").unwrap();
            let error = client.recv(&mut [0; 9]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "UDP from {from} to {to}");
        }
    }
}

/// A process of the node itself: its datagram is turned around on the way out, and its kernel believes that.
#[test]
fn a_connected_socket_of_the_node_hears_that_a_port_is_unused() {
    let t = Topology::new();
    let node = Netlink::open().unwrap();
    for f in BOTH {
        // As in the lab, where everything else goes by the fabric's router.
        node.replace_route(&Route::default_via(f.gateway()).dev(t.devices.network)).unwrap();
        put_service(t.datapath().maps(), f, &[backend(f.pod(), 1)]);
        for address in [f.service(), f.balanced()] {
            put_address(t.datapath().maps(), address);
            let client = UdpSocket::bind((f.node(), CLIENT)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.connect((address, SERVICE_PORT + 1)).unwrap();
            client.send(b"?").unwrap();
            let error = client.recv(&mut [0; 9]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "UDP from the node to {address}");
            let refused = TcpStream::connect_timeout(&(address, SERVICE_PORT + 1).into(), PATIENCE).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "TCP from the node to {address}");
        }
        // A port that the service has is not called unused: what the hooks left alone is dropped in silence.
        let client = UdpSocket::bind((f.node(), CLIENT)).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.connect((f.service(), SERVICE_PORT)).unwrap();
        client.send(b"?").unwrap();
        assert_eq!(client.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value lives through the call and its length is given.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&value).cast(), length) };
    assert_eq!(result, 0, "set option {option}: {}", std::io::Error::last_os_error());
}

/// The Pod's link takes 1,500 bytes here and the tunnel 1,450: the kernel learns that from our answer.
fn path_mtu(t: &Topology, f: Family) {
    let client = socket_in(&t.pod, (f.pod(), CLIENT + 1));
    if f == V4 {
        set(&client, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO);
    } else {
        set(&client, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO);
    }
    let remote: (IpAddr, u16) = (f.remote(), SERVER);
    t.pod.run(|| client.connect(remote)).unwrap().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match client.send(&[0; 1450]) {
            Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => break,
            _ if std::time::Instant::now() > until => panic!("the Pod's kernel never learnt the path's MTU ({f:?})"),
            _ => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    // The answer waits on the socket, too.
    let _ = client.take_error().unwrap();
    client.send(&[0; 1390]).expect("what fits is sent");
}

/// "Time exceeded", as `traceroute` needs it.
fn last_hop(t: &Topology, f: Family) {
    let client = socket_in(&t.pod, (f.pod(), CLIENT + 2));
    if f == V4 {
        set(&client, libc::IPPROTO_IP, libc::IP_TTL, 1);
        set(&client, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    } else {
        set(&client, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, 1);
        set(&client, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1);
    }
    t.pod.run(|| client.connect((f.remote(), SERVER))).unwrap().unwrap();
    client.send(b"how far?").unwrap();
    let error = client.recv(&mut [0; 9]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH), "time exceeded ({f:?})");
}
