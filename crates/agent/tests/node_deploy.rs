//! The dashboard and the alerts in `deploy/` that are about nodes, before Debian's promtool, and beside what an agent tells.

#[path = "../../flow-metrics/tests/promtool/mod.rs"]
#[allow(dead_code, reason = "the tests of flows' metrics use the rest")]
mod promtool;

use agent::cluster::Watches;
use agent::collector::Totals;
use agent::error::Error;
use agent::keeping::{self, FlowArgs};
use agent::loaded::Loaded;
use agent::node_metrics::{NodeMetrics, Source};
use agent::probes::Probes;
use agent::status::{MapUsage, TableUse};
use agent::trouble::Troubles;
use clap::Parser;
use datapath_layouts::{DropReason, NodeConfig, ObservationPoint, StatsValue, stats};
use promtool::{are_questions, names_asked, questions, rules_agree};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    flows: FlowArgs,
}

/// Something of everything: a metric without a series is not told.
struct Busy;

impl Loaded for Busy {
    fn config(&self) -> NodeConfig {
        NodeConfig::ZERO
    }

    fn reconfigure(&self, _: NodeConfig) -> Result<(), Error> {
        Ok(())
    }

    fn usages(&self) -> Result<Vec<MapUsage>, Error> {
        let map = MapUsage { name: "backends".into(), max_entries: 9, memory_bytes: 1, ..MapUsage::default() };
        Ok(vec![map])
    }

    fn stats(&self) -> Result<Vec<(u32, StatsValue)>, Error> {
        let value = StatsValue { packets: 1, bytes: 1 };
        let to_a_pod = stats::FORWARDED + ObservationPoint::ToEndpoint as u32;
        Ok(vec![(DropReason::PolicyDenied as u32, value), (to_a_pod, value)])
    }

    fn attach_mode(&self) -> Option<String> {
        None
    }
}

#[test]
fn alerts_say_what_they_are_for_and_nothing_else() {
    rules_agree("node");
}

#[test]
fn prometheus_understands_what_the_dashboard_asks() {
    let questions = questions("node.json");
    assert!(questions.len() > 12);
    are_questions(&questions);
}

#[test]
fn nothing_is_asked_for_that_is_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let args = Flags::parse_from(["agent", "--hubble-metrics-port", "0"]).flows;
    let (metrics, watches) = (NodeMetrics::default(), Watches::default());
    watches.lags().get_or_create(&[("kind", "Pod")]).observe(1.0);
    metrics.ask(Source { loaded: Arc::new(Busy), watches, collected: Arc::new(Totals::default()) });
    metrics.planned(vec![TableUse { name: "backends".into(), used: 1, room: 9 }]);
    let told = keeping::told(&args, keeping::log(&args, folder.path()), Probes::default(), metrics);
    let own = model::Node {
        name: "n".into(),
        addresses: Vec::new(),
        pod_ranges: Vec::new(),
        zone: None,
        labels: Default::default(),
    };
    let ring = Arc::new(flow_api::ring::Ring::new(9));
    let names = Arc::default();
    let _keeping =
        keeping::start(told.clone(), &args, folder.path(), &own, &ring, &names, &Troubles::default()).unwrap();
    let mut text = String::new();
    let is_open = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        text = told.expose().unwrap();
        text.contains("malla_flow_log_bytes")
    });
    assert!(is_open, "the log is not opened: {text}");
    let types: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let names = names_asked("node");
    assert!(names.len() > 15);
    // Only who has other nodes has paths to them.
    let probes = include_str!("../src/probes/metrics.rs");
    for name in names {
        let family = ["_total", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let is_told = types.contains(family) || probes.contains(&format!("\"{family}\""));
        assert!(is_told, "{name} is never told");
    }
}
