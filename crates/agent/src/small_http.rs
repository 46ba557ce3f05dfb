//! HTTP for machines that ask small questions now and then: load balancers, Prometheus. Whoever connects, it costs no more than a bounded number
//! of connections for a bounded time.

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Answers one request on each connection, for ever.
pub async fn accept<A>(listener: TcpListener, answer: A)
where
    A: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    // Whoever is slower than this is not who it is for.
                    let _ = tokio::time::timeout(PATIENCE, speak(stream, answer)).await;
                    drop(permit);
                });
            }
            // No descriptors left, or the client went at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Answers one request. Whoever calls bounds the time.
pub async fn speak(stream: TcpStream, answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>>) {
    let service = service_fn(move |request| {
        let answer = answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(BUFFER).keep_alive(false);
    // It ends as the client likes.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// Both families by one socket; only IPv4 where the node has no IPv6.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
        }
        other => other,
    }
}

/// At once per port.
pub const CONNECTIONS: usize = 64;
/// For a whole connection: as long as Prometheus waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest request head, bytes.
const BUFFER: usize = 16 * 1024;
