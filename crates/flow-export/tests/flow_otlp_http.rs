//! The same by HTTP, to a server of hyper that reads it by the messages of the crate `opentelemetry-proto`.

mod otlp;

use bytes::Bytes;
use flow_export::otlp::messages::RpcStatus;
use flow_export::otlp::{Client, Delivery, Headers, Identity, Protocol, Receiver as To};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use otlp::{anywhere, body, one, plain, silent, texts};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Answers as it was told, then takes everything.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    answers: VecDeque<Answer>,
    /// What was posted, to where, with what.
    asked: Vec<(String, HeaderMap, Bytes)>,
}

impl Receiver {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self(Arc::new(Mutex::new(Inner { answers: answers.into_iter().collect(), ..Inner::default() })))
    }

    async fn listen(&self, tls: Option<ServerConfig>) -> SocketAddr {
        let listener = TcpListener::bind(anywhere()).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (receiver, tls) = (self.clone(), tls.map(|tls| TlsAcceptor::from(Arc::new(tls))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (receiver, tls) = (receiver.clone(), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| receiver.answer(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        at
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Result<Answer, Infallible> {
        let (head, body) = request.into_parts();
        let read = body.collect().await.unwrap().to_bytes();
        let mut inner = self.0.lock().unwrap();
        inner.asked.push((format!("{} {}", head.method, head.uri), head.headers, read));
        let all = || protobuf(StatusCode::OK, &ExportLogsServiceResponse::default());
        Ok(inner.answers.pop_front().unwrap_or_else(all))
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    /// Of the last request.
    fn header(&self, name: &str) -> Option<String> {
        let inner = self.0.lock().unwrap();
        inner.asked.last().unwrap().1.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).boxed();
    Response::builder().status(status).header("content-type", kind).body(body).unwrap()
}

fn protobuf(status: StatusCode, message: &impl Message) -> Answer {
    answer(status, "application/x-protobuf", message.encode_to_vec())
}

fn refusal(status: StatusCode, words: &str) -> Answer {
    protobuf(status, &RpcStatus { message: words.to_owned(), ..RpcStatus::default() })
}

fn delivery(to: &To) -> Delivery {
    Delivery::new(Client::new(to).unwrap(), CancellationToken::new())
}

/// One attempt, and no other.
async fn attempt(to: &To) -> Result<i64, String> {
    let stop = CancellationToken::new();
    stop.cancel();
    let sent = Delivery::new(Client::new(to).unwrap(), stop).deliver(&one(), |_| {}).await;
    sent.map(|part| part.rejected_log_records)
}

#[tokio::test]
async fn a_receiver_reads_what_was_seen_below_the_path_that_was_named() {
    let receiver = Receiver::default();
    let at = receiver.listen(None).await;
    for (path, is_compressed) in [("", false), ("/", true), ("/otlp", false), ("/otlp/", true)] {
        let to = To { is_compressed, ..plain(Protocol::Http, format!("http://{at}{path}")) };
        delivery(&to).deliver(&one(), |why| panic!("{why}")).await.unwrap();
        let asked = receiver.0.lock().unwrap().asked.pop().unwrap();
        let expected = if path.len() < 2 { "POST /v1/logs" } else { "POST /otlp/v1/logs" };
        assert_eq!(asked.0, expected);
        assert_eq!(asked.1["content-type"], "application/x-protobuf");
        assert!(asked.1["user-agent"].to_str().unwrap().starts_with("malla/"));
        assert_eq!(asked.1.contains_key("content-encoding"), is_compressed);
        let mut read = asked.2.to_vec();
        if is_compressed {
            assert_eq!(asked.1["content-encoding"], "gzip");
            read.clear();
            flate2::read::GzDecoder::new(&asked.2[..]).read_to_end(&mut read).unwrap();
        }
        let request = ExportLogsServiceRequest::decode(read.as_slice()).unwrap();
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert!(body(record).contains(r#""uuid":"u""#), "{record:?}");
        assert_eq!(texts(&record.attributes)["source.k8s.pod.name"], "a");
    }
}

#[tokio::test]
async fn what_can_pass_is_tried_again_and_what_is_refused_is_not() {
    let partly = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "too old".into() };
    let partly = ExportLogsServiceResponse { partial_success: Some(partly) };
    let mut throttled = refusal(StatusCode::TOO_MANY_REQUESTS, "slow down");
    throttled.headers_mut().insert("retry-after", "1".parse().unwrap());
    let mut elsewhere = answer(StatusCode::TEMPORARY_REDIRECT, "text/plain", "");
    elsewhere.headers_mut().insert("location", "http://192.0.2.1/".parse().unwrap());
    let receiver = Receiver::answering([
        answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not yet"),
        throttled,
        protobuf(StatusCode::OK, &ExportLogsServiceResponse::default()),
        refusal(StatusCode::BAD_REQUEST, "what?"),
        answer(StatusCode::PAYLOAD_TOO_LARGE, "text/html", "<html>"),
        answer(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}"),
        elsewhere,
        answer(StatusCode::OK, "text/html", "<html>log in</html>"),
        answer(StatusCode::OK, "application/x-protobuf", "nonsense"),
        protobuf(StatusCode::OK, &partly),
        answer(StatusCode::OK, "application/json", "{}"),
    ]);
    let at = receiver.listen(None).await;
    let mut delivery = delivery(&plain(Protocol::Http, format!("http://{at}")));
    let (why, begun) = (Mutex::new(Vec::new()), Instant::now());
    delivery.deliver(&one(), |told| why.lock().unwrap().push(told)).await.unwrap();
    assert_eq!(*why.lock().unwrap(), ["503 Service Unavailable: not yet", "429 Too Many Requests: slow down"]);
    assert_eq!(receiver.asked(), 3);
    assert!(begun.elapsed() >= Duration::from_millis(1250), "it was asked for a second");
    let mut outcomes = Vec::new();
    for _ in 0..9 {
        let sent = delivery.deliver(&one(), |why| panic!("tried again: {why}")).await;
        outcomes.push(match sent {
            Ok(part) => format!("{} {}", part.rejected_log_records, part.error_message),
            Err(why) => why,
        });
    }
    assert!(outcomes[5].starts_with("the answer can't be read"), "{outcomes:?}");
    outcomes.remove(5);
    let expected = [
        "400 Bad Request: what?",
        "413 Payload Too Large",
        "500 Internal Server Error",
        "307 Temporary Redirect",
        "the answer is a page of HTML: nobody speaks OTLP there",
        "1 too old",
        "0 ",
        "0 ",
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(receiver.asked(), 12);
}

#[tokio::test]
async fn headers_of_ones_own_arrive_and_nobody_else_sees_them() {
    let echo = "who is s3cret-t0ken? (Bearer s3cret-t0ken)";
    let partly = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: echo.into() };
    let receiver = Receiver::answering([
        answer(StatusCode::UNAUTHORIZED, "text/plain", echo),
        refusal(StatusCode::FORBIDDEN, echo),
        refusal(StatusCode::SERVICE_UNAVAILABLE, echo),
        protobuf(StatusCode::OK, &ExportLogsServiceResponse { partial_success: Some(partly) }),
    ]);
    let at = receiver.listen(None).await;
    let headers = Headers::read("authorization=Bearer%20s3cret-t0ken\nx-scope-orgid=shop").unwrap();
    let to = To { headers, ..plain(Protocol::Http, format!("http://{at}")) };
    let said = Mutex::new(Vec::new());
    let mut delivery = delivery(&to);
    for _ in 0..3 {
        let waiting = |why| said.lock().unwrap().push(why);
        let sent = delivery.deliver(&one(), waiting).await;
        said.lock().unwrap().push(sent.map_or_else(|why| why, |part| part.error_message));
        assert_eq!(receiver.header("authorization").as_deref(), Some("Bearer s3cret-t0ken"));
        assert_eq!(receiver.header("x-scope-orgid").as_deref(), Some("shop"));
    }
    let said = said.into_inner().unwrap();
    assert_eq!(said.len(), 4);
    assert!(said.iter().all(|words| words.contains("who is [hidden]?")), "{said:?}");
    assert!(!format!("{said:?} {to:?} {delivery:?}").contains("s3cret"));
}

#[tokio::test]
async fn by_tls_only_who_has_the_right_certificate_gets_anything() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (own, other, client) = (made("localhost"), made("localhost"), made("node"));
    let mut roots = RootCertStore::empty();
    roots.add(client.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(own.cert.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    let receiver = Receiver::default();
    let at = receiver.listen(Some(config)).await;
    let identity = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| Identity {
        certificate: made.cert.pem().into(),
        key: made.signing_key.serialize_pem().into(),
    };
    let right = To {
        authorities: own.cert.pem().into(),
        identity: Some(identity(&client)),
        ..plain(Protocol::Http, format!("https://localhost:{}", at.port()))
    };
    for wrong in [
        To { authorities: other.cert.pem().into(), ..right.clone() },
        To { identity: None, ..right.clone() },
        To { identity: Some(identity(&other)), ..right.clone() },
        To { address: format!("https://127.0.0.1:{}", at.port()), ..right.clone() },
        To { address: format!("http://localhost:{}", at.port()), ..right.clone() },
    ] {
        attempt(&wrong).await.unwrap_err();
    }
    assert_eq!(receiver.asked(), 0);
    assert_eq!(attempt(&right).await, Ok(0));
    assert_eq!(receiver.asked(), 1);
    let nonsense = [
        (To { authorities: b"none".into(), ..right.clone() }, "authorities: there is no certificate"),
        (To { identity: Some(Identity { key: b"none".into(), ..identity(&client) }), ..right.clone() }, "our key"),
    ];
    for (to, words) in nonsense {
        assert!(Client::new(&to).is_err_and(|why| why.contains(words)), "{words}");
    }
}

/// An answer that goes on for ever: at once, or a letter from time to time.
struct Endless {
    piece: Bytes,
    every: Option<tokio::time::Interval>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.every.as_mut().is_some_and(|every| every.poll_tick(context).is_pending()) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

#[tokio::test]
async fn who_answers_without_an_end_or_not_at_all_is_left() {
    let endless = |status: StatusCode, piece: &'static [u8], every: Option<u64>| {
        let every = every.map(|milliseconds| tokio::time::interval(Duration::from_millis(milliseconds)));
        let body = Endless { piece: Bytes::from_static(piece), every }.boxed();
        Response::builder().status(status).header("content-type", "text/plain").body(body).unwrap()
    };
    let much = &[b'x'; 4096];
    let receiver = Receiver::answering([
        endless(StatusCode::OK, much, None),
        endless(StatusCode::BAD_REQUEST, much, None),
        endless(StatusCode::BAD_REQUEST, b"x", Some(50)),
    ]);
    let to = plain(Protocol::Http, format!("http://{}", receiver.listen(None).await));
    assert_eq!(attempt(&to).await, Err("the answer has more than 65536 bytes".to_owned()));
    assert_eq!(attempt(&to).await, Err("400 Bad Request".to_owned()));

    let (mute, calls) = silent().await;
    let ask = async |to: To| {
        let (stop, told) = (CancellationToken::new(), Mutex::new(Vec::new()));
        let waiting = |why: String| {
            told.lock().unwrap().push(why);
            // The next attempt is the last.
            stop.cancel();
        };
        let sent = Delivery::new(Client::new(&to).unwrap(), stop.clone()).deliver(&one(), waiting).await;
        (told.into_inner().unwrap(), sent.is_ok())
    };
    let (slow, dumb) = tokio::join!(ask(to), ask(plain(Protocol::Http, format!("http://{mute}"))));
    // Who is slow is asked anew, and takes it then.
    assert_eq!(slow, (vec!["no answer within 10 s".to_owned()], true));
    assert_eq!(dumb, (vec!["no answer within 10 s".to_owned()], false));
    assert_eq!(calls.load(Ordering::Relaxed), 2, "by another connection");
}
