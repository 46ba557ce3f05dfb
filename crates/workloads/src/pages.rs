//! What the servers answer. [`Site::Echo`] tells everything it knows about a request, [`Site::Spink`] looks like the
//! small Spring Boot application it stands for.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::sleep;

use crate::{connection::Content, whoami::Identity};

/// Which pages a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    Echo(Identity),
    Spink(Identity),
}

/// Both ends of the connection as this process sees them.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// Answers one request.
pub async fn answer(site: &Site, ends: Ends, request: Request<Incoming>) -> Response<Content> {
    match site {
        Site::Echo(identity) => echo(identity, ends, request).await,
        Site::Spink(identity) => spink(identity, ends, &request),
    }
}

/// What `whoami` over UDP and `/` over HTTP have in common.
#[must_use]
pub fn about(identity: &Identity, ends: Ends) -> serde_json::Value {
    json!({
        "pod": identity.pod,
        "namespace": identity.namespace,
        "node": identity.node,
        "addresses": identity.addresses,
        "peer": ends.peer.ip(),
        "peerPort": ends.peer.port(),
        "local": ends.local.ip(),
        "localPort": ends.local.port(),
    })
}

async fn echo(identity: &Identity, ends: Ends, request: Request<Incoming>) -> Response<Content> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_matches('/').splitn(2, '/');
    match (parts.next().unwrap_or(""), parts.next()) {
        ("hostname", None) => text(identity.pod.clone()),
        ("healthz" | "readyz", None) => text("ok".into()),
        ("clientip", None) => text(ends.peer.to_string()),
        ("bytes", Some(count)) => match count.parse() {
            Ok(total) => typed("application/octet-stream", Content::Pattern { sent: 0, total }),
            Err(_) => refuse(StatusCode::BAD_REQUEST, "write /bytes/N, N the number of bytes"),
        },
        ("delay", Some(millis)) => match millis.parse().map(Duration::from_millis) {
            Ok(delay) if delay <= LONGEST_DELAY => {
                sleep(delay).await;
                text(format!("waited {} ms", delay.as_millis()))
            }
            _ => refuse(StatusCode::BAD_REQUEST, "write /delay/MS, MS milliseconds, at most 600000"),
        },
        ("sha256", None) if matches!(*request.method(), Method::POST | Method::PUT) => checksum(request).await,
        ("sha256", None) => refuse(StatusCode::METHOD_NOT_ALLOWED, "POST the bytes to be summed"),
        _ => {
            let mut about = about(identity, ends);
            about["method"] = json!(request.method().as_str());
            about["path"] = json!(request.uri().path_and_query().map_or("/", |path| path.as_str()));
            about["headers"] = json!(readable(request.headers()));
            json_page(&about)
        }
    }
}

fn spink(identity: &Identity, ends: Ends, request: &Request<Incoming>) -> Response<Content> {
    match request.uri().path() {
        "/actuator/health" | "/actuator/health/liveness" | "/actuator/health/readiness" => {
            json_page(&json!({"status": "UP"}))
        }
        // One fact per line, because people pipe this into grep.
        "/" => text(format!(
            "Hello from spink!\nhostname: {}\nnode: {}\naddresses: {}\nclient: {}",
            identity.pod,
            identity.node,
            identity.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            ends.peer.ip(),
        )),
        _ => refuse(StatusCode::NOT_FOUND, "spink has / and /actuator/health"),
    }
}

async fn checksum(request: Request<Incoming>) -> Response<Content> {
    let mut sum = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut bytes = 0u64;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    sum.update(data);
                    bytes += data.len() as u64;
                }
            }
            Err(_) => return refuse(StatusCode::BAD_REQUEST, "the body ended too early"),
        }
    }
    json_page(&json!({ "sha256": hexadecimal(sum.finish().as_ref()), "bytes": bytes }))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn readable(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut readable: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        readable
            .entry(name.as_str())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    readable
}

fn json_page(value: &serde_json::Value) -> Response<Content> {
    typed("application/json", format!("{value}\n").into())
}

fn text(line: String) -> Response<Content> {
    typed("text/plain; charset=utf-8", (line + "\n").into())
}

fn refuse(status: StatusCode, why: &str) -> Response<Content> {
    let mut response = text(why.into());
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// `/delay` beyond this is a mistake.
const LONGEST_DELAY: Duration = Duration::from_secs(600);
