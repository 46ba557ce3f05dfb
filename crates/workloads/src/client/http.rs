//! HTTP requests, over kept connections or over one each.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};

use super::{
    arguments::HttpArgs,
    report::{self, Report, Success},
};
use crate::connection::{CHUNK, pattern};

type Sender = SendRequest<Full<Bytes>>;

/// Makes the requests.
pub async fn run(args: &HttpArgs) -> anyhow::Result<Report> {
    let uri: Uri = args.url.parse().with_context(|| format!("{} is not a URL", args.url))?;
    anyhow::ensure!(uri.scheme_str() == Some("http"), "{}: only http:// is spoken here", args.url);
    let host = uri.host().with_context(|| format!("{} names no host", args.url))?.to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let address = lookup_host((host.trim_matches(['[', ']']), port))
        .await
        .with_context(|| format!("look up {host}"))?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    let template = Template { uri, body: args.body.map(body), close: args.close, show: args.show };
    Ok(report::run(&args.load, || None, move |kept| one(address, template.clone(), kept)).await)
}

#[derive(Clone)]
struct Template {
    uri: Uri,
    body: Option<Bytes>,
    close: bool,
    show: bool,
}

/// The worker's state is its open connection, if it has one.
type Kept = Option<Sender>;

async fn one(address: SocketAddr, template: Template, kept: Kept) -> (Option<Kept>, Result<Success, String>) {
    match exchange(address, &template, kept).await {
        Ok((sender, success)) => (Some(sender), Ok(success)),
        Err(error) => (None, Err(error)),
    }
}

async fn exchange(address: SocketAddr, template: &Template, kept: Kept) -> Result<(Kept, Success), String> {
    // A kept connection whose server has announced its end is no longer ready: that is no error.
    let mut open = None;
    if let Some(mut sender) = kept
        && sender.ready().await.is_ok()
    {
        open = Some(sender);
    }
    let mut sender = match open {
        Some(sender) => sender,
        None => connect(address).await?,
    };
    let method = if template.body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(template.uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, template.uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::USER_AGENT, "malla-client")
        .body(Full::new(template.body.clone().unwrap_or_default()))
        .map_err(|error| format!("build request: {error}"))?;
    if template.close {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let response = sender.send_request(request).await.map_err(|error| describe("request", &error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| describe("answer", &error))?.to_bytes();
    if !status.is_success() {
        return Err(format!("status {}", status.as_u16()));
    }
    let (answered_by, seen_as) = who(&body);
    let success = Success {
        answered_by,
        seen_as,
        status: Some(status.as_u16()),
        bytes: body.len() as u64,
        answer: template.show.then(|| String::from_utf8_lossy(&body).into_owned()),
    };
    Ok(((!template.close).then_some(sender), success))
}

async fn connect(address: SocketAddr) -> Result<Sender, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {}", error.kind()))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| describe("handshake", &error))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Who answered and whom they saw: from echo's JSON, or from spink's lines.
fn who(body: &[u8]) -> (Option<String>, Option<String>) {
    if body.len() > LARGEST_TELLING {
        return (None, None);
    }
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        let field = |name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        return (field("pod"), field("peer"));
    }
    let text = String::from_utf8_lossy(body);
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned());
    let single = || {
        let line = text.trim();
        (!line.is_empty() && line.len() < 100 && !line.contains(char::is_whitespace)).then(|| line.to_owned())
    };
    (line("hostname:").or_else(single), line("client:"))
}

/// The error's own words and its cause's: "connection closed before message completed" says more than "http1 error".
fn describe(doing: &str, error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{doing}: {error}: {cause}"),
        None => format!("{doing}: {error}"),
    }
}

fn body(length: u64) -> Bytes {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(&pattern(offset, (length - offset).min(CHUNK)));
    }
    bytes.into()
}

/// Larger answers are data, not somebody introducing himself.
const LARGEST_TELLING: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_who_answered() {
        let echo = br#"{"pod":"echo-1","peer":"10.0.0.1"}"#;
        assert_eq!(who(echo), (Some("echo-1".into()), Some("10.0.0.1".into())));
        assert_eq!(
            who(b"Hello\nhostname: spink-1\nclient: 10.0.0.9\n"),
            (Some("spink-1".into()), Some("10.0.0.9".into()))
        );
        assert_eq!(who(b"echo-2\n"), (Some("echo-2".into()), None));
        assert_eq!(who(b"not a name\n"), (None, None));
    }

    #[test]
    fn bodies_follow_the_pattern() {
        let body = body(200_000);
        assert_eq!(body.len(), 200_000);
        assert!(body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    }
}
