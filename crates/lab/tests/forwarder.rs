//! The forwarder with real sockets: servers in a namespace of the test's own, clients on the machine's loopback.
//!
//! Needs root. Inside the namespace only its loopback is used, so nothing has to be wired up.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use lab::{
    forwarder::{Forward, NamespaceSockets, Said, Step, Tap, serve},
    spec::Protocol,
};
use network_namespace::NetNs;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UdpSocket, UnixStream},
    task::JoinSet,
    time::timeout,
};

/// A namespace with its loopback up, and the forwarder's end of it.
struct Inside {
    namespace: NetNs,
    sockets: NamespaceSockets,
    tap: Tap,
}

impl Inside {
    fn new() -> Self {
        let namespace = NetNs::create().expect("a namespace needs root");
        namespace
            .run(|| {
                let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
                assert!(up.success());
            })
            .unwrap();
        let sockets = NamespaceSockets::start(namespace.try_clone().unwrap()).unwrap();
        Self { namespace, sockets, tap: Tap::default() }
    }

    fn tcp_server(&self) -> TcpListener {
        let std = self.namespace.run(|| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
        std.set_nonblocking(true).unwrap();
        TcpListener::from_std(std).unwrap()
    }

    fn udp_server(&self) -> UdpSocket {
        let std = self.namespace.run(|| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
        std.set_nonblocking(true).unwrap();
        UdpSocket::from_std(std).unwrap()
    }

    async fn forward(&self, protocol: Protocol, target: SocketAddr) -> (SocketAddr, JoinSet<()>) {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = Forward { listen, protocol, target }.bind().await.unwrap().unwrap();
        let listen = bound.listen().unwrap();
        (listen, serve(vec![bound], &self.sockets, &self.tap))
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("within 20 s")
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_arrive_whole_in_both_directions_at_once() {
    let inside = Inside::new();
    let server = inside.tcp_server();
    let (listen, _tasks) = inside.forward(Protocol::Tcp, server.local_addr().unwrap()).await;
    let echo = tokio::spawn(async move {
        let (stream, _) = server.accept().await.unwrap();
        let (mut read, mut write) = stream.into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap()
    });
    let sent: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut read, mut write) = TcpStream::connect(listen).await.unwrap().into_split();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap(); // a half-close: the answer still comes
    });
    let mut received = Vec::new();
    soon(read.read_to_end(&mut received)).await.unwrap();
    writer.await.unwrap();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    assert_eq!(echo.await.unwrap(), expected.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_close_of_the_server_leaves_the_other_direction_open() {
    let inside = Inside::new();
    let server = inside.tcp_server();
    let (listen, _tasks) = inside.forward(Protocol::Tcp, server.local_addr().unwrap()).await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        rest
    });
    let mut client = TcpStream::connect(listen).await.unwrap();
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "bye");
    client.write_all(b"still here").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(soon(served).await.unwrap(), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_are_resets_at_the_other_end() {
    let inside = Inside::new();
    let server = inside.tcp_server();
    let (listen, _tasks) = inside.forward(Protocol::Tcp, server.local_addr().unwrap()).await;

    let client = TcpStream::connect(listen).await.unwrap();
    let (mut accepted, _) = soon(server.accept()).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let error = soon(accepted.read(&mut [0; 8])).await.expect_err("the server sees the client's reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let mut client = TcpStream::connect(listen).await.unwrap();
    let (accepted, _) = soon(server.accept()).await.unwrap();
    accepted.set_zero_linger().unwrap();
    drop(accepted);
    let error = soon(client.read(&mut [0; 8])).await.expect_err("the client sees the server's reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_inside_is_a_reset_and_never_a_quiet_end() {
    let inside = Inside::new();
    let nobody = inside.tcp_server().local_addr().unwrap(); // dropped at once
    let (listen, _tasks) = inside.forward(Protocol::Tcp, nobody).await;
    // The reset may be there before connect has returned.
    let error = match TcpStream::connect(listen).await {
        Ok(mut client) => {
            soon(client.read(&mut [0; 8])).await.expect_err("an end without an error would look like an answer")
        }
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_own_server_on_that_address_is_never_reached() {
    let inside = Inside::new();
    let machine = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (listen, _tasks) = inside.forward(Protocol::Tcp, machine.local_addr().unwrap()).await;
    // The reset may be there before connect has returned.
    if let Ok(mut client) = TcpStream::connect(listen).await {
        assert!(soon(client.read(&mut [0; 8])).await.is_err());
    }
    assert!(timeout(Duration::from_millis(200), machine.accept()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_at_once_each_get_their_own_bytes() {
    let inside = Inside::new();
    let server = inside.tcp_server();
    let (listen, _tasks) = inside.forward(Protocol::Tcp, server.local_addr().unwrap()).await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = server.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    // 250 of the four descriptors each fit the usual limit of 1,024; four rounds make the thousand.
    for round in 0..4u32 {
        let mut clients = JoinSet::new();
        for number in 0..200u32 {
            clients.spawn(async move {
                let mut stream = TcpStream::connect(listen).await?;
                let said = (round * 1000 + number).to_be_bytes();
                stream.write_all(&said).await?;
                let mut heard = [0; 4];
                stream.read_exact(&mut heard).await?;
                assert_eq!(said, heard);
                io::Result::Ok(())
            });
        }
        while let Some(result) = soon(clients.join_next()).await {
            result.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_find_their_way_back_to_the_client_that_asked() {
    let inside = Inside::new();
    let server = inside.udp_server();
    let (listen, _tasks) = inside.forward(Protocol::Udp, server.local_addr().unwrap()).await;
    tokio::spawn(async move {
        let mut datagram = vec![0; 65_535];
        loop {
            let (length, from) = server.recv_from(&mut datagram).await.unwrap();
            server.send_to(&datagram[..length], from).await.unwrap();
        }
    });
    let mut clients = Vec::new();
    for number in 0..50u8 {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(listen).await.unwrap();
        clients.push((number, client));
    }
    // All ask before anybody is answered; then each asks for more than a socket's buffer would hold of all of them.
    for (number, client) in &clients {
        client.send(&[*number]).await.unwrap();
    }
    for (number, client) in &clients {
        let mut answer = vec![0; 65_535];
        let length = soon(client.recv(&mut answer)).await.unwrap();
        assert_eq!(answer[..length], [*number]);
        let large = vec![*number; 1 + usize::from(*number) * 1300];
        client.send(&large).await.unwrap();
        let length = soon(client.recv(&mut answer)).await.unwrap();
        assert_eq!(answer[..length], large);
    }
}

#[tokio::test]
async fn a_taken_port_is_named_in_one_line() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let taken = other.local_addr().unwrap();
    let error = Forward { listen: taken, protocol: Protocol::Tcp, target: taken }.bind().await.unwrap_err().to_string();
    assert!(error.contains(&format!("TCP port {}", taken.port())) && !error.contains('\n'), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_waits_for_whoever_follows_it_and_is_told_to_its_end() {
    let inside = Inside::new();
    let server = inside.tcp_server();
    let folder = tempfile::tempdir().unwrap();
    let listener = Tap::listen(&folder.path().join("tap")).unwrap();
    let tap = tokio::spawn(inside.tap.clone().serve(listener));
    let (lines, mut answers) = UnixStream::connect(folder.path().join("tap")).await.unwrap().into_split();
    let mut lines = BufReader::new(lines).lines();
    assert_eq!(soon(lines.next_line()).await.unwrap().unwrap(), "", "the tap says when it listens");
    let (listen, _tasks) = inside.forward(Protocol::Tcp, server.local_addr().unwrap()).await;
    let client = TcpStream::connect(listen).await.unwrap();
    let mut next = async || -> Said { serde_json::from_str(&soon(lines.next_line()).await.unwrap().unwrap()).unwrap() };
    let accepted = next().await;
    assert_eq!((accepted.step, accepted.waits, accepted.client), (Step::Accepted, true, client.local_addr().unwrap()));
    let early = timeout(Duration::from_millis(100), server.accept()).await;
    assert!(early.is_err(), "nothing is sent before the answer");
    answers.write_all(b"\n").await.unwrap();
    let (served, from) = soon(server.accept()).await.unwrap();
    assert_eq!(from, accepted.from, "from the end that was told");
    drop((served, client));
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.push(next().await.step);
    }
    assert_eq!(steps, [Step::Begun, Step::Connected, Step::Closed]);
    // When the tap is no more, those who listen are let go, and connections wait for nobody.
    tap.abort();
    assert!(soon(lines.next_line()).await.unwrap().is_none());
    let _alone = TcpStream::connect(listen).await.unwrap();
    soon(server.accept()).await.unwrap();
}

#[tokio::test]
async fn only_root_listens_to_the_tap_and_the_next_forwarder_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tap");
    for _ in 0..2 {
        let listener = Tap::listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokio::spawn(Tap::default().serve(listener));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        assert_eq!(soon(stream.read_u8()).await.unwrap(), b'\n');
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_answer_holds_up_nobody_for_long() {
    let inside = Inside::new();
    let server = inside.tcp_server();
    let folder = tempfile::tempdir().unwrap();
    let listener = Tap::listen(&folder.path().join("tap")).unwrap();
    tokio::spawn(inside.tap.clone().serve(listener));
    let mut silent = UnixStream::connect(folder.path().join("tap")).await.unwrap();
    soon(silent.read_u8()).await.unwrap();
    let (listen, _tasks) = inside.forward(Protocol::Tcp, server.local_addr().unwrap()).await;
    let _client = TcpStream::connect(listen).await.unwrap();
    soon(server.accept()).await.unwrap();
    // It was sent away: the next one waits for nobody.
    let _next = TcpStream::connect(listen).await.unwrap();
    soon(server.accept()).await.unwrap();
}
