//! Real SCTP associations through services, in both families: a Pod by a ClusterIP, and a client outside by a NodePort.
//!
//! Needs a kernel with SCTP sockets, which not every machine has: `cargo xtask vm` builds it (feature `sctp`) and runs it
//! on Debian's kernels. On all others packet fixtures play INIT and INIT ACK (`fixtures/sctp.rs`).

mod bench;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use bench::topology::{PATIENCE, Topology};
use bench::world::{BOTH, Family, NODE_PORT, SERVICE_PORT, put_frontend, put_row};
use datapath_layouts::{Backend, Frontend};
use network_namespace::NetNs;

const SERVICE: u32 = 7;
/// Several chunks, and more than one packet of any path here.
const MESSAGE: usize = 20_000;

/// `sockaddr_in` or `sockaddr_in6`.
fn kernel_address(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &ip.octets(), &[0; 8]].concat()
        }
        IpAddr::V6(ip) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            [&family[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat()
        }
    }
}

fn check(result: libc::c_int, what: &str) {
    assert_eq!(result, 0, "{what}: {}", std::io::Error::last_os_error());
}

/// A one-to-one socket (RFC 6458 §4) of one address: with several, the peer would be told of those that no service has.
fn bound(address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain system call.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_SCTP) };
    assert!(fd >= 0, "an SCTP socket (is the module sctp loaded?): {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let name = kernel_address(address);
    // SAFETY: the address lives through the call and its length is given.
    check(unsafe { libc::bind(fd, name.as_ptr().cast(), name.len() as libc::socklen_t) }, "bind");
    socket
}

/// Reading, writing and accepting are the same for every stream socket, so the standard library's types do.
fn listen(netns: Option<&NetNs>, address: SocketAddr) -> TcpListener {
    let make = || {
        let socket = bound(address);
        // SAFETY: plain system call on a descriptor that is ours.
        check(unsafe { libc::listen(socket.as_raw_fd(), 8) }, "listen");
        TcpListener::from(socket)
    };
    netns.map_or_else(make, |netns| netns.run(make).unwrap())
}

fn connect(netns: &NetNs, from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let connected = netns.run(|| {
        let socket = bound((from, 0).into());
        let limit = libc::timeval { tv_sec: PATIENCE.as_secs() as _, tv_usec: 0 };
        let name = kernel_address(to);
        // SAFETY: value and address live through the calls, and their lengths are given.
        unsafe {
            let length = size_of_val(&limit) as libc::socklen_t;
            let value = std::ptr::from_ref(&limit).cast();
            let option = libc::SO_SNDTIMEO;
            check(libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length), "set a time limit");
            if libc::connect(socket.as_raw_fd(), name.as_ptr().cast(), name.len() as libc::socklen_t) != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(TcpStream::from(socket))
    });
    let stream = connected.unwrap()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An association from `from` to the service at `to`, which a server at `at` accepts; bytes both ways, and its end.
fn associate(client: (&NetNs, IpAddr), to: SocketAddr, at: (Option<&NetNs>, SocketAddr)) {
    let listener = listen(at.0, at.1);
    let stream = connect(client.0, client.1, to).unwrap_or_else(|e| panic!("associate with {to}: {e}"));
    let (mut served, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), client.1, "{to}: the server sees the client itself");
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    let data: Vec<u8> = (0..MESSAGE).map(|i| (i * 7 % 251) as u8).collect();
    for (mut writer, mut reader) in [(&stream, &served), (&served, &stream)] {
        writer.write_all(&data).unwrap();
        let mut all = vec![0; MESSAGE];
        reader.read_exact(&mut all).unwrap();
        assert!(all == data, "{to}: every byte arrived");
    }
    drop(stream);
    assert_eq!(served.read(&mut [0; 9]).unwrap(), 0, "{to}: its end is heard");
}

/// SCTP's checksum covers the ports, so an endpoint has the service's.
fn serve(t: &Topology, f: Family, address: IpAddr, port: u16) {
    let backend = Backend { address: address.into(), id: 1, port, ..Backend::ZERO };
    put_row(t.datapath().maps(), SERVICE, &[backend]);
    put_frontend(t.datapath().maps(), f, Frontend::with_row(SERVICE, 1));
}

#[test]
fn a_pod_by_a_cluster_ip_and_a_client_outside_by_a_node_port() {
    let t = Topology::new();
    for f in BOTH {
        serve(&t, f, f.node(), SERVICE_PORT);
        associate((&t.pod, f.pod()), (f.service(), SERVICE_PORT).into(), (None, (f.node(), SERVICE_PORT).into()));
        serve(&t, f, f.pod(), NODE_PORT);
        associate((&t.wire, f.world()), (f.node(), NODE_PORT).into(), (Some(&t.pod), (f.pod(), NODE_PORT).into()));
    }
}
