//! The socket hooks with real sockets: in a cgroup and a network namespace of the test's own.

mod asked;
#[path = "../bench/mod.rs"]
mod bench;
mod cgroup;
mod closing;

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use bench::topology::PATIENCE;
use bench::world::{
    self, BOTH, Family, NODE_PORT, SERVICE_ID, SERVICE_PORT, TARGET_PORT, V4, backend, put_address, put_frontend,
    put_row, put_service,
};
use bench::{Devices, config, isolate, mount_bpffs};
use cgroup::Cgroup;
use datapath::{Datapath, Profile, Settings};
use datapath_layouts::service::{
    FRONTEND_LOCAL_EXTERNAL, FRONTEND_LOCAL_INTERNAL, FRONTEND_MAGLEV, FRONTEND_MAGLEV_EXTERNAL,
    FRONTEND_SOURCE_RANGES, MAGLEV_SIZE,
};
use datapath_layouts::{
    AffinityKey, AffinityMemberKey, DropReason, Frontend, FrontendKey, MaglevTable, Routing, SourceRangeKey,
};
use netlink::{AddressOptions, Netlink};
use network_namespace::NetNs;

fn netns_cookie() -> u64 {
    NetNs::current().unwrap().cookie().unwrap()
}

struct Node {
    datapath: Datapath,
    cgroup: Cgroup,
}

/// The node and its Pods' addresses, all in this one namespace: what sockets do needs no wires.
fn node() -> Node {
    isolate();
    let directory = mount_bpffs();
    let netlink = Netlink::open().unwrap();
    let lo = netlink.link("lo").unwrap().index;
    netlink.set_up(lo).unwrap();
    for f in BOTH {
        for address in [f.node(), f.pod(), f.neighbour(), f.nobody()] {
            netlink.add_address(lo, address.into(), AddressOptions::default()).unwrap();
        }
    }
    let devices = Devices { pod: 1000, neighbour: 1001, network: lo, overlay: 1002 };
    let mut config = config(&devices);
    config.host_netns_cookie = netns_cookie();
    let datapath = Datapath::start(&Settings { bpf_dir: directory, config, profile: Profile::Lab }).unwrap();
    world::put(datapath.maps(), &devices, Routing::Overlay);
    let cgroup = Cgroup::new();
    datapath.attach_cgroup(&cgroup.path).unwrap();
    Node { datapath, cgroup }
}

fn any_port(f: Family) -> SocketAddr {
    (if f == V4 { IpAddr::from([0, 0, 0, 0]) } else { Ipv6Addr::UNSPECIFIED.into() }, 0).into()
}

/// A TCP connection to `address` that a server at `at` accepts: both ends' idea of the peer.
fn connected(address: SocketAddr, at: &TcpListener) -> (SocketAddr, SocketAddr) {
    let mut client =
        TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|e| panic!("connect {address}: {e}"));
    let (mut server, peer) = at.accept().unwrap();
    server.write_all(b"hello").unwrap();
    let mut buffer = [0; 5];
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(peer, client.local_addr().unwrap(), "the server sees the client itself");
    (client.peer_addr().unwrap(), server.local_addr().unwrap())
}

#[test]
fn services_once_per_socket() {
    let node = node();
    for f in BOTH {
        let listener = TcpListener::bind((f.pod(), TARGET_PORT)).unwrap();
        put_service(node.datapath.maps(), f, &[backend(f.pod(), 1)]);
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        outside_of_the_cgroup_nothing_changes(service);
        node.cgroup.enter();
        tcp(f, &listener);
        udp(f);
        node_ports(f, &listener);
        host_port(f, &node.datapath, &listener);
        not_for_others(f);
        node.cgroup.leave();
    }
    node.cgroup.enter();
    mapped(&node.datapath);
    several_backends(&node.datapath);
    without_backends(&node.datapath);
    unused_ports(&node.datapath);
    traffic_policy(&node.datapath);
    source_ranges(&node.datapath);
    clients_come_back(&node.datapath);
    one_by_the_table(&node.datapath);
    left_alone(&node.datapath);
}

fn outside_of_the_cgroup_nothing_changes(service: SocketAddr) {
    // No route: the namespace has none beyond its own addresses.
    TcpStream::connect_timeout(&service, PATIENCE).expect_err("a service that nobody translates");
}

