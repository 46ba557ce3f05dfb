//! The dashboard and the alerts in `deploy/` that are about nodes, before Debian's promtool, and beside what an agent tells.

#[path = "../../flow-metrics/tests/promtool/mod.rs"]
#[allow(dead_code, reason = "the tests of flows' metrics use the rest")]
mod promtool;

use agent::collector::Totals;
use agent::error::Error;
use agent::keeping::{self, FlowArgs};
use agent::loaded::Loaded;
use agent::node_metrics::{NodeMetrics, Source};
use agent::probes::Probes;
use agent::status::MapUsage;
use agent::trouble::Troubles;
use clap::Parser;
use datapath_layouts::{NodeConfig, StatsValue};
use promtool::{are_questions, names_asked, questions, rules_agree};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    flows: FlowArgs,
}

struct Nothing;

impl Loaded for Nothing {
    fn config(&self) -> NodeConfig {
        NodeConfig::ZERO
    }

    fn reconfigure(&self, _: NodeConfig) -> Result<(), Error> {
        Ok(())
    }

    fn usages(&self) -> Result<Vec<MapUsage>, Error> {
        Ok(Vec::new())
    }

    fn stats(&self) -> Result<Vec<(u32, StatsValue)>, Error> {
        Ok(Vec::new())
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
    let metrics = NodeMetrics::default();
    metrics.ask(Source {
        loaded: Arc::new(Nothing),
        watches: Default::default(),
        collected: Arc::new(Totals::default()),
    });
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
    for name in names {
        let family = ["_total", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        assert!(types.contains(family), "{name} is never told");
    }
}
