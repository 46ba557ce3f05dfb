//! Sockets of a namespace of the test's own: listed with their cookies, and ended. Needs root and a kernel with
//! `CONFIG_INET_DIAG_DESTROY`.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use netlink::{Netlink, SocketDiag, Transport};
use network_namespace::NetNs;

const PATIENCE: Duration = Duration::from_secs(5);

fn namespace() -> NetNs {
    let netns = NetNs::create().unwrap();
    let netlink = Netlink::open_in(&netns).unwrap();
    netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
    netns
}

fn cookie(socket: &impl AsFd) -> u64 {
    rustix::net::sockopt::socket_cookie(socket).unwrap()
}

#[test]
fn only_the_socket_that_is_meant_is_ended_and_its_owner_hears_it_at_once() {
    let netns = namespace();
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let loopback: SocketAddr = loopback.parse().unwrap();
        let (server, meant, other) = netns
            .run(|| {
                let server = UdpSocket::bind(loopback).unwrap();
                let client = || {
                    let socket = UdpSocket::bind(loopback).unwrap();
                    socket.connect(server.local_addr().unwrap()).unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket
                };
                let (meant, other) = (client(), client());
                (server, meant, other)
            })
            .unwrap();
        let diag = SocketDiag::open_in(&netns).unwrap();
        let sockets = diag.connected(Transport::Udp).unwrap();
        assert_eq!(sockets.len(), 2, "the server has no peer: {sockets:?}");
        let found = sockets.iter().find(|s| s.cookie == cookie(&meant)).expect("by its cookie");
        assert_eq!(found.peer, server.local_addr().unwrap());
        // Somebody waits.
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| meant.recv(&mut [0; 9]));
            std::thread::sleep(Duration::from_millis(100));
            assert!(diag.destroy(found).unwrap());
            waiting.join().unwrap()
        });
        assert_eq!(waiting.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert!(!diag.destroy(found).unwrap(), "it is gone");
        server.send_to(b"alive", other.local_addr().unwrap()).unwrap();
        assert_eq!(other.recv(&mut [0; 9]).unwrap(), 5);
    }
}

#[test]
fn tcp_on_both_ends() {
    let netns = namespace();
    let (listener, mut client, mut served) = netns
        .run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let served = listener.accept().unwrap().0;
            (listener, client, served)
        })
        .unwrap();
    let diag = SocketDiag::open_in(&netns).unwrap();
    let sockets = diag.connected(Transport::Tcp).unwrap();
    assert_eq!(sockets.len(), 2, "not the listener: {sockets:?}");
    let found = sockets.iter().find(|s| s.cookie == cookie(&client)).unwrap();
    assert_eq!(found.peer, listener.local_addr().unwrap());
    diag.destroy(found).unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(served.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(
        NetNs::create()
            .unwrap()
            .run(|| SocketDiag::open().unwrap().connected(Transport::Tcp))
            .unwrap()
            .unwrap()
            .is_empty()
    );
}

/// An IPv6 socket that speaks IPv4 (RFC 4291 §2.5.5.2).
#[test]
fn a_mapped_address_is_found_too() {
    let netns = namespace();
    let (_server, client) = netns
        .run(|| {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let client = UdpSocket::bind("[::]:0").unwrap();
            let SocketAddr::V4(to) = server.local_addr().unwrap() else { unreachable!("bound to IPv4") };
            client.connect((to.ip().to_ipv6_mapped(), to.port())).unwrap();
            (server, client)
        })
        .unwrap();
    let diag = SocketDiag::open_in(&netns).unwrap();
    let sockets = diag.connected(Transport::Udp).unwrap();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    assert!(sockets[0].peer.is_ipv4() && diag.destroy(&sockets[0]).unwrap());
    // Who sends first hears that there is no peer any more, who reads first that it was ended.
    assert_eq!(client.send(b"?").unwrap_err().raw_os_error(), Some(libc::EDESTADDRREQ));
    assert_eq!(client.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
}
