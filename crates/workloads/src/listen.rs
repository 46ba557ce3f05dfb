//! Sockets that listen on all addresses of both families.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
};
use tokio::net::{TcpListener, UdpSocket};

/// Listens for TCP on `[::]:port`, IPv4 included.
pub fn tcp(port: u16) -> io::Result<TcpListener> {
    let socket = dual_stack(SocketType::STREAM, port)?;
    listen(&socket, BACKLOG)?;
    TcpListener::from_std(StdTcpListener::from(socket))
}

/// Receives UDP on `[::]:port`, IPv4 included.
pub fn udp(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::from_std(StdUdpSocket::from(dual_stack(SocketType::DGRAM, port)?))
}

fn dual_stack(kind: SocketType, port: u16) -> io::Result<rustix::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match socket_with(AddressFamily::INET6, kind, flags, None) {
        Ok(socket) => {
            sockopt::set_ipv6_v6only(&socket, false)?;
            // A restarted server must not wait for the TIME_WAIT of its predecessor's connections.
            sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
            bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
            Ok(socket)
        }
        // A kernel with IPv6 switched off: IPv4 alone.
        Err(Errno::AFNOSUPPORT) => {
            let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
            sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
            bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
            Ok(socket)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;
