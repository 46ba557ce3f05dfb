//! What closing TCP sockets knew of their way.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use datapath_layouts::{Address, TcpEnd, TcpEndKey};

use crate::bench::topology::PATIENCE;
use crate::bench::world::{BOTH, Family, SERVICE_PORT, TARGET_PORT, V4, backend, put_service};
use crate::{Node, any_port, node};

type End = SocketAddr;

fn key(local: End, remote: End) -> TcpEndKey {
    let address = |end: End| Address::from_ip(end.ip().to_canonical());
    TcpEndKey { local: address(local), remote: address(remote), local_port: local.port(), remote_port: remote.port() }
}

/// Of a socket that closes in this moment.
fn known(node: &Node, local: End, remote: End) -> TcpEnd {
    let since = Instant::now();
    loop {
        match node.datapath.maps().tcp_ends.get(&key(local, remote)) {
            Some(end) => return end,
            None => assert!(since.elapsed() < PATIENCE, "nothing is known of {local} to {remote}"),
        }
        sleep(Duration::from_millis(10));
    }
}

/// Both ends of a connection to `to`, and the addresses that their sockets have.
fn connect(to: End, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    (client, listener.accept().unwrap().0)
}

fn exchange(client: &mut TcpStream, server: &mut TcpStream) {
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    server.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
}

#[test]
fn what_they_knew_is_kept() {
    let node = node();
    for f in BOTH {
        let listener = TcpListener::bind((f.pod(), TARGET_PORT)).unwrap();
        let at = listener.local_addr().unwrap();
        let outside = connect(at, &listener);
        node.cgroup.enter();
        // Of its own: a listener's sockets are where the listener was made.
        let inside = TcpListener::bind(any_port(f)).unwrap();
        let port = inside.local_addr().unwrap().port();
        put_service(node.datapath.maps(), f, &[backend(f.pod(), 1)]);
        closed(&node, SocketAddr::from((f.pod(), port)), &inside);
        by_a_service(&node, f, &listener);
        sent_again(&node, SocketAddr::from((f.pod(), port)), &inside);
        node.cgroup.leave();
        of_others(&node, outside);
    }
    node.cgroup.enter();
    mapped(&node);
    node.cgroup.leave();
}

fn closed(node: &Node, to: End, listener: &TcpListener) {
    let (mut client, mut server) = connect(to, listener);
    let (own, service) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    exchange(&mut client, &mut server);
    assert_eq!(node.datapath.maps().tcp_ends.get(&key(own, service)), None, "it is open");
    drop(client);
    // The first FIN is enough for both.
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    for (local, remote) in [(own, service), (service, own)] {
        let end = known(node, local, remote);
        assert!(end.time_ns > 0 && end.srtt_us > 0 && end.srtt_us < 1_000_000, "{local} to {remote}: {end:?}");
        assert_eq!(end.retransmits, 0, "{local} to {remote}: {end:?}");
    }
}

/// The socket's own idea: the backend that the hook gave it.
fn by_a_service(node: &Node, f: Family, listener: &TcpListener) {
    let (client, _server) = connect(SocketAddr::from((f.service(), SERVICE_PORT)), listener);
    let own = client.local_addr().unwrap();
    drop(client);
    assert!(known(node, own, listener.local_addr().unwrap()).srtt_us > 0);
}

/// The server's socket hears nothing for a while.
fn sent_again(node: &Node, to: End, listener: &TcpListener) {
    let (mut client, mut server) = connect(to, listener);
    let (own, service) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    exchange(&mut client, &mut server);
    deaf(&server, true);
    client.write_all(b"again").unwrap();
    let since = Instant::now();
    while sent_again_until_now(&client) == 0 {
        assert!(since.elapsed() < PATIENCE, "it is not sent again");
        sleep(Duration::from_millis(10));
    }
    deaf(&server, false);
    server.read_exact(&mut [0; 5]).unwrap();
    let most = sent_again_until_now(&client);
    drop(client);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(known(node, own, service).retransmits, most);
    assert_eq!(known(node, service, own).retransmits, 0, "the other end had nothing to send again");
}

/// A socket's filter (socket(7), `SO_ATTACH_FILTER`) that lets nothing in, or none.
fn deaf(socket: &TcpStream, is: bool) {
    let mut nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let filter = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    let option = if is { libc::SO_ATTACH_FILTER } else { libc::SO_DETACH_FILTER };
    // SAFETY: the filter lives through the call; whoever detaches reads nothing of it.
    let result = unsafe {
        let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const filter).cast(), size)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn sent_again_until_now(socket: &TcpStream) -> u32 {
    // SAFETY: numbers alone, and the kernel writes no more than it is given room for.
    unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
        let at = (&raw mut info).cast();
        assert_eq!(libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut size), 0);
        info.tcpi_total_retrans
    }
}

/// Sockets of somebody else, opened before, are nobody's business.
fn of_others(node: &Node, (client, server): (TcpStream, TcpStream)) {
    let (own, service) = (client.local_addr().unwrap(), server.local_addr().unwrap());
    drop(client);
    drop(server);
    // What is written is written in the call that closes.
    for (local, remote) in [(own, service), (service, own)] {
        assert_eq!(node.datapath.maps().tcp_ends.get(&key(local, remote)), None, "{local} to {remote}");
    }
}

/// A socket of IPv6 that speaks IPv4 is known by its IPv4 addresses, as its packets are.
fn mapped(node: &Node) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = Ipv4Addr::to_ipv6_mapped(&V4.pod().to_string().parse().unwrap());
    closed(node, (address, port).into(), &listener);
}
