//! Events as log records: the line that would be in a file, and what one looks for as attributes.

use super::messages::{
    AnyValue, KeyValue, LogRecord, Request, Resource, ResourceLogs, Scope, ScopeLogs, Severity, Value,
};
use crate::{line, sum};
use flow_api::flow::layer4::Protocol;
use flow_api::flow::{Endpoint, Flow, TrafficDirection, Verdict};
use flow_api::moment::nanoseconds;
use flow_api::ring::{Event, What};
use prost::Message;

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The node's name.
    pub node: String,
    /// The cluster's.
    pub cluster: String,
}

/// The event as it leaves: nothing is told of it that its line does not tell.
#[must_use]
pub fn record(event: Event, sender: &Sender) -> LogRecord {
    let observed = u64::try_from(nanoseconds(&event.time)).unwrap_or(0);
    let (event_name, severity, attributes) = match &event.what {
        What::Flow(flow) => ("malla.flow", severity(flow), attributes(flow)),
        What::Lost(lost) => {
            let number = i64::try_from(lost.num_events_lost).unwrap_or(i64::MAX);
            ("malla.lost_events", Severity::Warn, vec![attribute("malla.lost_events.count", Value::Number(number))])
        }
        What::Agent(_) => ("malla.agent_event", Severity::Info, Vec::new()),
        What::Debug(_) => ("malla.debug_event", Severity::Info, Vec::new()),
    };
    LogRecord {
        // Of a flow both are the node's: who sees it says when it was.
        time_unix_nano: observed,
        observed_time_unix_nano: observed,
        severity_number: severity as i32,
        severity_text: if severity == Severity::Warn { "WARN" } else { "INFO" }.to_owned(),
        body: Some(AnyValue { value: Some(Value::Text(line(event, &sender.node))) }),
        attributes,
        event_name: event_name.to_owned(),
    }
}

/// Bytes of it in a request.
#[must_use]
pub fn size(record: &LogRecord) -> usize {
    record.encoded_len()
}

/// Records as one message, with who sends them.
#[must_use]
pub fn request(log_records: Vec<LogRecord>, sender: &Sender) -> Request {
    let attributes = [
        ("service.name", "malla"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("k8s.node.name", &sender.node),
        ("k8s.cluster.name", &sender.cluster),
    ];
    let attributes = attributes.map(|(key, text)| attribute(key, Value::Text(text.to_owned()))).into();
    let scope = Scope { name: "malla.flows".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records }];
    Request { resource_logs: vec![ResourceLogs { resource: Some(Resource { attributes }), scope_logs }] }
}

/// What somebody should look at.
fn severity(flow: &Flow) -> Severity {
    match flow.verdict() {
        Verdict::Dropped | Verdict::Error | Verdict::Audit => Severity::Warn,
        _ => Severity::Info,
    }
}

/// By OpenTelemetry's semantic conventions, where these have a name; an end's Pod is named as theirs, after the end.
fn attributes(flow: &Flow) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::new());
    let (transport, ports) = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => ("tcp", Some((tcp.source_port, tcp.destination_port))),
        Some(Protocol::Udp(udp)) => ("udp", Some((udp.source_port, udp.destination_port))),
        Some(Protocol::Sctp(sctp)) => ("sctp", Some((sctp.source_port, sctp.destination_port))),
        Some(Protocol::IcmPv4(_)) => ("icmp", None),
        Some(Protocol::IcmPv6(_)) => ("icmpv6", None),
        Some(_) | None => ("", None),
    };
    let ip = flow.ip.as_ref();
    all.end("source", ip.map(|ip| ip.source.as_str()), ports.map(|(source, _)| source), flow.source.as_ref());
    let to = ip.map(|ip| ip.destination.as_str());
    all.end("destination", to, ports.map(|(_, destination)| destination), flow.destination.as_ref());
    all.text("network.transport", transport);
    all.text("network.type", ip.map_or("", |ip| [(""), "ipv4", "ipv6"].get(ip.ip_version as usize).unwrap_or(&"")));
    all.text(
        "network.io.direction",
        match flow.traffic_direction() {
            TrafficDirection::Ingress => "receive",
            TrafficDirection::Egress => "transmit",
            TrafficDirection::Unknown => "",
        },
    );
    if flow.verdict != 0 {
        all.text("malla.flow.verdict", flow.verdict().as_str_name());
    }
    if flow.drop_reason_desc != 0 {
        all.text("malla.flow.drop_reason", flow.drop_reason_desc().as_str_name());
    }
    if let Some(number) = &flow.aggregate {
        all.number("malla.flow.count", sum(number) as i64);
    }
    all.0
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Nothing is told that is not known, or twice: a Pod that nobody controls is its own workload, and keys are unique in OTLP.
    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() && self.0.iter().all(|one| one.key != key) {
            self.0.push(attribute(key, Value::Text(text.to_owned())));
        }
    }

    fn number(&mut self, key: &str, number: i64) {
        self.0.push(attribute(key, Value::Number(number)));
    }

    fn end(&mut self, end: &str, address: Option<&str>, port: Option<u32>, endpoint: Option<&Endpoint>) {
        self.text(&format!("{end}.address"), address.unwrap_or_default());
        if let Some(port) = port.filter(|port| *port != 0) {
            self.number(&format!("{end}.port"), i64::from(port));
        }
        let Some(endpoint) = endpoint else { return };
        self.text(&format!("{end}.k8s.namespace.name"), &endpoint.namespace);
        self.text(&format!("{end}.k8s.pod.name"), &endpoint.pod_name);
        for workload in endpoint.workloads.iter().filter(|workload| !workload.kind.is_empty()) {
            // `k8s.deployment.name`, `k8s.daemonset.name`, …
            let kind = workload.kind.to_ascii_lowercase();
            self.text(&format!("{end}.k8s.{kind}.name"), &workload.name);
        }
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
