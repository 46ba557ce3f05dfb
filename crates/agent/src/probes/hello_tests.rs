use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const LIMIT: Duration = Duration::from_secs(10);

async fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn listening(port: u16) {
    until("a listener", async || TcpStream::connect(local(port)).await.is_ok()).await;
}

/// Says this to the first who connects, whatever it asks, and holds the connection.
async fn says(answer: &'static [u8], holds: bool) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer).await;
        if holds {
            std::future::pending::<()>().await;
        }
    });
    address
}

#[tokio::test]
async fn a_node_says_its_name_and_nothing_else() {
    let port = free_port().await;
    let (_nodes, known) = watch::channel(Nodes::default());
    let trouble = Trouble::default();
    let first = tokio::spawn(serve(port, "worker-1".into(), known, trouble.clone()));
    listening(port).await;
    assert_eq!(ask(local(port), &"worker-1".into(), LIMIT).await, Ok(()));
    assert_eq!(ask(local(port), &"worker-2".into(), LIMIT).await, Err(Why::Stranger("worker-1".to_owned())));
    for request in ["GET / HTTP/1.1", "POST /hello HTTP/1.1", "GET /v1/status HTTP/1.1"] {
        let mut stream = TcpStream::connect(local(port)).await.unwrap();
        stream.write_all(format!("{request}\r\nHost: n\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("worker-1"), "{request}: {answer}");
    }
    // A second one on the same port says so, and takes over when the first is gone.
    let second = Trouble::default();
    let (_nodes, known) = watch::channel(Nodes::default());
    tokio::spawn(serve(port, "worker-2".into(), known, second.clone()));
    until("its trouble", async || !second.now().is_empty()).await;
    assert!(second.now()[0].contains(&port.to_string()) && trouble.now().is_empty());
    first.abort();
    until("the second one", async || ask(local(port), &"worker-2".into(), LIMIT).await == Ok(())).await;
    assert!(second.now().is_empty());
}

/// Strangers who say nothing don't take the places of nodes.
#[tokio::test]
async fn strangers_have_few_places_and_nodes_have_their_own() {
    let port = free_port().await;
    let (nodes, known) = watch::channel(Nodes::default());
    tokio::spawn(serve(port, "worker-1".into(), known, Trouble::default()));
    listening(port).await;
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS + 8 {
        strangers.push(TcpStream::connect(local(port)).await.unwrap());
    }
    let refused = ask(local(port), &"worker-1".into(), LIMIT).await;
    assert_eq!(refused, Err(Why::Cut), "whoever finds no place is sent away at once");
    nodes.send_replace(Arc::new(BTreeSet::from([IpAddr::from(Ipv4Addr::LOCALHOST)])));
    assert_eq!(ask(local(port), &"worker-1".into(), LIMIT).await, Ok(()));
    // They are let go, and their places are free again.
    nodes.send_replace(Nodes::default());
    until("a free place", async || ask(local(port), &"worker-1".into(), LIMIT).await.is_ok()).await;
}

#[tokio::test]
async fn what_is_no_answer_is_told_as_what_it_is() {
    let node = NodeName::from("worker-1");
    let short = Duration::from_millis(300);
    for (answer, holds, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\nworker-1\n"[..], false, Ok(())),
        (b"HTTP/1.1 200 OK\r\n\r\nworker-7\n", false, Err(Why::Stranger("worker-7".to_owned()))),
        (b"HTTP/1.1 200 OK\r\n\r\n\x1b[2J\n", false, Err(Why::Nonsense)),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nworker-1\n", false, Err(Why::Nonsense)),
        (b"SSH-2.0-OpenSSH_9\r\n", false, Err(Why::Nonsense)),
        (b"", false, Err(Why::Cut)),
        (b"", true, Err(Why::Mute)),
        (b"HTTP/1.1 200 OK\r\n\r\nworker-1\n", true, Err(Why::Mute)),
    ] {
        let found = ask(says(answer, holds).await, &node, short).await;
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(answer));
    }
    // An answer without an end is not read to it.
    let endless = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    assert_eq!(ask(says(endless, true).await, &node, LIMIT).await, Err(Why::Nonsense));
    assert_eq!(ask(local(free_port().await), &node, LIMIT).await, Err(Why::Refused));
}

proptest! {
    #[test]
    fn no_answer_panics_or_gets_into_a_terminal(answer in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(Why::Stranger(name)) = judge(&answer, &"n".into()) {
            prop_assert!(is_name(&name));
        }
    }
}