fn tcp(f: Family, listener: &TcpListener) {
    let service = SocketAddr::from((f.service(), SERVICE_PORT));
    let (believed, served) = connected(service, listener);
    assert_eq!(believed, service, "getpeername tells the service");
    assert_eq!(served, SocketAddr::from((f.pod(), TARGET_PORT)));
}

fn udp(f: Family) {
    let server = UdpSocket::bind((f.pod(), TARGET_PORT)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let service = SocketAddr::from((f.service(), SERVICE_PORT));
    let mut buffer = [0; 64];
    // Unconnected, as most resolvers work: sendto and recvfrom.
    let client = UdpSocket::bind(any_port(f)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"question", service).unwrap();
    let (_, peer) = server.recv_from(&mut buffer).expect("the question");
    server.send_to(b"answer", peer).unwrap();
    let (length, from) = client.recv_from(&mut buffer).expect("the answer");
    assert_eq!((&buffer[..length], from), (&b"answer"[..], service), "the answer comes from the service");
    // Connected.
    let client = UdpSocket::bind(any_port(f)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(service).unwrap();
    assert_eq!(client.peer_addr().unwrap(), service);
    client.send(b"question").unwrap();
    let (_, peer) = server.recv_from(&mut buffer).expect("the question");
    server.send_to(b"answer", peer).unwrap();
    assert_eq!(client.recv(&mut buffer).expect("the answer"), 6);
    // Somebody who is no backend keeps its own address.
    let other = UdpSocket::bind((f.neighbour(), 9000)).unwrap();
    let client = UdpSocket::bind(any_port(f)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hello", other.local_addr().unwrap()).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_, peer) = other.recv_from(&mut buffer).unwrap();
    other.send_to(b"hello", peer).unwrap();
    assert_eq!(client.recv_from(&mut buffer).unwrap().1, other.local_addr().unwrap());
}

fn node_ports(f: Family, listener: &TcpListener) {
    let loopback: IpAddr = if f == V4 { "127.0.0.1" } else { "::1" }.parse().unwrap();
    for address in [f.node(), f.other_node(), loopback] {
        let node_port = SocketAddr::from((address, NODE_PORT));
        assert_eq!(connected(node_port, listener).0, node_port);
    }
}

/// A port of the node that is a Pod's, whatever its number: by the node's address, and by loopback for the host's processes.
fn host_port(f: Family, datapath: &Datapath, listener: &TcpListener) {
    let loopback: IpAddr = if f == V4 { "127.0.0.1" } else { "::1" }.parse().unwrap();
    let key = FrontendKey { address: f.node().into(), port: HOST_PORT, protocol: 6, cluster: 0 };
    datapath.maps().frontends.insert(&key, &Frontend::with_row(SERVICE_ID, 1)).unwrap();
    for address in [f.node(), loopback] {
        let host_port = SocketAddr::from((address, HOST_PORT));
        assert_eq!(connected(host_port, listener).0, host_port);
    }
    let pod = NetNs::create().unwrap();
    let refused = pod.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
        TcpStream::connect((loopback, HOST_PORT)).map(drop)
    });
    assert_eq!(refused.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused, "a Pod's own loopback is its own");
    datapath.maps().frontends.remove(&key).unwrap();
    let error = TcpStream::connect((loopback, HOST_PORT)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "and gone with its Pod");
}

/// Outside of the range of NodePorts.
const HOST_PORT: u16 = 8081;

/// Loopback's NodePorts are those of the host's processes only, and no other port is touched.
fn not_for_others(f: Family) {
    let loopback: IpAddr = if f == V4 { "127.0.0.1" } else { "::1" }.parse().unwrap();
    let pod = NetNs::create().unwrap();
    let refused = pod.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
        TcpStream::connect((loopback, NODE_PORT)).map(drop)
    });
    assert_eq!(refused.unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused, "a Pod's own loopback is its own");
    let error = TcpStream::connect((f.node(), NODE_PORT + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "a port that is no service");
}

