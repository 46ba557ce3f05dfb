//! Flows counted, and `/metrics`.

use super::args::FlowArgs;
use super::follower::Keeper;
use super::log::{Log, append};
use super::sampling::{LeftOut, Sampling};
use crate::error::Error;
use crate::events::Names;
use crate::node_metrics::NodeMetrics;
use crate::probes::Probes;
use crate::status::{FlowExport, FlowLog, Flows};
use crate::trouble::Trouble;
use crate::{own_thread, small_http};
use datapath_layouts::Observation;
use flow_api::flow::{LostEvent, LostEventSource};
use flow_api::ring::{Event, What};
use flow_log::Writer;
use flow_metrics::{Metrics, Settings};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use model::ObjectName;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Everything that is told to Prometheus.
#[derive(Debug)]
pub struct Told {
    pub flows: Metrics,
    pub export: Export,
    pub otlp: Otlp,
    pub(super) sample: Sampling,
    log_sampled_out: Counter,
    pub(super) log: Option<Arc<Log>>,
    probes: Probes,
    node: NodeMetrics,
}

/// How the exporter does.
#[derive(Debug, Default)]
pub struct Export {
    pub lines: Counter,
    pub lost: Counter,
    pub missed: Counter,
    /// Flows that were put together with others.
    pub aggregated: Counter,
    pub sampled_out: Counter,
}

/// How the sender of log records does.
#[derive(Debug, Default)]
pub struct Otlp {
    /// That the receiver has taken.
    pub records: Counter,
    /// That it did not want.
    pub rejected: Counter,
    /// That could not be sent.
    pub failed: Counter,
    pub missed: Counter,
    pub sampled_out: Counter,
}

/// Counts flows and hands them to the log.
#[derive(Debug)]
pub struct Counted {
    told: Arc<Told>,
    log: Option<Writer>,
    names: Arc<RwLock<Arc<Names>>>,
    /// By the sample, of what goes to the log.
    left_out: LeftOut,
    pods: HashSet<ObjectName>,
    looked: Instant,
}

impl Told {
    pub(super) fn new(args: &FlowArgs, log: Option<Arc<Log>>, probes: Probes, node: NodeMetrics) -> Self {
        let settings = Settings { metrics: args.hubble_metrics.clone(), budget: args.hubble_metrics_budget };
        Self {
            flows: Metrics::new(&settings),
            export: Export::default(),
            otlp: Otlp::default(),
            sample: args.sampling(),
            log_sampled_out: Counter::default(),
            log,
            probes,
            node,
        }
    }

    /// In OpenMetrics' text format.
    ///
    /// # Errors
    /// None that could happen: a `String` takes all that is written to it.
    pub fn expose(&self) -> Result<String, std::fmt::Error> {
        let mut own = Registry::default();
        own.register(
            "malla_flow_export_lines",
            "Flows and losses written to the export file",
            self.export.lines.clone(),
        );
        own.register("malla_flow_export_lost", "Lines that the file system did not take", self.export.lost.clone());
        let help = "Events that came too fast to be written";
        own.register("malla_flow_export_missed", help, self.export.missed.clone());
        let help = "Flows that are told in lines of several";
        own.register("malla_flow_export_aggregated", help, self.export.aggregated.clone());
        self.otlp.register(&mut own);
        self.register_sampled_out(&mut own);
        if let Some((status, summary)) = self.log.as_ref().and_then(|log| log.status()) {
            let mut gauge =
                |name: &str, help: &str, value: u64| own.register(name, help, ConstGauge::new(value as i64));
            gauge("malla_flow_log_bytes", "Bytes of the log of flows on disk", summary.bytes);
            gauge("malla_flow_log_rows", "Flows and losses in it", summary.rows);
            gauge("malla_flow_log_damaged_parts", "Parts of it that can't be read", summary.damaged.len() as u64);
            gauge(
                "malla_flow_log_troubled",
                "Whether the disk does not take flows now",
                u64::from(status.trouble.is_some()),
            );
            let oldest = summary.oldest.map_or(0, |time| time / 1_000_000_000);
            let help = "Time of the oldest flow in it, seconds since 1970";
            own.register("malla_flow_log_oldest_timestamp_seconds", help, ConstGauge::new(oldest));
            let help = "Flows that the log has taken since the start";
            own.register("malla_flow_log_flows", help, ConstCounter::new(status.taken));
            let lost = [("queue_full", status.behind), ("disk", status.refused)];
            let losses = Family::<[(&str, &str); 1], Counter>::default();
            for (why, number) in lost {
                losses.get_or_create(&[("reason", why)]).inc_by(number);
            }
            own.register("malla_flow_log_lost", "Flows that it has lost, and why", losses);
        }
        self.probes.register(&mut own);
        self.node.register(&mut own);
        self.flows.expose_beside(&own)
    }

