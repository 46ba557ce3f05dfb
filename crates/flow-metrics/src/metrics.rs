//! From a flow to the counters that it moves.

use crate::config::{Kind, MetricConfig, ToWorld};
use crate::context::{Context, End, Label};
use crate::series::{Budget, Labels, Series};
use crate::side::Side;
use crate::words;
use flow_api::flow::layer4::Protocol;
use flow_api::flow::{
    DropReason, Flow, LostEvent, LostEventSource, SctpChunkType, TcpFlags, TrafficDirection, Verdict,
};
use flow_api::malla::Way;
use flow_api::{extension, numbers};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::sync::Arc;

/// What is counted, and how many series that may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Each kind once.
    pub metrics: Vec<MetricConfig>,
    /// Series over all metrics, but for one `overflow` each.
    pub budget: u32,
}

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    metrics: Vec<(MetricConfig, Series)>,
    lost: Series,
    budget: Arc<Budget>,
}

impl Settings {
    /// All metrics with their own labels, and 10,000 series: some 3 MB here and a hundredth of what one Prometheus is
    /// happy with.
    #[must_use]
    pub fn new() -> Self {
        let default = Kind::NAMES.iter().filter(|(name, _)| Kind::DEFAULT.contains(name));
        Self { metrics: default.map(|(_, kind)| MetricConfig::new(*kind)).collect(), budget: BUDGET }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counters at 0. Of a kind that is there twice, the first counts.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut registry = Registry::default();
        let budget = Budget { most: i64::from(settings.budget), ..Budget::default() };
        let mut metrics: Vec<(MetricConfig, Series)> = Vec::new();
        for config in &settings.metrics {
            if metrics.iter().all(|(there, _)| there.kind != config.kind) {
                let series = Series::default();
                let (name, help) = name(config.kind);
                registry.register(name, help, series.counters.clone());
                metrics.push((config.clone(), series));
            }
        }
        let lost = Series::default();
        registry.register("hubble_lost_events", "Events that were lost before anybody saw them", lost.counters.clone());
        registry.register("malla_flow_metrics_series", "Series of flow metrics that there are", budget.used.clone());
        let most = Gauge::<i64>::default();
        most.set(budget.most);
        registry.register("malla_flow_metrics_series_budget", "Series of flow metrics that there may be", most);
        let over = "Counts that went to the series overflow of their metric, for want of room";
        registry.register("malla_flow_metrics_over_budget", over, budget.over.clone());
        Self { registry, metrics, lost, budget: Arc::new(budget) }
    }

    /// Whether flows make a difference.
    #[must_use]
    pub fn counts_flows(&self) -> bool {
        !self.metrics.is_empty()
    }

    /// Counts a flow.
    pub fn observe(&self, flow: &Flow) {
        for (config, series) in &self.metrics {
            for own in own_labels(config, flow) {
                series.add(with_context(own, config, flow), 1, &self.budget);
            }
        }
    }

    /// Counts a loss.
    pub fn lost(&self, lost: &LostEvent) {
        let source = LostEventSource::try_from(lost.source).unwrap_or(LostEventSource::UnknownLostEventSource);
        let labels = vec![("source", source.as_str_name().to_ascii_lowercase())];
        self.lost.add(labels, lost.num_events_lost, &self.budget);
    }

