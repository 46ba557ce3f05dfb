//! What the node's network has and does, for Prometheus: Malla's own beside Hubble's. Names of labels are Cilium's where Cilium
//! has the same.

use crate::cluster::Watches;
use crate::collector::Totals;
use crate::loaded::Loaded;
use crate::run::{drops, forwarded};
use crate::status::{MapUsage, Packets, TableUse};
use datapath_layouts::{StatsValue, stats};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Cheap to clone; empty until it is told whom to ask.
#[derive(Clone, Default)]
pub struct NodeMetrics(Arc<Inner>);

struct Inner {
    source: OnceLock<Source>,
    /// Entries of the maps that the agent fills, as it counts them.
    planned: Mutex<Vec<TableUse>>,
    updates: Histogram,
}

/// Whom it asks when somebody looks.
pub struct Source {
    /// The programs and maps.
    pub loaded: Arc<dyn Loaded>,
    /// The watches of the API.
    pub watches: Watches,
    /// What is collected, and what is left.
    pub collected: Arc<Totals>,
}

impl Default for Inner {
    fn default() -> Self {
        let updates = Histogram::new(LATENCIES);
        Self { source: OnceLock::new(), planned: Mutex::default(), updates }
    }
}

impl fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeMetrics").field("planned", &self.0.planned).finish_non_exhaustive()
    }
}

