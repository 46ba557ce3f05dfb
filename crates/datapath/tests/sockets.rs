//! The socket hooks with real sockets: in a cgroup and a network namespace of the test's own.

mod bench;

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use bench::topology::PATIENCE;
use bench::world::{self, BOTH, Family, NODE_PORT, SERVICE_PORT, TARGET_PORT, V4, backend, put_service};
use bench::{Devices, config, isolate, mount_bpffs};
use datapath::{Datapath, Profile, Settings};
use datapath_layouts::Routing;
use netlink::{AddressOptions, Netlink};
use network_namespace::NetNs;

/// A cgroup of the test's own, with this process in it; given back when dropped.
struct Cgroup {
    path: PathBuf,
    before: PathBuf,
}

const PREFIX: &str = "malla-sockets-";

impl Cgroup {
    /// Makes it, empty, and clears what a killed run left.
    fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts
            .lines()
            .find_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                after.starts_with("cgroup2 ").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or("/")))
            })
            .expect("a cgroup2 mount");
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own =
            own.lines().find_map(|line| line.strip_prefix("0::/")).expect("a place in the cgroup2 tree").to_owned();
        for entry in std::fs::read_dir(&root).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(pid) = name.strip_prefix(PREFIX)
                && !Path::new("/proc").join(pid).exists()
            {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        let path = root.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self { path, before: root.join(own) }
    }

    fn enter(&self) {
        std::fs::write(self.path.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }

    fn leave(&self) {
        let _ = std::fs::write(self.before.join("cgroup.procs"), std::process::id().to_string());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.leave();
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// `SO_NETNS_COOKIE` of this thread's namespace.
fn netns_cookie() -> u64 {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value is as long as the length says.
    let result = unsafe {
        let value = std::ptr::from_mut(&mut cookie).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut length)
    };
    assert_eq!(result, 0, "ask for the namespace's cookie: {}", std::io::Error::last_os_error());
    cookie
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
        not_for_others(f);
        node.cgroup.leave();
    }
    node.cgroup.enter();
    mapped(&node.datapath);
    several_backends(&node.datapath);
    without_backends(&node.datapath);
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

/// "Connection refused" at once, for TCP and UDP, and without anything being sent.
fn without_backends(datapath: &Datapath) {
    for f in BOTH {
        put_service(datapath.maps(), f, &[]);
        let service = SocketAddr::from((f.service(), SERVICE_PORT));
        assert_eq!(TcpStream::connect(service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let client = UdpSocket::bind(any_port(f)).unwrap();
        assert_eq!(client.send_to(b"?", service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(client.connect(service).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
