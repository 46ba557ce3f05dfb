//! Flows counted, and `/metrics`.

use super::args::FlowArgs;
use super::follower::Keeper;
use super::log::{OnDisk, append};
use crate::probes::Probes;
use crate::services::Names;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flow_api::flow::{LostEvent, LostEventSource};
use flow_api::ring::{Event, What};
use flow_log::Writer;
use flow_metrics::{Metrics, Settings};
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
    log: Option<Arc<OnDisk>>,
    probes: Probes,
}

/// How the exporter does.
#[derive(Debug, Default)]
pub struct Export {
    pub lines: Counter,
    pub lost: Counter,
}

/// Counts flows and hands them to the log.
#[derive(Debug)]
pub struct Counted {
    told: Arc<Told>,
    log: Option<Writer>,
    names: Arc<RwLock<Arc<Names>>>,
    pods: HashSet<ObjectName>,
    looked: Instant,
}

impl Told {
    pub(super) fn new(args: &FlowArgs, log: Option<Arc<OnDisk>>, probes: Probes) -> Self {
        let settings = Settings { metrics: args.hubble_metrics.clone(), budget: args.hubble_metrics_budget };
        Self { flows: Metrics::new(&settings), export: Export::default(), log, probes }
    }

    /// In OpenMetrics' text format.
    fn expose(&self) -> Result<String, std::fmt::Error> {
        let mut own = Registry::default();
        own.register(
            "malla_flow_export_lines",
            "Flows and losses written to the export file",
            self.export.lines.clone(),
        );
        own.register("malla_flow_export_lost", "Lines that the file system did not take", self.export.lost.clone());
        if let Some(log) = &self.log {
            let (status, summary) = log.status();
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
        self.flows.expose_beside(&own)
    }
}

impl Counted {
    pub(super) fn new(told: Arc<Told>, log: Option<Writer>, names: Arc<RwLock<Arc<Names>>>) -> Self {
        Self { told, log, names, pods: HashSet::new(), looked: Instant::now() }
    }

    /// Series that name who has gone go. Names stay known for a while after their Pod, so nothing is told under them any more.
    fn forget_gone(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now: HashSet<ObjectName> = names.pods.values().cloned().collect();
        for gone in self.pods.difference(&now) {
            self.told.flows.forget_pod(&gone.namespace, &gone.name);
        }
        self.pods = now;
    }
}

impl Keeper for Counted {
    fn take(&mut self, events: &[Arc<Event>]) {
        self.forget_gone();
        for event in events {
            match &event.what {
                What::Flow(flow) => self.told.flows.observe(flow),
                What::Lost(lost) => self.told.flows.lost(lost),
                What::Agent(_) | What::Debug(_) => {}
            }
        }
        let lost = self.log.as_mut().map_or(0, |log| append(log, events));
        if lost > 0 {
            let source = LostEventSource::ObserverEventsQueue as i32;
            self.told.flows.lost(&LostEvent { source, num_events_lost: lost, ..LostEvent::default() });
        }
    }
}

/// Answers at `/metrics` as long as the agent lives.
pub async fn serve(address: SocketAddr, told: Arc<Told>) {
    let router = Router::new().route("/metrics", get(answer)).with_state(told);
    let served = match TcpListener::bind(address).await {
        Ok(listener) => axum::serve(listener, router).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!("no metrics at {address}: {error}");
    }
}

async fn answer(State(told): State<Arc<Told>>) -> Response {
    match told.expose() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How often is looked which Pods have gone.
const LOOK: Duration = Duration::from_secs(30);
