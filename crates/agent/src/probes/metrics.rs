//! What probes have found, for Prometheus. However large the cluster, there are few series: paths are counted, and only those
//! that fail have series of their own.

use super::ledger::{Ledger, Outcome};
use super::plan::Target;
use super::view::{Protocol, Standing};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::net::IpAddr;

type Labels<const N: usize> = [(&'static str, String); N];

/// What adds up.
#[derive(Clone, Debug)]
pub struct Metrics {
    latency: Family<Labels<2>, Histogram, fn() -> Histogram>,
    failures: Family<Labels<3>, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self { latency: Family::new_with_constructor(histogram), failures: Family::default() }
    }
}

impl Metrics {
    /// Counts a probe.
    pub fn count(&self, target: &Target, outcome: &Outcome) {
        let [protocol, family] = labels(target.protocol, target.address);
        match outcome {
            Outcome::Answered(after) => {
                self.latency.get_or_create(&[protocol, family]).observe(after.as_secs_f64());
            }
            Outcome::Failed(why) => {
                let reason = ("reason", why.word().to_owned());
                self.failures.get_or_create(&[protocol, family, reason]).inc();
            }
        }
    }

    /// Puts them beside others.
    pub fn register(&self, registry: &mut Registry, ledger: &Ledger) {
        let paths = Family::<Labels<3>, Gauge>::default();
        let unreachable = Family::<Labels<3>, Gauge>::default();
        let mut named = 0;
        for (target, standing) in ledger.standings() {
            let [protocol, family] = labels(target.protocol, target.address);
            paths.get_or_create(&[protocol.clone(), family.clone(), ("state", standing.word().to_owned())]).inc();
            if standing == Standing::Unreachable && named < NAMED {
                named += 1;
                unreachable.get_or_create(&[("peer", target.node.to_string()), protocol, family]).set(1);
            }
        }
        let help = "Paths to other nodes by what they are taken for";
        registry.register("malla_node_connectivity_paths", help, paths);
        let help = "1 for each path that is unreachable, for a hundred at most; the others have no series";
        registry.register("malla_node_connectivity_unreachable", help, unreachable);
        let help = "Time to the answer of other nodes; TCP: handshake, request and answer";
        registry.register("malla_node_connectivity_latency_seconds", help, self.latency.clone());
        let help = "Probes that other nodes have not answered, and why";
        registry.register("malla_node_connectivity_failures", help, self.failures.clone());
    }
}

fn labels(protocol: Protocol, address: IpAddr) -> Labels<2> {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    [("protocol", protocol.word().to_owned()), ("family", family.to_owned())]
}

/// Paths that have series of their own while they are unreachable.
const NAMED: usize = 100;
/// Seconds: from one rack to around the world, up to the time limit.
const BUCKETS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::ledger::Why;
    use jiff::Timestamp;
    use prometheus_client::encoding::text::encode;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn target(number: usize, protocol: Protocol) -> Target {
        Target { node: format!("n{number:03}").as_str().into(), address: "fc00::1".parse().unwrap(), protocol }
    }

    fn text(metrics: &Metrics, ledger: &Ledger) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry, ledger);
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn paths_are_counted_and_those_that_fail_are_named_a_hundred_at_most() {
        let all: BTreeSet<Target> = (0..300).map(|number| target(number, Protocol::Tcp)).collect();
        let (mut ledger, metrics) = (Ledger::default(), Metrics::default());
        ledger.set(&all);
        for (number, target) in all.iter().enumerate() {
            let times = if number < 150 { 3 } else { 1 };
            for _ in 0..times {
                let failed = || Outcome::Failed(Why::Stranger(format!("n{number}")));
                let outcome = if number < 150 { failed() } else { Outcome::Answered(Duration::from_millis(2)) };
                metrics.count(target, &outcome);
                ledger.record(target, outcome, Timestamp::UNIX_EPOCH);
            }
        }
        let text = text(&metrics, &ledger);
        let has = |line: &str| assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        let tcp = r#"protocol="tcp",family="ipv6""#;
        has(&format!(r#"malla_node_connectivity_paths{{{tcp},state="unreachable"}} 150"#));
        has(&format!(r#"malla_node_connectivity_paths{{{tcp},state="reachable"}} 150"#));
        has(&format!(r#"malla_node_connectivity_unreachable{{peer="n007",{tcp}}} 1"#));
        has(&format!(r#"malla_node_connectivity_failures_total{{{tcp},reason="stranger"}} 450"#));
        has(&format!(r#"malla_node_connectivity_latency_seconds_bucket{{le="0.0025",{tcp}}} 150"#));
        let named = text.lines().filter(|line| line.starts_with("malla_node_connectivity_unreachable{")).count();
        assert_eq!(named, 100);
        assert!(!text.contains("n200"), "who answers has no series: {text}");
    }
}
