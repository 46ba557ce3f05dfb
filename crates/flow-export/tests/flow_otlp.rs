//! What a receiver of OTLP gets, and what becomes of it when there is none: judged by the messages and the service of the crate
//! `opentelemetry-proto`, of which the exporter itself knows nothing.

mod otlp;

use flow_api::flow::{Flow, LostEvent, Verdict};
use flow_api::ring::{Event, What};
use flow_export::otlp::messages::{RetryInfo, RpcStatus};
use flow_export::otlp::{Client, Delivery, Headers, Identity as Own, Protocol, Receiver as To, address};
use flow_export::{Alike, Redaction, Selection};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use otlp::{anywhere, body, event, flow, one, plain, requested, silent, texts};
use prost::Message;
use prost_types::{Any, Timestamp};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

/// Answers as it was told, then takes everything.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    answers: VecDeque<Result<ExportLogsServiceResponse, Status>>,
    asked: usize,
    taken: Vec<ExportLogsServiceRequest>,
    /// `authorization` and `grpc-encoding` of the last.
    headers: [Option<String>; 2],
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let mut inner = self.0.lock().unwrap();
        inner.asked += 1;
        let header = |name: &str| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        inner.headers = ["authorization", "grpc-encoding"].map(header);
        let answer = inner.answers.pop_front().unwrap_or_else(|| Ok(ExportLogsServiceResponse::default()))?;
        inner.taken.push(request.into_inner());
        Ok(Response::new(answer))
    }
}

impl Receiver {
    fn answering(answers: impl IntoIterator<Item = Result<ExportLogsServiceResponse, Status>>) -> Self {
        let receiver = Self::default();
        receiver.0.lock().unwrap().answers.extend(answers);
        receiver
    }

    async fn listen(&self, at: SocketAddr, tls: Option<ServerTlsConfig>) -> SocketAddr {
        let listener = TcpListener::bind(at).await.unwrap();
        let bound = listener.local_addr().unwrap();
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let service = LogsServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Gzip);
        let server = server.add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        bound
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    fn records(&self) -> Vec<LogRecord> {
        let inner = self.0.lock().unwrap();
        let scopes = inner.taken.iter().flat_map(|request| &request.resource_logs).flat_map(|one| &one.scope_logs);
        scopes.flat_map(|scope| scope.log_records.clone()).collect()
    }
}

fn grpc(address: String) -> To {
    plain(Protocol::Grpc, address)
}

fn delivery(at: SocketAddr, stop: &CancellationToken) -> Delivery {
    Delivery::new(Client::new(&grpc(format!("http://{at}"))).unwrap(), stop.clone())
}