    /// Removes the series that name one of these Pods (namespace, name): they will not come back under their names. All in one walk over
    /// the series, however many have gone.
    pub fn forget_pods<'a>(&self, gone: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let gone: HashSet<(&str, &str)> = gone.into_iter().collect();
        if gone.is_empty() {
            return;
        }
        let names: HashSet<&str> = gone.iter().map(|(_, name)| *name).collect();
        let names_one = |config: &MetricConfig, labels: &Labels| {
            let value = |wanted: &str| labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
            // Where the namespace is told as well, it has to be the Pod's.
            let labels_of_their_own = |pod_label: &str, namespace_label: &str| {
                value(pod_label).is_some_and(|pod| match value(namespace_label) {
                    Some(namespace) => gone.contains(&(namespace, pod)),
                    None => names.contains(pod),
                })
            };
            // A workload may have the name of a Pod.
            let end = |side: &Side, name: &str| {
                value(name).is_some_and(|value| {
                    side.has(Context::Pod) && value.split_once('/').is_some_and(|pod| gone.contains(&pod))
                        || side.has(Context::PodName) && names.contains(value)
                })
            };
            end(&config.source, "source")
                || end(&config.destination, "destination")
                || labels_of_their_own("source_pod", "source_namespace")
                || labels_of_their_own("destination_pod", "destination_namespace")
        };
        for (config, series) in &self.metrics {
            series.remove(|labels| !names_one(config, labels), &self.budget);
        }
    }

    /// All of it, in OpenMetrics' text format (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
    ///
    /// # Errors
    /// None that could happen: a `String` takes all that is written to it.
    pub fn expose(&self) -> Result<String, std::fmt::Error> {
        self.expose_beside(&Registry::default())
    }

    /// The same, with metrics of somebody else.
    ///
    /// # Errors
    /// As [`Metrics::expose`].
    pub fn expose_beside(&self, others: &Registry) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, others)?;
        encode_eof(&mut text).map(|()| text)
    }
}

/// Series, by default.
pub const BUDGET: u32 = 10_000;

/// Without the `_total` that the format adds.
fn name(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Flow => ("hubble_flows_processed", "Flows that were seen"),
        Kind::Drop => ("hubble_drop", "Packets that were dropped"),
        Kind::Tcp => ("hubble_tcp_flags", "TCP flags of packets that passed"),
        Kind::Sctp => ("hubble_sctp_chunk_types", "Chunks of SCTP that passed, by their type"),
        Kind::Icmp => ("hubble_icmp", "ICMP messages"),
        Kind::PortDistribution => ("hubble_port_distribution", "Requests by the port that they are for"),
        Kind::Policy => ("hubble_policy_verdicts", "What policy said"),
        Kind::FlowsToWorld => ("hubble_flows_to_world", "Flows to the world outside the cluster"),
        Kind::Ended => ("malla_flows_ended", "Flows that ended, and how"),
        Kind::Dns => ("hubble_dns_queries", "Queries of DNS; nothing speaks layer 7 yet"),
        Kind::Http => ("hubble_http_requests", "Requests of HTTP; nothing speaks layer 7 yet"),
        Kind::Kafka => ("hubble_kafka_requests", "Requests of Kafka; nothing speaks layer 7 yet"),
    }
}