/// An IPv6 socket that speaks IPv4 (RFC 4291 §2.5.5.2).
fn mapped(datapath: &Datapath) {
    put_service(datapath.maps(), V4, &[backend(V4.pod(), 1)]);
    let listener = TcpListener::bind((V4.pod(), TARGET_PORT)).unwrap();
    let IpAddr::V4(service) = V4.service() else { unreachable!("an IPv4 address") };
    let mapped = SocketAddr::from((service.to_ipv6_mapped(), SERVICE_PORT));
    let client = TcpStream::connect_timeout(&mapped, PATIENCE).unwrap();
    listener.accept().unwrap();
    assert_eq!(client.peer_addr().unwrap(), mapped);
}

fn several_backends(datapath: &Datapath) {
    for f in BOTH {
        let places = [f.pod(), f.neighbour(), f.nobody()];
        let listeners: Vec<_> = places.iter().map(|a| TcpListener::bind((*a, TARGET_PORT)).unwrap()).collect();
        let backends: Vec<_> = places.iter().enumerate().map(|(i, a)| backend(*a, i as u32 + 1)).collect();
        put_service(datapath.maps(), f, &backends);
        for listener in &listeners {
            listener.set_nonblocking(true).unwrap();
        }
        let mut served = HashSet::new();
        for _ in 0..60 {
            let client = TcpStream::connect((f.service(), SERVICE_PORT)).unwrap();
            served.extend(listeners.iter().enumerate().filter(|(_, l)| l.accept().is_ok()).map(|(i, _)| i));
            drop(client);
        }
        assert_eq!(served.len(), 3, "each backend is used ({f:?})");
    }
}

