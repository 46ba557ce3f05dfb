//! OTLP by HTTP: "OTLP/HTTP" of the specification, in protobuf, with its "Failures" and "OTLP/HTTP Throttling".

use super::client::{CONNECT, USER_AGENT};
use super::failure::{Again, Failure};
use super::messages::{PartialSuccess, Request, Response, RpcStatus};
use super::receiver::{Receiver, is_tls};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT as AGENT};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Caller;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Connections, made when they are needed. One that is left in the middle of an answer is closed.
#[derive(Clone, Debug)]
pub struct Http {
    caller: Caller<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    is_compressed: bool,
}

impl Http {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// In words: the address, the authorities or the identity make no sense.
    pub fn new(receiver: &Receiver) -> Result<Self, String> {
        let uri = format!("{}{LOGS}", receiver.address.trim_end_matches('/'));
        let uri: Uri = uri.parse().map_err(|error| format!("{error}"))?;
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        // The one around it has decided.
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls(receiver)?);
        let tls = if is_tls(&receiver.address) { tls.https_only() } else { tls.https_or_http() };
        let connector = tls.enable_http1().wrap_connector(tcp);
        let mut caller = Caller::builder(TokioExecutor::new());
        caller.pool_timer(TokioTimer::new()).pool_max_idle_per_host(1);
        let mut headers = receiver.headers.map().clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        headers.entry(AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        if receiver.is_compressed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self { caller: caller.build(connector), uri, headers, is_compressed: receiver.is_compressed })
    }

    /// Sends it, and waits for the answer.
    ///
    /// # Errors
    /// The receiver's, or the connection's.
    pub async fn send(&self, request: &Request) -> Result<PartialSuccess, Failure> {
        let mut post = http::Request::new(Full::from(self.body(request)?));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = self.uri.clone();
        *post.headers_mut() = self.headers.clone();
        let answer = self.caller.request(post).await.map_err(|error| Failure::passing(flow_api::words(&error)))?;
        let (status, kind) = (answer.status(), kind(answer.headers()));
        let again = again(status, answer.headers(), Timestamp::now());
        let body = read(answer.into_body()).await;
        if status.is_success() {
            return taken(kind, &body?);
        }
        // What it says of its refusal is only words: it is one without them too.
        Err(Failure { words: words(status, kind, &body.unwrap_or_default()), again })
    }

    fn body(&self, request: &Request) -> Result<Bytes, Failure> {
        let bytes = request.encode_to_vec();
        if !self.is_compressed {
            return Ok(bytes.into());
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Into memory: it has no reason to fail.
        let compressed = gzip.write_all(&bytes).and_then(|()| gzip.finish());
        compressed.map(Bytes::from).map_err(|error| Failure::lasting(error.to_string()))
    }
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Protobuf,
    Text,
    /// Of somebody who speaks to people.
    Html,
    Other,
}

fn kind(headers: &HeaderMap) -> Kind {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        PROTOBUF => Kind::Protobuf,
        "text/plain" => Kind::Text,
        "text/html" => Kind::Html,
        _ => Kind::Other,
    }
}

/// All of it, or no more than is sensible.
async fn read(body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, ANSWER).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::lasting(format!("the answer has more than {ANSWER} bytes")))
        }
        Err(error) => Err(Failure::passing(flow_api::words(&*error))),
    }
}

/// Of an answer that says that all is well.
fn taken(kind: Kind, body: &Bytes) -> Result<PartialSuccess, Failure> {
    match kind {
        Kind::Protobuf => {
            let answer = Response::decode(body.clone());
            let answer = answer.map_err(|error| Failure::lasting(format!("the answer can't be read: {error}")))?;
            Ok(answer.partial_success.unwrap_or_default())
        }
        // A page to log in at takes everything, and keeps nothing.
        Kind::Html => Err(Failure::lasting("the answer is a page of HTML: nobody speaks OTLP there")),
        Kind::Text | Kind::Other => Ok(PartialSuccess::default()),
    }
}

fn again(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Again {
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => asked(headers, now).map_or(Again::Soon, Again::After),
        _ => Again::Never,
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
fn asked(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    // A date that has passed is "at once".
    Some(date.timestamp().duration_since(now).try_into().unwrap_or_default())
}

fn words(status: StatusCode, kind: Kind, body: &[u8]) -> String {
    let said = match kind {
        Kind::Protobuf => RpcStatus::decode(body).map(|told| told.message).unwrap_or_default(),
        Kind::Text => String::from_utf8_lossy(body).trim().to_owned(),
        Kind::Html | Kind::Other => String::new(),
    };
    if said.is_empty() { status.to_string() } else { format!("{status}: {said}") }
}

fn tls(receiver: &Receiver) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // A system's authorities may have some that are not understood: the others are believed.
    roots.add_parsable_certificates(certificates(&receiver.authorities).map_err(|why| format!("authorities: {why}"))?);
    if is_tls(&receiver.address) && roots.is_empty() {
        return Err("authorities: there is no certificate among them".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let Some(own) = &receiver.identity else { return Ok(config.with_no_client_auth()) };
    let chain = certificates(&own.certificate).map_err(|why| format!("our certificate: {why}"))?;
    let key = PrivateKeyDer::from_pem_slice(&own.key).map_err(|why| format!("our key: {why}"))?;
    config.with_client_auth_cert(chain, key).map_err(|why| format!("our certificate and key: {why}"))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

const LOGS: &str = "/v1/logs";
const PROTOBUF: &str = "application/x-protobuf";
/// Bytes of an answer: it is a number and some words.
const ANSWER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Again {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        again(StatusCode::SERVICE_UNAVAILABLE, &headers, "2026-11-30T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn it_is_tried_again_where_the_specification_says_so_and_nowhere_else() {
        let retried: Vec<u16> = (100..1000)
            .filter(|code| {
                let status = StatusCode::from_u16(*code).unwrap();
                again(status, &HeaderMap::new(), Timestamp::UNIX_EPOCH) == Again::Soon
            })
            .collect();
        assert_eq!(retried, [429, 502, 503, 504]);
        let (none, minute) = (Again::After(Duration::ZERO), Again::After(Duration::from_secs(60)));
        for (text, expected) in [
            ("60", minute),
            ("0", none),
            ("Mon, 30 Nov 2026 12:01:00 GMT", minute),
            ("Mon, 30 Nov 2026 11:59:00 GMT", none),
            ("-1", Again::Soon),
            ("soon", Again::Soon),
            ("99999999999999999999999", Again::Soon),
        ] {
            assert_eq!(after(text), expected, "{text}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "60".parse().unwrap())]);
        assert_eq!(again(StatusCode::BAD_REQUEST, &headers, Timestamp::UNIX_EPOCH), Again::Never);
    }
}
