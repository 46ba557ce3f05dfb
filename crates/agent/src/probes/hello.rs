//! The health port: `GET /hello` is answered with the node's name, and asked of other nodes.
//!
//! It tells that the way here works and that the agent's process runs; how the agent does, `malla status` tells.

use super::ledger::Why;
use crate::small_http;
use crate::trouble::Trouble;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use model::NodeName;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Who may be asking, by address.
pub type Nodes = Arc<BTreeSet<IpAddr>>;

/// Answers at the port as long as the runtime lives. What keeps it from listening is told and tried again.
pub async fn serve(port: u16, name: NodeName, nodes: watch::Receiver<Nodes>, trouble: Trouble) {
    loop {
        match small_http::listen(port).await {
            Ok(listener) => {
                trouble.tell(None);
                accept(listener, &name, &nodes).await;
            }
            Err(error) => {
                let why = format!("health port {port}: {error}: other nodes can't see that this one is well");
                trouble.tell(Some(why));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Strangers have few places, so that they can't take those of the nodes; who finds none is sent away at once.
async fn accept(listener: TcpListener, name: &NodeName, nodes: &watch::Receiver<Nodes>) {
    let (for_nodes, for_strangers) = (Arc::new(Semaphore::new(NODES)), Arc::new(Semaphore::new(STRANGERS)));
    let name = Bytes::from(format!("{name}\n"));
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // No descriptors left, or the client went at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let is_node = nodes.borrow().contains(&from.ip().to_canonical());
        let places = if is_node { &for_nodes } else { &for_strangers };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let name = name.clone();
        tokio::spawn(async move {
            // Whoever is slower than this hears nothing.
            let _ =
                tokio::time::timeout(PATIENCE, small_http::speak(stream, move |request| answer(request, &name))).await;
            drop(place);
        });
    }
}

/// The name, and nothing else.
fn answer(request: &Request<Incoming>, name: &Bytes) -> Response<Full<Bytes>> {
    let is_hello = request.method() == Method::GET && request.uri().path() == PATH;
    let mut response = Response::new(Full::from(if is_hello { name.clone() } else { Bytes::new() }));
    *response.status_mut() = if is_hello { StatusCode::OK } else { StatusCode::NOT_FOUND };
    response
}

/// Asks the node at this address for its name, for at most this time.
///
/// # Errors
/// Why it is not the one.
pub async fn ask(address: SocketAddr, node: &NodeName, limit: Duration) -> Result<(), Why> {
    let deadline = tokio::time::Instant::now() + limit;
    let connected = tokio::time::timeout_at(deadline, TcpStream::connect(address)).await;
    let mut stream = connected.map_err(|_| Why::Silent)??;
    let answer = tokio::time::timeout_at(deadline, converse(&mut stream)).await;
    judge(&answer.map_err(|_| Why::Mute)??, node)
}

async fn converse(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: malla\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Whether it is an agent's answer, and this node's.
fn judge(answer: &[u8], node: &NodeName) -> Result<(), Why> {
    if answer.is_empty() {
        return Err(Why::Cut);
    }
    let text = std::str::from_utf8(answer).map_err(|_| Why::Nonsense)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(Why::Nonsense)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(Why::Nonsense);
    }
    match body.strip_suffix('\n') {
        Some(name) if *name == *node.0 => Ok(()),
        Some(name) if is_name(name) => Err(Why::Stranger(name.to_owned())),
        _ => Err(Why::Nonsense),
    }
}

/// A Node's name is a DNS subdomain (RFC 1123), at most 253 bytes: nothing else gets into logs and terminals.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(fits)
}

const PATH: &str = "/hello";
/// Connections of nodes at once.
const NODES: usize = 256;
/// Connections of others at once.
const STRANGERS: usize = 16;
/// For a whole connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to listen.
const RETRY: Duration = Duration::from_secs(2);
/// Largest answer that is read, bytes.
const LONGEST: u64 = 1024;

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
