//! Every way a connection can end.

use crate::cluster::{Cluster, From, wait_until};
use crate::pods::Place;
use crate::{PATIENCE, flows};
use rustix::net::sockopt::set_socket_linger;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(2);
/// A flow of one voice is forgotten a minute after its last packet; looks for such come every 15 s.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// What was told of the ends of the flows to this port, as `(node, way)`.
fn ends(cluster: &Cluster, port: u16) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ended = flows(cluster, &["--port", &port.to_string()]).into_iter().filter(|flow| !flow["extensions"].is_null());
    ended.map(|flow| (text(&flow["node_name"]), text(&flow["extensions"]["way"]), flow)).collect()
}

/// Waits until something was told of the flow's end, and holds it against what it was: nothing else is told of it, by no node.
fn expect(cluster: &Cluster, port: u16, way: &str, nodes: &[&str], patience: Duration) -> Value {
    let mut told = Vec::new();
    wait_until(&format!("the end of what went to port {port} ({way})"), patience, || {
        told = ends(cluster, port);
        told.iter().map(|(node, ..)| node.as_str()).collect::<BTreeSet<_>>() == nodes.iter().copied().collect()
    });
    for (node, said, flow) in &told {
        assert_eq!(said, way, "port {port} on {node}: {flow:#}");
    }
    told.pop().unwrap().2
}

pub fn all(cluster: &Cluster) {
    let [monolith, near, caged, server, doomed] =
        ["monolith", "near", "caged", "server", "doomed"].map(|pod| Place::of(cluster, pod));
    let listen = |pod: &Place, port: u16| pod.make(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    let to = |pod: &Place, port: u16| SocketAddr::new(pod.address, port);
    let connect = |from: &Place, to: SocketAddr| from.make(move || TcpStream::connect_timeout(&to, CONNECT));
    let fails = |from: &Place, to: SocketAddr| {
        let result = from.inside(move || TcpStream::connect_timeout(&to, CONNECT)).join().unwrap();
        result.expect_err("nothing answers there")
    };

    // Those that take a minute to be known are begun first.
    let _silent = silent(cluster, &near, &server);
    let _deaf = server.make(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9011)));
    let deaf = to(&server, 9011);
    monolith.make(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"anybody?", deaf));
    let shut_port = to(&server, 9014);
    monolith.make(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"anybody?", shut_port));
    let shut = cluster.kubectl(&["get", "pod", "-l", "app=user-service", "-o", "jsonpath={.items[0].metadata.name}"]);
    let shut = Place::of(cluster, &shut);
    fails(&monolith, to(&shut, 9012));

    let listener = listen(&server, 9001);
    let (mut client, mut served) = (connect(&monolith, to(&server, 9001)), listener.accept().unwrap().0);
    client.write_all(&[7; 1000]).unwrap();
    served.read_exact(&mut [0; 1000]).unwrap();
    drop(client);
    assert_eq!(served.read(&mut [0; 1]).unwrap(), 0);
    drop(served);
    let closed = expect(cluster, 9001, "CLOSED", &["worker-1", "worker-2"], PATIENCE);
    let number = |field: &str| closed["extensions"][field].as_str().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    assert!(number("forward_packets") >= 4 && number("reply_packets") >= 3, "{closed:#}");
    assert!((1160..3000).contains(&number("forward_bytes")), "{closed:#}");
    // Both are counted in the kernel's ticks, and may be none.
    assert!(number("handshake_ns") <= number("duration_ns"), "{closed:#}");

    let refused = fails(&monolith, to(&server, 9002));
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    expect(cluster, 9002, "REFUSED_BY_SERVER", &["worker-1", "worker-2"], PATIENCE);

    let [empty, _] = cluster.cluster_ips("empty");
    fails(&monolith, SocketAddr::new(empty.parse().unwrap(), 9003));
    expect(cluster, 9003, "NO_BACKENDS", &["worker-2"], PATIENCE);

    fails(&caged, to(&server, 9004));
    expect(cluster, 9004, "DENIED_AT_SOURCE", &["worker-1"], PATIENCE);
    fails(&near, to(&shut, 9005));
    expect(cluster, 9005, "DENIED_AT_DESTINATION", &["worker-1"], PATIENCE);

    for (port, by_source, way) in [(9006, true, "RESET_BY_SOURCE"), (9007, false, "RESET_BY_DESTINATION")] {
        let listener = listen(&server, port);
        let (mut client, mut served) = (connect(&monolith, to(&server, port)), listener.accept().unwrap().0);
        client.write_all(b"ask").unwrap();
        served.read_exact(&mut [0; 3]).unwrap();
        let (rude, other) = if by_source { (client, served) } else { (served, client) };
        // Closing it now is a reset (socket(7), SO_LINGER).
        set_socket_linger(&rude, Some(Duration::ZERO)).unwrap();
        drop(rude);
        expect(cluster, port, way, &["worker-1", "worker-2"], PATIENCE);
        drop(other);
    }

    let listener = listen(&doomed, 9008);
    let (_client, _served) = (connect(&near, to(&doomed, 9008)), listener.accept().unwrap().0);
    let listener = listen(&doomed, 9013);
    let (_far, _served_too) = (connect(&monolith, to(&doomed, 9013)), listener.accept().unwrap().0);
    cluster.kubectl(&["delete", "pod", "doomed", "--grace-period=0", "--force"]);
    let gone = expect(cluster, 9008, "PEER_GONE", &["worker-1"], PATIENCE);
    assert_eq!(gone["destination"]["pod_name"], "doomed", "it is named though it has gone: {gone:#}");
    let gone = expect(cluster, 9013, "PEER_GONE", &["worker-1", "worker-2"], FORGOTTEN);
    assert_eq!(gone["destination"]["pod_name"], "doomed", "at the other node, too: {gone:#}");

    expect(cluster, 9009, "TIMED_OUT", &["worker-1"], FORGOTTEN);
    expect(cluster, 9010, "TIMED_OUT", &["worker-1"], FORGOTTEN);
    expect(cluster, 9011, "TIMED_OUT", &["worker-1", "worker-2"], FORGOTTEN);
    // Its host says so by ICMP.
    expect(cluster, 9014, "REFUSED_BY_SERVER", &["worker-1", "worker-2"], FORGOTTEN);
    // Of what policy denies elsewhere a node sees no more than that nobody answers: it says so, and by whom it was denied.
    expect(cluster, 9012, "DENIED_AT_DESTINATION", &["worker-1", "worker-2"], FORGOTTEN);
    for (node, _, flow) in ends(cluster, 9012) {
        assert_eq!(flow["ingress_denied_by"][0]["name"], "only-monolith", "{flow:#}");
        let (verdict, inferred) =
            if node == "worker-1" { ("DROPPED", Value::Null) } else { ("FORWARDED", true.into()) };
        assert_eq!((&flow["verdict"], &flow["extensions"]["inferred"]), (&verdict.into(), &inferred), "{flow:#}");
    }
    wait_until("the end of an exchange of echoes", FORGOTTEN, || {
        let told = flows(cluster, &["--protocol", "icmp", "--from-pod", "default/near"]);
        told.iter().any(|flow| flow["extensions"]["way"] == "IDLE")
    });
    // A client that can't read it is not given it.
    let said = crate::observe(cluster, &["--all", "--port", "9001"]);
    assert!(said.contains("TCP closed after"), "{said}");
}

