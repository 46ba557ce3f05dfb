//! What the tests of both protocols send, and read of it.

use flow_api::flow::{CiliumEventType, Endpoint, Flow, Ip, Layer4, Tcp, Verdict, Workload, layer4};
use flow_api::ring::{Event, What};
use flow_export::otlp::messages::Request;
use flow_export::otlp::{Headers, Protocol, Receiver, Sender, record, request};
use flow_export::{Alike, Outflow, Selection};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost_types::Timestamp;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::TcpListener;

pub fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub fn sender() -> Sender {
    Sender { node: "worker-1".into(), cluster: "default".into() }
}

pub fn flow() -> Flow {
    let end = |pod: &str| Endpoint {
        namespace: "shop".into(),
        pod_name: pod.into(),
        labels: vec!["k8s:owner=ann".into()],
        workloads: vec![Workload { name: "w".into(), kind: "Deployment".into() }],
        ..Endpoint::default()
    };
    let tcp = Tcp { source_port: 32_768, destination_port: 80, flags: None };
    Flow {
        time: Some(Timestamp { seconds: 7, nanos: 5 }),
        uuid: "u".into(),
        verdict: Verdict::Dropped as i32,
        drop_reason_desc: 133,
        ip: Some(Ip { source: "10.0.0.1".into(), destination: "10.0.0.2".into(), ip_version: 1, ..Ip::default() }),
        l4: Some(Layer4 { protocol: Some(layer4::Protocol::Tcp(tcp)) }),
        source: Some(end("a")),
        destination: Some(end("b")),
        traffic_direction: 2,
        event_type: Some(CiliumEventType::default()),
        ..Flow::default()
    }
}

pub fn event(flow: Flow) -> Event {
    Event { time: Timestamp { seconds: 7, nanos: 5 }, what: What::flow(flow) }
}

/// As they leave.
pub fn requested(selection: &Selection, alike: Option<&Alike>, events: &[Event]) -> Request {
    let (mut outflow, mut out) = (Outflow::new(selection, alike).unwrap(), Vec::new());
    for event in events {
        outflow.take(event, Instant::now(), &mut out);
    }
    outflow.flush(&mut out);
    request(out.into_iter().map(|event| record(event, &sender())).collect(), &sender())
}

pub fn one() -> Request {
    requested(&Selection::default(), None, &[event(flow())])
}

pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| match one.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|one| (one.key.clone(), text(one))).collect()
}

pub fn body(record: &LogRecord) -> String {
    match record.body.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Somebody who takes connections, and says nothing; how many.
pub async fn silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let (at, calls) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            held.push(stream);
        }
    });
    (at, calls)
}

/// Without anything that an address can do without.
pub fn plain(protocol: Protocol, address: impl Into<String>) -> Receiver {
    Receiver {
        address: address.into(),
        protocol,
        is_compressed: false,
        headers: Headers::default(),
        authorities: Vec::new(),
        identity: None,
    }
}