    /// For `malla status`.
    #[must_use]
    pub fn status(&self, observation: u32) -> Flows {
        let log = self.log.as_ref().and_then(|log| log.status()).map(|(status, summary)| FlowLog {
            bytes: summary.bytes,
            rows: summary.rows,
            oldest_seconds: summary.oldest.map_or(0, |time| time / 1_000_000_000),
            behind: status.behind,
            refused: status.refused,
            damaged: summary.damaged.len() as u64,
        });
        Flows {
            observed: Observation::name(observation).to_owned(),
            sampling: self.sample.number(),
            left_out: self.log_sampled_out.get(),
            log,
            export: FlowExport { missed: self.export.missed.get(), lost: self.export.lost.get() },
            otlp: FlowExport {
                missed: self.otlp.missed.get(),
                lost: self.otlp.rejected.get().saturating_add(self.otlp.failed.get()),
            },
        }
    }

    /// Where nobody samples there is nothing to tell.
    fn register_sampled_out(&self, own: &mut Registry) {
        if self.sample.is_all() {
            return;
        }
        let all = Family::<[(&str, &str); 1], Counter>::default();
        let by_whom =
            [("log", &self.log_sampled_out), ("export", &self.export.sampled_out), ("otlp", &self.otlp.sampled_out)];
        for (from, number) in by_whom {
            all.get_or_create(&[("from", from)]).inc_by(number.get());
        }
        own.register("malla_flow_sampled_out", "Flows left out by --flow-sampling, which are not lost", all);
    }
}

impl Otlp {
    fn register(&self, own: &mut Registry) {
        own.register(
            "malla_flow_otlp_records",
            "Flows and losses that a receiver of OTLP has taken",
            self.records.clone(),
        );
        own.register("malla_flow_otlp_missed", "Events that came too fast to be sent", self.missed.clone());
        let lost = Family::<[(&str, &str); 1], Counter>::default();
        for (why, number) in [("rejected", &self.rejected), ("failed", &self.failed)] {
            lost.get_or_create(&[("reason", why)]).inc_by(number.get());
        }
        own.register("malla_flow_otlp_lost", "Records that the receiver did not take, and why", lost);
    }
}

impl Counted {
    pub(super) fn new(told: Arc<Told>, log: Option<Writer>, names: Arc<RwLock<Arc<Names>>>) -> Self {
        Self { told, log, names, left_out: LeftOut::default(), pods: HashSet::new(), looked: Instant::now() }
    }

    /// Series that name who has gone go. Names stay known for a while after their Pod, so nothing is told under them any more.
    fn forget_gone(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now: HashSet<ObjectName> = names.who.values().filter_map(|who| who.pod.clone()).collect();
        let gone = self.pods.difference(&now);
        self.told.flows.forget_pods(gone.map(|pod| (&*pod.namespace, &*pod.name)));
        self.pods = now;
    }

    /// Whoever asks the log is to know that it has a part alone.
    fn tell_left_out(&mut self, now: Instant) {
        if let Some(log) = self.log.as_mut().filter(|_| self.left_out.due().is_some_and(|due| due <= now)) {
            self.left_out.tell(|left_out| log.append_loss(left_out));
        }
    }
}

impl Keeper for Counted {
    fn take(&mut self, events: &[Arc<Event>]) {
        self.forget_gone();
        for event in events {
            match &event.what {
                // Where nothing is counted it need not be put into words.
                What::Flow(flow) if self.told.flows.counts_flows() => self.told.flows.observe(flow),
                What::Flow(_) => {}
                What::Lost(lost) => self.told.flows.lost(lost),
                What::Agent(_) | What::Debug(_) => {}
            }
        }
        let Some(log) = &mut self.log else { return };
        let kept = self.told.sample.of(events, &self.told.log_sampled_out);
        self.left_out.add((events.len() - kept.len()) as u64, events);
        let lost = append(log, &kept);
        if lost > 0 {
            let source = LostEventSource::ObserverEventsQueue as i32;
            self.told.flows.lost(&LostEvent { source, num_events_lost: lost, ..LostEvent::default() });
        }
        self.tell_left_out(Instant::now());
    }

    fn rest(&mut self) -> Option<Instant> {
        self.tell_left_out(Instant::now());
        self.left_out.due()
    }

    fn finish(&mut self) {
        if let Some(due) = self.left_out.due() {
            self.tell_left_out(due);
        }
    }
}

/// Answers at `/metrics` as long as the agent lives, on a thread of its own: what many series cost is not the agent's loop's to pay. What
/// keeps it from that is told and tried again.
///
/// # Errors
/// The kernel gives no thread.
pub fn start(address: SocketAddr, told: Arc<Told>, trouble: Trouble) -> Result<(), Error> {
    own_thread::start("metrics", || Ok(serve(address, told, trouble)))
}