#[tokio::test]
async fn a_receiver_reads_who_sent_it_and_what_was_seen() {
    let receiver = Receiver::default();
    let at = receiver.listen(anywhere(), None).await;
    let lost = LostEvent { num_events_lost: 9, source: 3, ..LostEvent::default() };
    let lost = Event { time: Timestamp { seconds: 8, nanos: 0 }, what: What::Lost(lost) };
    let forwarded = event(Flow { verdict: Verdict::Forwarded as i32, drop_reason_desc: 0, ..flow() });
    let sent = requested(&Selection::default(), None, &[event(flow()), forwarded, lost]);
    let taken = delivery(at, &CancellationToken::new()).deliver(&sent, |_| panic!("nothing keeps it")).await.unwrap();
    assert_eq!(taken.rejected_log_records, 0);
    let whole = receiver.0.lock().unwrap().taken[0].resource_logs[0].clone();
    let resource = texts(&whole.resource.unwrap().attributes);
    for (key, value) in [("service.name", "malla"), ("k8s.node.name", "worker-1"), ("k8s.cluster.name", "default")] {
        assert_eq!(resource[key], value);
    }
    assert_eq!(whole.scope_logs[0].scope.as_ref().unwrap().name, "malla.flows");
    let records = receiver.records();
    let severities: Vec<_> = records.iter().map(|record| (record.severity_number(), &*record.severity_text)).collect();
    let warn = (SeverityNumber::Warn, "WARN");
    assert_eq!(severities, [warn, (SeverityNumber::Info, "INFO"), warn]);
    let names: Vec<_> = records.iter().map(|record| record.event_name.as_str()).collect();
    assert_eq!(names, ["malla.flow", "malla.flow", "malla.lost_events"]);
    assert_eq!((records[0].time_unix_nano, records[0].observed_time_unix_nano), (7_000_000_005, 7_000_000_005));
    let told: Vec<(String, String)> = texts(&records[0].attributes).into_iter().collect();
    let expected = [
        ("destination.address", "10.0.0.2"),
        ("destination.k8s.deployment.name", "w"),
        ("destination.k8s.namespace.name", "shop"),
        ("destination.k8s.pod.name", "b"),
        ("destination.port", "80"),
        ("malla.flow.drop_reason", "POLICY_DENIED"),
        ("malla.flow.verdict", "DROPPED"),
        ("network.io.direction", "transmit"),
        ("network.transport", "tcp"),
        ("network.type", "ipv4"),
        ("source.address", "10.0.0.1"),
        ("source.k8s.deployment.name", "w"),
        ("source.k8s.namespace.name", "shop"),
        ("source.k8s.pod.name", "a"),
        ("source.port", "32768"),
    ];
    assert_eq!(told, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let json: serde_json::Value = serde_json::from_str(&body(&records[0])).unwrap();
    assert_eq!((&json["node_name"], &json["flow"]["uuid"]), (&"worker-1".into(), &"u".into()));
    assert_eq!(texts(&records[2].attributes)["malla.lost_events.count"], "9");
    assert!(body(&records[2]).contains(r#""num_events_lost":"9""#));
}

#[tokio::test]
async fn what_may_not_be_in_the_file_is_not_in_a_record_either() {
    let receiver = Receiver::default();
    let at = receiver.listen(anywhere(), None).await;
    let redaction = Redaction { labels: vec!["owner".into()], ..Redaction::default() };
    let fieldmask = ["verdict", "source.labels", "destination.namespace"].map(str::to_owned).into();
    let masked = requested(&Selection { redaction, fieldmask, ..Selection::default() }, None, &[event(flow())]);
    let fields = vec!["destination.pod_name".to_owned()];
    let alike = Alike { fields, interval: Duration::from_secs(9), all: true };
    let several = requested(&Selection::default(), Some(&alike), &[event(flow()), event(flow())]);
    let mut delivery = delivery(at, &CancellationToken::new());
    for sent in [masked, several] {
        delivery.deliver(&sent, |_| {}).await.unwrap();
    }
    let told: Vec<_> = receiver.records().iter().map(|record| (body(record), texts(&record.attributes))).collect();
    assert!(told[0].0.contains("HUBBLE_REDACTED") && !told[0].0.contains("ann"), "{}", told[0].0);
    let keys = |which: usize| told[which].1.keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(keys(0), ["destination.k8s.namespace.name", "malla.flow.verdict"]);
    assert_eq!(keys(1), ["destination.k8s.pod.name", "malla.flow.count"]);
    assert_eq!(told[1].1["malla.flow.count"], "2");
}

#[tokio::test]
async fn what_can_pass_is_tried_again_and_arrives_once() {
    let info = RetryInfo { retry_delay: Some(Default::default()) };
    let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
    let details = RpcStatus { details: vec![any], ..RpcStatus::default() }.encode_to_vec();
    let throttled = Status::with_details(Code::ResourceExhausted, "slow down", details.into());
    let receiver = Receiver::answering([Err(Status::unavailable("not yet")), Err(throttled)]);
    let at = receiver.listen(anywhere(), None).await;
    let why = Mutex::new(Vec::new());
    let mut delivery = delivery(at, &CancellationToken::new());
    delivery.deliver(&one(), |told| why.lock().unwrap().push(told)).await.unwrap();
    assert_eq!(*why.lock().unwrap(), ["not yet", "slow down"]);
    assert_eq!((receiver.asked(), receiver.records().len()), (3, 1));
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again_and_the_next_is() {
    let partly = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "too old".into() };
    let partly = ExportLogsServiceResponse { partial_success: Some(partly) };
    let full = Status::resource_exhausted("too large");
    let receiver = Receiver::answering([Err(Status::invalid_argument("what?")), Err(full), Ok(partly)]);
    let at = receiver.listen(anywhere(), None).await;
    let mut delivery = delivery(at, &CancellationToken::new());
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let sent = delivery.deliver(&one(), |why| panic!("tried again: {why}")).await;
        outcomes.push(sent.map(|taken| (taken.rejected_log_records, taken.error_message)));
    }
    let refused = |why: &str| Err(why.to_owned());
    assert_eq!(outcomes, [refused("what?"), refused("too large"), Ok((1, "too old".into())), Ok((0, String::new()))]);
    assert_eq!(receiver.asked(), 4);
}

#[tokio::test]
async fn a_receiver_that_comes_late_gets_it_and_one_that_never_comes_keeps_nobody() {
    let rude = TcpListener::bind(anywhere()).await.unwrap();
    let at = rude.local_addr().unwrap();
    // Hangs up on the first who calls, and is gone then.
    tokio::spawn(async move { rude.accept().await.map(drop) });
    let (receiver, stop) = (Receiver::default(), CancellationToken::new());
    let (tell, told) = std::sync::mpsc::channel();
    let sending = tokio::spawn({
        let mut delivery = delivery(at, &CancellationToken::new());
        async move { delivery.deliver(&one(), |why| drop(tell.send(why))).await }
    });
    while told.try_recv().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    receiver.listen(at, None).await;
    sending.await.unwrap().unwrap();
    assert_eq!(receiver.records().len(), 1);

    let gone = Receiver::answering((0..99).map(|_| Err(Status::unavailable("gone"))));
    let mut delivery = delivery(gone.listen(anywhere(), None).await, &stop);
    stop.cancel();
    assert_eq!(delivery.deliver(&one(), |_| {}).await, Err("gone".to_owned()));
    assert!(delivery.deliver(&one(), |_| {}).await.is_err());
    assert_eq!(gone.asked(), 1, "one last attempt");
}

#[tokio::test]
async fn by_tls_only_who_has_the_right_certificate_gets_anything() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (own, other) = (made("localhost"), made("localhost"));
    let receiver = Receiver::default();
    let identity = Identity::from_pem(own.cert.pem(), own.signing_key.serialize_pem());
    let at = receiver.listen(anywhere(), Some(ServerTlsConfig::new().identity(identity))).await;
    let url = format!("https://localhost:{}", at.port());
    let stop = CancellationToken::new();
    // One attempt each.
    stop.cancel();
    for (authority, arrives) in [(&other, false), (&own, true)] {
        let client = Client::new(&To { authorities: authority.cert.pem().into(), ..grpc(url.clone()) }).unwrap();
        let sent = Delivery::new(client, stop.clone()).deliver(&one(), |_| {}).await;
        assert_eq!(sent.is_ok(), arrives, "{sent:?}");
    }
    assert_eq!(receiver.records().len(), 1);
}

#[tokio::test]
async fn who_asks_for_a_certificate_gets_it_and_a_token_goes_with_each_request() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (own, client) = (made("localhost"), made("node"));
    let identity = Identity::from_pem(own.cert.pem(), own.signing_key.serialize_pem());
    let tls = ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(client.cert.pem()));
    let receiver = Receiver::default();
    let at = receiver.listen(anywhere(), Some(tls)).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let nobody = To {
        headers: Headers::read("authorization=Bearer%20s3cret").unwrap(),
        is_compressed: true,
        authorities: own.cert.pem().into(),
        ..grpc(format!("https://localhost:{}", at.port()))
    };
    let identity = Own { certificate: client.cert.pem().into(), key: client.signing_key.serialize_pem().into() };
    let known = To { identity: Some(identity), ..nobody.clone() };
    for (to, arrives) in [(&nobody, false), (&known, true)] {
        assert!(!format!("{to:?}").contains("s3cret"));
        let sent = Delivery::new(Client::new(to).unwrap(), stop.clone()).deliver(&one(), |_| {}).await;
        assert_eq!(sent.is_ok(), arrives, "{sent:?}");
    }
    assert_eq!(receiver.records().len(), 1);
    let headers = receiver.0.lock().unwrap().headers.clone();
    assert_eq!(headers, [Some("Bearer s3cret".to_owned()), Some("gzip".to_owned())]);
}

