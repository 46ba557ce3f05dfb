//! Sockets that belong to another network namespace.
//!
//! A socket stays in the namespace of the thread that made it. One thread lives in the namespace and does nothing but
//! make sockets; connecting them and moving their bytes is the async runtime's business, whose threads never change
//! their namespace. Should the thread be unable to enter the namespace, there are no sockets at all: nothing is ever
//! sent from the machine's own network instead.

use std::{
    io,
    net::{SocketAddr, TcpStream as StdTcpStream, UdpSocket as StdUdpSocket},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
};

use network_namespace::NetNs;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    sync::oneshot,
};

/// Makes sockets in one namespace. Clones share the thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct NamespaceSockets {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    family: AddressFamily,
    kind: SocketType,
    answer: oneshot::Sender<io::Result<OwnedFd>>,
}

impl NamespaceSockets {
    /// Starts the thread inside `namespace`.
    pub fn start(namespace: NetNs) -> io::Result<Self> {
        let (orders, incoming) = mpsc::channel::<Order>();
        let (entered, result) = mpsc::sync_channel(1);
        thread::Builder::new().name("fabric-sockets".to_owned()).spawn(move || {
            let inside = namespace.enter_current_thread();
            let go_on = inside.is_ok();
            let _ = entered.send(inside); // the caller waits for it
            if go_on {
                serve(&incoming);
            }
        })?;
        match result.recv() {
            Ok(Ok(())) => Ok(Self { orders }),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other("the thread for sockets ended at once")),
        }
    }

    /// Connects over TCP from inside the namespace.
    pub async fn connect_tcp(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let fd = self.order(target, SocketType::STREAM).await?;
        TcpSocket::from_std_stream(StdTcpStream::from(fd)).connect(target).await
    }

    /// A TCP socket of the namespace, bound and not connected.
    pub async fn bind_tcp(&self, own: SocketAddr) -> io::Result<TcpSocket> {
        let fd = self.order(own, SocketType::STREAM).await?;
        let socket = TcpSocket::from_std_stream(StdTcpStream::from(fd));
        socket.bind(own)?;
        Ok(socket)
    }

    /// A UDP socket of the namespace that talks to `target` only.
    pub async fn connect_udp(&self, target: SocketAddr) -> io::Result<UdpSocket> {
        let fd = self.order(target, SocketType::DGRAM).await?;
        let socket = UdpSocket::from_std(StdUdpSocket::from(fd))?;
        socket.connect(target).await?;
        Ok(socket)
    }

    async fn order(&self, target: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let (answer, made) = oneshot::channel();
        let gone = || io::Error::other("the thread for sockets has ended");
        self.orders.send(Order { family, kind, answer }).map_err(|_| gone())?;
        made.await.map_err(|_| gone())?
    }
}

fn serve(orders: &mpsc::Receiver<Order>) {
    for order in orders {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let made = socket_with(order.family, order.kind, flags, None).map_err(io::Error::from);
        let _ = order.answer.send(made); // a caller that was cancelled wants it no more
    }
}
