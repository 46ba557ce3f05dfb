//! The built-in servers over real sockets of both families, on loopback.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use workloads::cli::{WorkloadArgs, run};

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    workload: WorkloadArgs,
}

/// Starts a server on free ports; it ends with the test's process.
fn start<const N: usize>(kind: &str, speaks: [&str; N]) -> [u16; N] {
    let ports = speaks.map(|_| TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port());
    let list: Vec<String> = ports.iter().zip(speaks).map(|(port, speaks)| format!("{port}/{speaks}")).collect();
    let line = CommandLine::parse_from(["workload", kind, "--ports", &list.join(",")]);
    thread::spawn(move || run(line.workload).unwrap());
    let begin = Instant::now();
    for (port, _) in ports.iter().zip(speaks).filter(|(_, speaks)| *speaks != "UDP") {
        while TcpStream::connect(("127.0.0.1", *port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(5), "it does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }
    ports
}

/// Head (in lower case) and body of the answer.
fn request(address: SocketAddr, text: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

#[test]
fn echo_tells_who_it_is_and_whom_it_sees() {
    let [port] = start("echo", ["HTTP"]);
    for loopback in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(loopback.parse().unwrap(), port);
        let about: serde_json::Value = serde_json::from_str(&get(address, "/some/path?q=1").1).unwrap();
        assert_eq!(about["peer"], loopback, "IPv4 is not told as ::ffff:…");
        assert_eq!((about["method"].as_str(), about["path"].as_str()), (Some("GET"), Some("/some/path?q=1")));
        assert_eq!(about["headers"]["host"], "test");
        let seen: SocketAddr = get(address, "/clientip").1.trim().parse().unwrap();
        assert_eq!(seen.ip(), loopback.parse::<IpAddr>().unwrap());
        assert_eq!(get(address, "/healthz").1, "ok\n");
    }
}

#[test]
fn echo_sends_sums_and_waits() {
    let [port] = start("echo", ["HTTP"]);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let (head, body) = get(address, "/bytes/100000");
    assert!(head.contains("content-length: 100000") && body.starts_with("\0\u{1}\u{2}"));
    let posted =
        request(address, "POST /sha256 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
    // FIPS 180-2, appendix B.1.
    assert!(posted.1.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "{}", posted.1);
    let begin = Instant::now();
    get(address, "/delay/200");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    for (path, status) in [("/bytes/many", 400), ("/delay/-1", 400), ("/delay/999999999", 400), ("/sha256", 405)] {
        assert!(get(address, path).0.starts_with(&format!("http/1.1 {status}")), "{path}");
    }
}

#[test]
fn rubbish_is_refused_and_hurts_nobody() {
    let [port] = start("echo", ["HTTP"]);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    for rubbish in [&b"\x01\x02rubbish\r\n\r\n"[..], b"GET / HTTP/1.1\r\nno header\r\n\r\n", &[0xff; 100_000]] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // It may close before everything is written; what counts is that it closes, and never says 200.
        let _ = stream.write_all(rubbish);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    drop(TcpStream::connect(address).unwrap());
    assert_eq!(get(address, "/healthz").1, "ok\n");
}

#[test]
fn a_tcp_port_speaks_what_the_client_begins_with() {
    let ports = start("echo", ["TCP", "ECHO"]);
    assert_eq!(get(([127, 0, 0, 1], ports[0]).into(), "/healthz").1, "ok\n");
    for port in ports {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sent: Vec<u8> = (0..200_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut writer = stream.try_clone().unwrap();
        let mut back = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&sent).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            stream.read_to_end(&mut back).unwrap();
        });
        assert!(back == sent, "every byte comes back, and then the end");
    }
}

#[test]
fn udp_comes_back_whole_and_whoami_is_answered() {
    let [_, port] = start("echo", ["HTTP", "UDP"]);
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let server = SocketAddr::new(socket.local_addr().unwrap().ip(), port);
        let payload = vec![7u8; 9000];
        let mut answer = vec![0u8; 65_535];
        socket.send_to(&payload, server).unwrap();
        assert_eq!(socket.recv(&mut answer).unwrap(), payload.len());
        assert!(answer.starts_with(&payload));
        socket.send_to(b"whoami\n", server).unwrap();
        let length = socket.recv(&mut answer).unwrap();
        let about: serde_json::Value = serde_json::from_slice(&answer[..length]).unwrap();
        assert_eq!(about["peerPort"], socket.local_addr().unwrap().port());
        socket.send_to(b"", server).unwrap();
        assert_eq!(socket.recv(&mut answer).unwrap(), 0, "an empty datagram is one too");
    }
}

#[test]
fn spink_answers_as_the_example_expects() {
    let [port] = start("spink", ["HTTP"]);
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let page = get(address, "/").1;
    assert!(page.lines().any(|line| line.starts_with("hostname: ")), "{page}");
    assert!(page.lines().any(|line| line == "client: 127.0.0.1"), "{page}");
    assert_eq!(get(address, "/actuator/health").1, "{\"status\":\"UP\"}\n");
    assert!(get(address, "/other").0.starts_with("http/1.1 404"));
}
