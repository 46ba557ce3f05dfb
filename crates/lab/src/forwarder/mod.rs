//! Ports of the machine's loopback that lead into the lab.
//!
//! The machine's network gets no route and no rule for this: the forwarder listens on loopback and connects from inside
//! the fabric, where the nodes are one hop away. They see the fabric's address as the client's.

mod sockets;
mod tap;
mod tcp;
mod udp;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

pub use self::sockets::NamespaceSockets;
pub use self::tap::{PATIENCE, Said, Step, Tap};
use crate::spec::Protocol;

/// One listening port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    pub listen: SocketAddr,
    pub protocol: Protocol,
    pub target: SocketAddr,
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{protocol} port {} of {} is taken by another process: end it (`ss -lnp 'sport = :{}'` shows which), or choose another port",
        listen.port(), listen.ip(), listen.port()
    )]
    Taken { protocol: Protocol, listen: SocketAddr },
    #[error("listen on {protocol} {listen}")]
    Io {
        protocol: Protocol,
        listen: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// A port that is listened on and not yet served.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    target: SocketAddr,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Forward {
    /// Listens. `None` when the machine does not have that loopback address at all (IPv6 switched off).
    pub async fn bind(&self) -> Result<Option<Bound>, ListenError> {
        let listener = match self.protocol {
            Protocol::Tcp => TcpListener::bind(self.listen).await.map(Listener::Tcp),
            Protocol::Udp => UdpSocket::bind(self.listen).await.map(Listener::Udp),
        };
        let (protocol, listen) = (self.protocol, self.listen);
        match listener {
            Ok(listener) => Ok(Some(Bound { listener, target: self.target })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ListenError::Taken { protocol, listen }),
            Err(error) if listen.is_ipv6() && is_family_missing(&error) => Ok(None),
            Err(source) => Err(ListenError::Io { protocol, listen, source }),
        }
    }
}

impl Bound {
    /// The address that is listened on, with the port that the kernel chose if none was wanted.
    pub fn listen(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Serves all of them until it is dropped.
pub fn serve(all: Vec<Bound>, sockets: &NamespaceSockets, tap: &Tap) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for Bound { listener, target } in all {
        let sockets = sockets.clone();
        match listener {
            Listener::Tcp(listener) => tasks.spawn(tcp::serve(listener, target, sockets, tap.clone())),
            Listener::Udp(socket) => tasks.spawn(udp::serve(socket, target, sockets)),
        };
    }
    tasks
}

/// Finds a port that is free on all of `addresses`, `preferred` if it is.
pub async fn free_port(protocol: Protocol, addresses: &[IpAddr], preferred: Option<u16>) -> Result<u16, ListenError> {
    let mut candidate = preferred.unwrap_or(0);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match bind_all(protocol, addresses, candidate).await {
            Ok(port) => return Ok(port),
            Err(error) => last = Some(error),
        }
        candidate = 0;
    }
    Err(last.unwrap_or(ListenError::Taken { protocol, listen: SocketAddr::from(([127, 0, 0, 1], candidate)) }))
}

/// Binds `port` on every address (0: the kernel chooses at the first) and lets go of it again.
async fn bind_all(protocol: Protocol, addresses: &[IpAddr], port: u16) -> Result<u16, ListenError> {
    let mut port = port;
    let mut held = Vec::new();
    for address in addresses {
        let listen = SocketAddr::new(*address, port);
        if let Some(bound) = (Forward { listen, protocol, target: listen }).bind().await? {
            port = bound.listen().map_err(|source| ListenError::Io { protocol, listen, source })?.port();
            held.push(bound);
        }
    }
    Ok(port)
}

fn is_family_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// A port that is free on one loopback address and taken on the other is rare: three in a row don't happen.
const ATTEMPTS: usize = 3;