/// The metric's own labels: once for each thing to count.
fn own_labels(config: &MetricConfig, flow: &Flow) -> Vec<Labels> {
    let verdict = words::verdict(flow);
    let has_passed = matches!(verdict, Verdict::Forwarded | Verdict::Redirected);
    let is_policy_verdict = numbers::is_policy_verdict(flow);
    if is_policy_verdict && !matches!(config.kind, Kind::Flow | Kind::Policy) {
        // The packet counts once, by the event that tells what became of it.
        return Vec::new();
    }
    match config.kind {
        Kind::Flow => {
            let (event, subtype) = words::event(flow);
            vec![vec![
                ("protocol", words::protocol(flow).to_owned()),
                ("type", event.to_owned()),
                ("subtype", subtype),
                ("verdict", verdict.as_str_name().to_owned()),
            ]]
        }
        Kind::Drop if verdict == Verdict::Dropped => {
            let reason = numbers::drop_reason(flow.drop_reason_desc);
            vec![vec![("reason", reason), ("protocol", words::protocol(flow).to_owned())]]
        }
        Kind::Tcp if has_passed => match words::layer4(flow) {
            Some(Protocol::Tcp(tcp)) => {
                let flags = tcp.flags.iter().flat_map(told_flags);
                flags.map(|flag| vec![("flag", flag.to_owned()), ("family", words::family(flow).to_owned())]).collect()
            }
            _ => Vec::new(),
        },
        Kind::Sctp if has_passed => match words::layer4(flow) {
            Some(Protocol::Sctp(sctp)) if sctp.chunk_type() != SctpChunkType::Unsupported => {
                let chunk = sctp.chunk_type().as_str_name().to_owned();
                vec![vec![("chunk_type", chunk), ("family", words::family(flow).to_owned())]]
            }
            _ => Vec::new(),
        },
        Kind::Icmp => {
            let message = match words::layer4(flow) {
                Some(Protocol::IcmPv4(icmp)) => ("IPv4", words::icmp_v4(icmp.r#type, icmp.code)),
                Some(Protocol::IcmPv6(icmp)) => ("IPv6", words::icmp_v6(icmp.r#type, icmp.code)),
                _ => return Vec::new(),
            };
            vec![vec![("family", message.0.to_owned()), ("type", message.1)]]
        }
        // Of an answer, or of what may be one, the port says nothing.
        Kind::PortDistribution if has_passed && flow.is_reply == Some(false) => {
            let Some(port) = words::port(flow) else { return Vec::new() };
            vec![vec![("protocol", words::protocol(flow).to_owned()), ("port", port.to_string())]]
        }
        Kind::Policy if is_policy_verdict => {
            let direction = TrafficDirection::try_from(flow.traffic_direction);
            let direction = direction.unwrap_or(TrafficDirection::Unknown).as_str_name().to_ascii_lowercase();
            vec![vec![
                ("direction", direction),
                ("match", words::policy_match(flow.policy_match_type)),
                ("action", verdict.as_str_name().to_ascii_lowercase()),
            ]]
        }
        Kind::FlowsToWorld if is_to_world(config.to_world, flow, verdict) => {
            let mut labels =
                vec![("protocol", words::protocol(flow).to_owned()), ("verdict", verdict.as_str_name().to_owned())];
            if config.to_world.port {
                let port = words::port(flow).filter(|port| *port != 0);
                labels.push(("port", port.map_or_else(String::new, |port| port.to_string())));
            }
            vec![labels]
        }
        Kind::Ended => {
            let way = extension::ended(flow).and_then(|ended| Way::try_from(ended.way).ok());
            let labels = |way: Way| {
                vec![("way", way.as_str_name().to_ascii_lowercase()), ("protocol", words::protocol(flow).to_owned())]
            };
            way.map(labels).into_iter().collect()
        }
        Kind::Drop | Kind::Tcp | Kind::Sctp | Kind::PortDistribution | Kind::Policy | Kind::FlowsToWorld => Vec::new(),
        Kind::Dns | Kind::Http | Kind::Kafka => Vec::new(),
    }
}

/// As Hubble has it: what passes back is left out, for its port is a client's.
fn is_to_world(which: ToWorld, flow: &Flow, verdict: Verdict) -> bool {
    let destination = flow.destination.iter().flat_map(|end| &end.labels);
    let is_reply = flow.is_reply == Some(true);
    let is_dropped = verdict == Verdict::Dropped;
    let opens =
        matches!(words::layer4(flow), Some(Protocol::Tcp(tcp)) if tcp.flags.as_ref().is_some_and(|flags| flags.syn));
    destination.into_iter().any(|label| label == "reserved:world")
        && flow.event_type.is_some()
        && flow.l4.is_some()
        && (!is_dropped || which.any_drop || flow.drop_reason_desc == DropReason::PolicyDenied as i32)
        && (is_dropped || !is_reply)
        && (!which.syn_only || opens && !is_reply)
}

fn told_flags(flags: &TcpFlags) -> impl Iterator<Item = &'static str> {
    let syn = if flags.ack { "SYN-ACK" } else { "SYN" };
    [(flags.syn, syn), (flags.fin, "FIN"), (flags.rst, "RST")].into_iter().filter(|(is, _)| *is).map(|(_, name)| name)
}

fn with_context(mut labels: Labels, config: &MetricConfig, flow: &Flow) -> Labels {
    if config.source.is_told() {
        labels.push(("source", config.source.value(End::source(flow), flow)));
    }
    if config.destination.is_told() {
        labels.push(("destination", config.destination.value(End::destination(flow), flow)));
    }
    for (name, label) in Label::NAMES.iter().filter(|(_, label)| config.labels.contains(label)) {
        labels.push((name, label.value(flow)));
    }
    labels
}