type Label = [(&'static str, String); 1];
type Gauges = Family<Label, Gauge<f64, AtomicU64>>;
type Counters = Family<Label, Counter>;

impl NodeMetrics {
    /// From now on it can be asked. Once.
    pub fn ask(&self, source: Source) {
        let _ = self.0.source.set(source);
    }

    /// The maps that the agent fills have so many entries.
    pub fn planned(&self, tables: Vec<TableUse>) {
        *self.0.planned.lock().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    /// A change that was heard of so long ago is in the maps.
    pub fn updated(&self, after: Duration) {
        self.0.updates.observe(after.as_secs_f64());
    }

    /// Puts all of it beside others.
    pub fn register(&self, registry: &mut Registry) {
        let help = "From the moment at which the agent heard of something to the maps that hold what follows from it, if anything does";
        registry.register("malla_update_latency_seconds", help, self.0.updates.clone());
        let Some(source) = self.0.source.get() else { return };
        // Who can't be asked now is asked at the next look.
        let usages = source.loaded.usages().unwrap_or_default();
        let planned = self.0.planned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        maps(registry, &usages, &[planned, source.collected.entries()].concat());
        // A counter that can't be read now is left out: one that is 0 for once would be taken for a new one.
        if let Ok(counters) = source.loaded.stats() {
            counted(registry, &counters);
        }
        let removed = Counters::default();
        let collected = source.collected.now();
        let tables = [("flows", collected.flows), ("service_flows", collected.service_flows), ("nat", collected.nat)];
        for (table, number) in tables {
            removed.get_or_create(&label("table", table)).inc_by(number);
        }
        registry.register("malla_conntrack_gc_removed", "Entries that were collected when they were over", removed);
        watches(registry, &source.watches);
    }
}

/// By the programs.
fn counted(registry: &mut Registry, counters: &[(u32, StatsValue)]) {
    packets(registry, "malla_drop", "reason", "that were dropped, and why", drops(counters));
    let help = "that were passed on, by where they were seen last";
    packets(registry, "malla_forward", "point", help, forwarded(counters));
    let slot = |number| counters.iter().find(|(slot, _)| *slot == number).map_or(0, |(_, value)| value.packets);
    for (name, help, number) in [
        ("malla_conntrack_flows", "Flows that were begun to be tracked", stats::FLOWS_CREATED),
        ("malla_nat_exhausted", "Searches for a port to masquerade with that found none", stats::NAT_EXHAUSTED),
        ("malla_events_written", "Events that the programs have told", stats::EVENTS_WRITTEN),
        ("malla_events_lost", "Events for which the ring had no room", stats::EVENTS_LOST),
    ] {
        registry.register(name, help, ConstCounter::new(slot(number)));
    }
}

fn label(name: &'static str, value: impl Into<String>) -> Label {
    [(name, value.into())]
}

/// How full they are, of those whose entries somebody counts, and what all of them cost.
fn maps(registry: &mut Registry, usages: &[MapUsage], counted: &[TableUse]) {
    let [pressure, entries, capacity, bytes] = [(); 4].map(|()| Gauges::default());
    for map in usages {
        let of_map = label("map_name", &*map.name);
        bytes.get_or_create(&of_map).set(map.memory_bytes as f64);
        if let Some(table) = counted.iter().find(|table| table.name == map.name) {
            // The agent may leave room that the map has.
            let room = if table.room > 0 { table.room } else { map.max_entries as usize };
            entries.get_or_create(&of_map).set(table.used as f64);
            capacity.get_or_create(&of_map).set(room as f64);
            pressure.get_or_create(&of_map).set(if room > 0 { table.used as f64 / room as f64 } else { 0.0 });
        }
    }
    registry.register("malla_bpf_map_pressure", "How full a map is: 1 is full", pressure);
    registry.register("malla_bpf_map_entries", "Entries of a map", entries);
    registry.register("malla_bpf_map_capacity", "Entries for which a map has room", capacity);
    registry.register("malla_bpf_map_memory_bytes", "Memory of the kernel that a map takes", bytes);
}

fn packets(registry: &mut Registry, name: &str, by: &'static str, what: &str, all: BTreeMap<String, Packets>) {
    let (count, bytes) = (Counters::default(), Counters::default());
    for (value, number) in all {
        let labels = label(by, value);
        count.get_or_create(&labels).inc_by(number.packets);
        bytes.get_or_create(&labels).inc_by(number.bytes);
    }
    registry.register(format!("{name}_count"), format!("Packets {what}"), count);
    registry.register(format!("{name}_bytes"), format!("Bytes of packets {what}"), bytes);
}

fn watches(registry: &mut Registry, watches: &Watches) {
    let (connected, synced, errors) = (Gauges::default(), Gauges::default(), Counters::default());
    let number = |is: bool| f64::from(u8::from(is));
    let all = watches.now();
    let behind = all.iter().filter(|watch| !watch.connected || !watch.synced).count();
    for watch in all {
        let kind = label("kind", watch.kind);
        connected.get_or_create(&kind).set(number(watch.connected));
        synced.get_or_create(&kind).set(number(watch.synced));
        errors.get_or_create(&kind).inc_by(watch.errors);
    }
    registry.register("malla_api_watch_connected", "Whether the API answers a watch", connected);
    registry.register("malla_api_watch_synced", "Whether a watch has had a whole list", synced);
    registry.register("malla_api_watch_errors", "Attempts to watch that failed", errors);
    let help =
        "From a change's time, as its object tells it in whole seconds, to the moment at which the agent heard of it";
    registry.register("malla_api_watch_lag_seconds", help, watches.lags());
    let help = "Watches that are away, or have not had a whole list";
    registry.register("malla_api_watches_behind", help, ConstGauge::new(behind as i64));
}

/// Seconds: from a map's entry to a cluster's first list.
const LATENCIES: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use datapath_layouts::NodeConfig;
    use prometheus_client::encoding::text::encode;

    struct Fake;

    impl Loaded for Fake {
        fn config(&self) -> NodeConfig {
            NodeConfig::ZERO
        }

        fn reconfigure(&self, _: NodeConfig) -> Result<(), Error> {
            Ok(())
        }

        fn usages(&self) -> Result<Vec<MapUsage>, Error> {
            let map =
                |name: &str| MapUsage { name: name.into(), max_entries: 200, memory_bytes: 4096, ..Default::default() };
            Ok(["backends", "policies", "conntrack", "stats"].map(map).into())
        }

        fn stats(&self) -> Result<Vec<(u32, StatsValue)>, Error> {
            let value = |packets| StatsValue { packets, bytes: packets * 100 };
            let to_pod = stats::FORWARDED + 101;
            Ok(vec![
                (133, value(2)),
                (to_pod, value(5)),
                (stats::NAT_EXHAUSTED, value(3)),
                (stats::FLOWS_CREATED, value(9)),
            ])
        }

        fn attach_mode(&self) -> Option<String> {
            None
        }
    }

    fn told(metrics: &NodeMetrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn maps_packets_and_watches_are_told_when_somebody_can_be_asked() {
        let metrics = NodeMetrics::default();
        assert!(!told(&metrics).contains("malla_bpf"));
        let collected = Arc::new(Totals::default());
        collected.saw("conntrack", 150);
        metrics.ask(Source { loaded: Arc::new(Fake), watches: Watches::default(), collected });
        let table = |name: &str, used, room| TableUse { name: name.into(), used, room };
        metrics.planned(vec![table("backends", 50, 0), table("policies", 20, 20)]);
        metrics.updated(Duration::from_millis(3));
        let text = told(&metrics);
        for line in [
            "malla_bpf_map_pressure{map_name=\"backends\"} 0.25",
            "malla_bpf_map_pressure{map_name=\"policies\"} 1.0",
            "malla_bpf_map_pressure{map_name=\"conntrack\"} 0.75",
            "malla_bpf_map_entries{map_name=\"conntrack\"} 150.0",
            "malla_bpf_map_memory_bytes{map_name=\"stats\"} 4096.0",
            "malla_drop_count_total{reason=\"POLICY_DENIED\"} 2",
            "malla_drop_bytes_total{reason=\"POLICY_DENIED\"} 200",
            "malla_forward_count_total{point=\"to-endpoint\"} 5",
            "malla_nat_exhausted_total 3",
            "malla_conntrack_flows_total 9",
            "malla_update_latency_seconds_bucket{le=\"0.005\"} 1",
            "malla_api_watches_behind 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(!text.contains("malla_bpf_map_pressure{map_name=\"stats\"}"), "nobody counts its entries");
    }
}