/// "Connection refused" at once, for TCP and UDP, and without anything being sent. It is told with the socket's own port.
fn without_backends(datapath: &Datapath) {
    let mut events = datapath.events().unwrap();
    for f in BOTH {
        put_service(datapath.maps(), f, &[]);
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        assert_eq!(TcpStream::connect(service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let client = UdpSocket::bind(any_port(f)).unwrap();
        assert_eq!(client.send_to(b"?", service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        events.drain(|_| {});
        assert_eq!(client.connect(service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let mut told = Vec::new();
        events.drain(|event| told.push((event.reason, event.source_port, event.netns_cookie)));
        let port = client.local_addr().unwrap().port();
        assert_eq!(told, [(DropReason::NoBackend as u8, port, netns_cookie())]);
    }
}

/// An address of services: no other port of it is there. Not when the address is a Pod's, and a UDP socket that connects
/// has sent nothing yet.
fn unused_ports(datapath: &Datapath) {
    for f in BOTH {
        put_service(datapath.maps(), f, &[backend(f.pod(), 1)]);
        let unused = SocketAddr::from((f.service(), SERVICE_PORT + 1));
        let unknown = TcpStream::connect_timeout(&unused, PATIENCE).unwrap_err();
        assert_ne!(unknown.kind(), ErrorKind::ConnectionRefused, "without its entry the kernel finds no route");
        put_address(datapath.maps(), f.service());
        assert_eq!(TcpStream::connect(unused).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let client = UdpSocket::bind(any_port(f)).unwrap();
        assert_eq!(client.send_to(b"?", unused).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let error = client.connect(unused).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "the route is asked for, nothing more");
        let listener = TcpListener::bind((f.neighbour(), 9100)).unwrap();
        put_address(datapath.maps(), f.neighbour());
        connected(listener.local_addr().unwrap(), &listener);
    }
}

/// The row of this side; and where it is empty by policy, the packet is left to be dropped with its reason.
fn traffic_policy(datapath: &Datapath) {
    for f in BOTH {
        let listener = TcpListener::bind((f.pod(), TARGET_PORT)).unwrap();
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        let outside_only = Frontend { external_id: 8, external_backends: 1, ..Frontend::with_row(SERVICE_ID, 0) };
        put_row(datapath.maps(), 8, &[backend(f.pod(), 1)]);
        put_frontend(datapath.maps(), f, outside_only);
        assert_eq!(TcpStream::connect(service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        put_frontend(datapath.maps(), f, Frontend { flags: FRONTEND_LOCAL_INTERNAL, ..outside_only });
        let error = TcpStream::connect_timeout(&service, PATIENCE).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "not refused: it goes on as a packet");
        put_row(datapath.maps(), SERVICE_ID, &[backend(f.pod(), 1)]);
        let inside_only = Frontend { external_id: 8, external_backends: 0, ..Frontend::with_row(SERVICE_ID, 1) };
        put_frontend(datapath.maps(), f, Frontend { flags: FRONTEND_LOCAL_EXTERNAL, ..inside_only });
        assert_eq!(connected(service, &listener).0, service);
    }
}

/// The host's processes ask with its address; which Pod asks is known only by the packet.
fn source_ranges(datapath: &Datapath) {
    let maps = datapath.maps();
    for f in BOTH {
        let listener = TcpListener::bind((f.pod(), TARGET_PORT)).unwrap();
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        put_row(maps, SERVICE_ID, &[backend(f.pod(), 1)]);
        put_frontend(maps, f, Frontend { flags: FRONTEND_SOURCE_RANGES, ..Frontend::with_row(SERVICE_ID, 1) });
        let other = SourceRangeKey::from_ip(SERVICE_ID + 1, f.node(), 8);
        maps.source_ranges.insert(&other, &1).unwrap();
        assert_eq!(TcpStream::connect(service).unwrap_err().kind(), ErrorKind::PermissionDenied);
        let own = SourceRangeKey::from_ip(SERVICE_ID, f.node(), if f == V4 { 32 } else { 128 });
        maps.source_ranges.insert(&own, &1).unwrap();
        assert_eq!(connected(service, &listener).0, service);
        let known = maps.socket_reverse.entries().unwrap().len();
        let pod = NetNs::create().unwrap();
        let error = pod.run(|| TcpStream::connect_timeout(&service, PATIENCE)).unwrap().unwrap_err();
        assert_ne!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(maps.socket_reverse.entries().unwrap().len(), known, "untranslated");
        for key in [other, own] {
            maps.source_ranges.remove(&key).unwrap();
        }
    }
}

/// How often each of three backends accepts one of `times` connections to the service.
fn spread(f: Family, listeners: &[TcpListener], times: usize) -> Vec<usize> {
    let mut counts = vec![0; listeners.len()];
    for _ in 0..times {
        let client = TcpStream::connect((f.service(), SERVICE_PORT)).unwrap();
        // It is connected before its last ACK has come to the listener.
        let until = Instant::now() + PATIENCE;
        let accepted = loop {
            match listeners.iter().position(|listener| listener.accept().is_ok()) {
                Some(accepted) => break accepted,
                None => assert!(Instant::now() < until, "nobody accepts {client:?}"),
            }
            std::thread::yield_now();
        };
        counts[accepted] += 1;
        drop(client);
    }
    counts
}

fn three(f: Family, datapath: &Datapath, frontend: Frontend) -> Vec<TcpListener> {
    let places = [f.pod(), f.neighbour(), f.nobody()];
    let backends: Vec<_> = places.iter().enumerate().map(|(i, a)| backend(*a, i as u32 + 1)).collect();
    put_row(datapath.maps(), SERVICE_ID, &backends);
    put_frontend(datapath.maps(), f, Frontend { ..frontend });
    let listeners: Vec<_> = places.iter().map(|a| TcpListener::bind((*a, TARGET_PORT)).unwrap()).collect();
    for listener in &listeners {
        listener.set_nonblocking(true).unwrap();
    }
    listeners
}

/// `sessionAffinity: ClientIP`: a network namespace is one client.
fn clients_come_back(datapath: &Datapath) {
    let maps = datapath.maps();
    for f in BOTH {
        let frontend = Frontend { affinity_seconds: 1, ..Frontend::with_row(SERVICE_ID, 3) };
        let listeners = three(f, datapath, frontend);
        for backend_id in 1..=3 {
            maps.affinity_member.insert(&AffinityMemberKey { service_id: SERVICE_ID, backend_id }, &1).unwrap();
        }
        let counts = spread(f, &listeners, 30);
        assert_eq!(counts.iter().max(), Some(&30), "always the same one: {counts:?}");
        let first = counts.iter().position(|c| *c == 30).unwrap();
        // It leaves: another one, and that one again.
        let gone = AffinityMemberKey { service_id: SERVICE_ID, backend_id: first as u32 + 1 };
        maps.affinity_member.remove(&gone).unwrap();
        put_row(
            maps,
            SERVICE_ID,
            &[backend(if first == 0 { f.neighbour() } else { f.pod() }, 2 - first.min(1) as u32)],
        );
        put_frontend(maps, f, Frontend { affinity_seconds: 1, ..Frontend::with_row(SERVICE_ID, 1) });
        let counts = spread(f, &listeners, 10);
        assert_eq!((counts[first], counts.iter().sum::<usize>()), (0, 10), "{counts:?}");
        // Only as long as the timeout says.
        let only = [f.pod(), f.neighbour(), f.nobody()][first];
        put_row(maps, SERVICE_ID, &[backend(only, first as u32 + 1)]);
        let before = spread(f, &listeners, 1);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let after = spread(f, &listeners, 1);
        assert_eq!((before[first], after[first]), (0, 1), "before and after the timeout");
        for (key, _) in maps.affinity.entries().unwrap() {
            assert_eq!(key.client, AffinityKey::of_netns(netns_cookie(), SERVICE_ID).client);
            maps.affinity.remove(&key).unwrap();
        }
    }
}

fn one_by_the_table(datapath: &Datapath) {
    for f in BOTH {
        let frontend = Frontend { flags: FRONTEND_MAGLEV, ..Frontend::with_row(SERVICE_ID, 3) };
        let listeners = three(f, datapath, frontend);
        let mut table = MaglevTable::ZERO;
        table.slots = [1; MAGLEV_SIZE];
        datapath.maps().maglev.insert(&SERVICE_ID, &table).unwrap();
        assert_eq!(spread(f, &listeners, 30), [0, 30, 0]);
        put_frontend(datapath.maps(), f, Frontend { flags: FRONTEND_MAGLEV_EXTERNAL, ..frontend });
        let counts = spread(f, &listeners, 60);
        assert!(counts.iter().all(|c| *c > 0), "the table is for outside only: {counts:?}");
        datapath.maps().maglev.remove(&SERVICE_ID).unwrap();
    }
}

/// A network namespace whose sockets nobody touches: its packets are for the programs of its link to translate. What was
/// bound before goes on, and so do others.
fn left_alone(datapath: &Datapath) {
    let maps = datapath.maps();
    for f in BOTH {
        let listener = TcpListener::bind((f.pod(), TARGET_PORT)).unwrap();
        put_service(maps, f, &[backend(f.pod(), 1)]);
        put_address(maps, f.service());
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        let unused = SocketAddr::from((f.service(), SERVICE_PORT + 1));
        let mut before = TcpStream::connect(service).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        maps.untranslated.insert(&netns_cookie(), &1).unwrap();
        let known = maps.socket_reverse.entries().unwrap().len();
        let untouched = |what: &str| {
            let error = TcpStream::connect_timeout(&service, PATIENCE).expect_err(what);
            assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "{what}: the kernel finds no route");
            let client = UdpSocket::bind(any_port(f)).unwrap();
            assert_ne!(client.send_to(b"?", service).expect_err(what).kind(), ErrorKind::ConnectionRefused, "{what}");
            for error in [
                TcpStream::connect_timeout(&unused, PATIENCE).expect_err(what),
                client.send_to(b"?", unused).expect_err(what),
            ] {
                assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "{what}: no port is refused here");
            }
        };
        untouched("left alone");
        assert_eq!(before.peer_addr().unwrap(), service, "what was bound before goes on");
        served.write_all(b"hello").unwrap();
        before.read_exact(&mut [0; 5]).unwrap();
        put_service(maps, f, &[]);
        untouched("without backends");
        put_service(maps, f, &[backend(f.pod(), 1)]);
        assert_eq!(maps.socket_reverse.entries().unwrap().len(), known);
        let other = NetNs::create().unwrap();
        let told = other.run(|| UdpSocket::bind(any_port(f)).unwrap().send_to(b"?", unused)).unwrap();
        assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionRefused, "another namespace");
        maps.untranslated.remove(&netns_cookie()).unwrap();
        assert_eq!(connected(service, &listener).0, service, "not left alone any more");
    }
}