#[tokio::test]
async fn an_address_is_a_scheme_a_host_and_a_port_and_a_path_by_http_alone() {
    for good in ["http://collector:4317", "https://otel.example:4317/", "http://[fd00::1]:4317"] {
        assert_eq!(address(good).as_deref(), Ok(good));
        assert!(Client::new(&grpc(good.to_owned())).is_ok() || good.starts_with("https"), "{good}");
    }
    for path in ["http://collector:4317/v1/logs", "http://collector", "http://collector/otlp/"] {
        assert_eq!(address(path).as_deref(), Ok(path));
        assert!(Client::new(&grpc(path.to_owned())).is_err_and(|why| why.contains("by gRPC")), "{path}");
        assert!(Client::new(&plain(Protocol::Http, path)).is_ok(), "{path}");
    }
    for bad in
        ["collector:4317", "grpc://collector:4317", "http://", "", "unix:///x", "http://c:1/?a=b", "http://c:1/#a"]
            .into_iter()
            .chain(["https://me:secret@collector:4317"])
    {
        assert!(address(bad).is_err_and(|why| !why.contains("secret")), "{bad}");
    }
}

#[tokio::test]
async fn who_takes_a_connection_and_says_nothing_is_called_anew() {
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let ask = async |scheme: &str| {
        let (at, calls) = silent().await;
        let to = To { authorities: authority.clone().into(), ..grpc(format!("{scheme}://{at}")) };
        let client = Client::new(&to).unwrap();
        let stop = CancellationToken::new();
        let told = Mutex::new(Vec::new());
        let mut delivery = Delivery::new(client, stop.clone());
        let waiting = |why: String| {
            told.lock().unwrap().push(why);
            // The next attempt is the last.
            stop.cancel();
        };
        delivery.deliver(&one(), waiting).await.expect_err("nobody took it");
        (told.into_inner().unwrap(), calls.load(Ordering::Relaxed))
    };
    let (plain, tls) = tokio::join!(ask("http"), ask("https"));
    for (told, calls) in [plain, tls] {
        assert!(told.len() == 1 && told[0].contains("no answer"), "{told:?}");
        assert_eq!(calls, 2);
    }
}