/// What the sockets of both ends knew, each told by the node that has it. Of processes of Pods: this one is in none of their cgroups.
pub fn sockets(cluster: &Cluster) {
    let [service, _] = cluster.cluster_ips("user-service");
    let url = format!("http://{service}/");
    let mut told = Vec::new();
    let knows = |flow: &Value, end: &str| flow["extensions"][end]["smoothed_rtt_us"].as_u64().filter(|rtt| *rtt > 0);
    let ends = [("initiator", "worker-2", "worker-1"), ("responder", "worker-1", "worker-2")];
    wait_until("what both sockets knew", PATIENCE, || {
        let _ = cluster.ask(From::Pod("monolith"), &["http", &url, "--count", "1", "--timeout", "700ms"]);
        told = flows(cluster, &["--port", "8080"]);
        ends.iter().all(|(end, own, _)| told.iter().any(|flow| flow["node_name"] == *own && knows(flow, end).is_some()))
    });
    for (flow, (end, _, other)) in told.iter().flat_map(|flow| ends.map(|end| (flow, end))) {
        assert!(knows(flow, end).is_none_or(|rtt| rtt < 1_000_000), "{flow:#}");
        assert!(flow["node_name"] != *other || flow["extensions"][end].is_null(), "the {end} is not there: {flow:#}");
    }
}

/// A TCP server that accepts no more, a UDP server that never answers, and an echo that is answered. What it gives back is to
/// stay open.
fn silent(cluster: &Cluster, near: &Place, server: &Place) -> impl Sized {
    let full = server.make(|| {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9009)))?;
        // Room for one that nobody accepts (listen(2)).
        rustix::net::listen(&socket, 0)?;
        Ok(TcpListener::from(socket))
    });
    // Those of the queue are another flow: from the server itself.
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 9009));
    let queued: Vec<TcpStream> = (0..3)
        .filter_map(|_| {
            server.inside(move || TcpStream::connect_timeout(&own, Duration::from_millis(300))).join().unwrap().ok()
        })
        .collect();
    let to = SocketAddr::new(server.address, 9009);
    let late = near.inside(move || TcpStream::connect_timeout(&to, CONNECT)).join().unwrap();
    assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut);

    let deaf = server.make(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9010)));
    let to = SocketAddr::new(server.address, 9010);
    near.make(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(b"anybody?", to));
    let address = server.address.to_string();
    let ping =
        cluster.command(From::Pod("near"), std::path::Path::new("/usr/bin/ping"), &["-c", "1", &address]).output();
    assert!(ping.unwrap().status.success());
    (full, queued, deaf)
}