async fn serve(address: SocketAddr, told: Arc<Told>, trouble: Trouble) {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                trouble.tell(None);
                let told = told.clone();
                small_http::accept(listener, move |request| answer(request.uri().path(), &told)).await;
            }
            Err(error) => trouble.tell(Some(format!("no metrics at {address}: {error}"))),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn answer(path: &str, told: &Told) -> Response<Full<Bytes>> {
    let is_known = path == "/metrics";
    let (status, text) = match is_known.then(|| told.expose()) {
        Some(Ok(text)) => (StatusCode::OK, text),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    response
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How often is looked which Pods have gone.
const LOOK: Duration = Duration::from_secs(30);
/// Between two attempts to listen.
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::args::tests::parsed;
    use super::*;
    use flow_api::flow::{Flow, Verdict};
    use flow_api::server::{Archive, Question};
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: n\r\n\r\n").as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    async fn until(what: &str, holds: impl AsyncFn() -> bool) {
        for _ in 0..1000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in time: {what}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_and_tried_again_and_so_many_are_answered_at_once() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, trouble) = (taken.local_addr().unwrap(), Trouble::default());
        let told = Arc::new(Told::new(&parsed(&[]).unwrap(), None, Probes::default(), NodeMetrics::default()));
        start(address, told, trouble.clone()).unwrap();
        until("the trouble", async || trouble.now().len() == 1).await;
        assert!(trouble.now()[0].contains(&address.to_string()), "{:?}", trouble.now());
        drop(taken);
        until("an answer", async || ask(address, "/metrics").await.is_ok_and(|text| !text.is_empty())).await;
        assert_eq!(trouble.now(), [""; 0]);
        let text = ask(address, "/metrics").await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains(&format!("content-type: {OPEN_METRICS}\r\n")), "{text}");
        assert!(ask(address, "/").await.unwrap().starts_with("HTTP/1.1 404 Not Found\r\n"));
        // All places are taken by those who say nothing: the next one waits, and is answered when they have gone.
        let mut silent = Vec::new();
        for _ in 0..small_http::CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let at_once = tokio::time::timeout(Duration::from_secs(1), ask(address, "/metrics")).await;
        assert!(at_once.is_err(), "the places are counted");
        drop(silent);
        until("an answer again", async || ask(address, "/metrics").await.is_ok_and(|text| !text.is_empty())).await;
    }

    #[test]
    fn metrics_count_all_though_a_sample_is_kept() {
        let folder = std::env::temp_dir().join(format!("malla-sampling-{}", std::process::id()));
        let args = parsed(&["--flow-sampling", "1000000", "--hubble-metrics", "flow"]).unwrap();
        let settings =
            flow_log::Settings { most_age: Duration::from_secs(1 << 40), ..flow_log::Settings::new(&folder) };
        let log = Arc::new(Log::new(settings));
        let told = Arc::new(Told::new(&args, Some(log.clone()), Probes::default(), NodeMetrics::default()));
        let mut counted = Counted::new(told.clone(), Some(log.open().unwrap()), Arc::default());
        let flow = |verdict: Verdict| {
            let flow = Flow { verdict: verdict as i32, time: Some(Default::default()), ..Flow::default() };
            Arc::new(Event { time: Default::default(), what: What::flow(flow) })
        };
        let lost = LostEvent { num_events_lost: 7, last: Some(Default::default()), ..LostEvent::default() };
        let lost = Arc::new(Event { time: Default::default(), what: What::Lost(lost) });
        counted.take(&[flow(Verdict::Forwarded), flow(Verdict::Dropped), lost, flow(Verdict::Forwarded)]);
        assert!(counted.rest().is_some(), "that two are left out is to be told soon");
        counted.finish();
        assert_eq!(counted.rest(), None);
        let kept = log.ask(&Question { since: Some(Default::default()), ..Question::default() }).unwrap();
        let kept: Vec<What> = kept.map(|event| event.unwrap().what).collect();
        drop(counted);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(
            matches!(&kept[..], [What::Flow(flow), What::Lost(lost), What::Lost(left_out)]
                if flow.verdict() == Verdict::Dropped && lost.num_events_lost == 7
                    && (left_out.source(), left_out.num_events_lost) == (LostEventSource::MallaSampling, 2)),
            "{kept:?}"
        );
        let text = told.expose().unwrap();
        let all = text.lines().filter(|line| line.starts_with("hubble_flows_processed_total{"));
        let sum: u64 = all.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 3, "{text}");
        assert!(text.contains("malla_flow_sampled_out_total{from=\"log\"} 2\n"), "{text}");
        assert!(!text.contains("queue_full\"} 2"), "{text}");
    }
}
