//! The dashboard and the alerts in `deploy/`, and the metrics themselves, before Debian's promtool.
//!
//! Needs what `make setup` puts under `target/debian` (prometheus).

use flow_api::flow::{Endpoint, Flow, LostEvent};
use flow_metrics::{MetricConfig, Metrics, Settings};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn promtool() -> Command {
    // target/debug/deps/this-test
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(3).unwrap().join("debian/usr/bin/promtool");
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    Command::new(path)
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn has_agreed(output: &Output) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The questions that the dashboard's panels ask, as Grafana would send them.
fn questions() -> Vec<String> {
    let text = std::fs::read_to_string(deploy().join("grafana/flows.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let questions = targets.map(|target| target["expr"].as_str().unwrap());
    questions.map(|text| text.replace("$__rate_interval", "5m").replace("$instance", ".*")).collect()
}

#[test]
fn alerts_say_what_they_are_for_and_nothing_else() {
    let folder = deploy().join("prometheus");
    has_agreed(&promtool().args(["check", "rules"]).arg(folder.join("flows.rules.yaml")).output().unwrap());
    has_agreed(&promtool().args(["test", "rules"]).arg(folder.join("flows.test.yaml")).output().unwrap());
}

#[test]
fn prometheus_understands_what_the_dashboard_asks() {
    let questions = questions();
    assert!(questions.len() > 8);
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, question) in questions.iter().enumerate() {
        rules +=
            &format!("      - record: panel:{number}\n        expr: {}\n", serde_json::to_string(question).unwrap());
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rules.as_bytes()).unwrap();
    has_agreed(&promtool().args(["check", "rules"]).arg(file.path()).output().unwrap());
}

#[test]
fn nothing_is_asked_for_that_is_never_told() {
    let told = exposition();
    let alerts = std::fs::read_to_string(deploy().join("prometheus/flows.rules.yaml")).unwrap();
    let asked = questions().join("\n") + &alerts;
    let names = asked.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names: Vec<&str> = names.filter(|name| name.starts_with("hubble_") || name.starts_with("malla_")).collect();
    assert!(names.len() > 10);
    for name in names {
        let is_told = told.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        assert!(is_told, "{name} is never told");
    }
}

#[test]
fn promtool_reads_the_metrics() {
    let mut child = promtool()
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(exposition().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // 3: it reads them, and finds names that it would have chosen otherwise; Hubble's are as they are.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)) && !said.contains("error while linting"), "{said}");
}

/// Each metric with something in it.
fn exposition() -> String {
    let configs = [
        "flow:sourceContext=pod",
        "drop",
        "tcp",
        "icmp",
        "port-distribution",
        "policy:sourceContext=pod",
        "flows-to-world:port",
        "ended",
    ];
    let metrics: Vec<MetricConfig> = configs.iter().map(|text| text.parse().unwrap()).collect();
    let metrics = Metrics::new(&Settings { metrics, budget: 100 });
    use flow_api::flow::layer4::Protocol;
    use flow_api::flow::{CiliumEventType, IcmPv4, Layer4, Tcp, TcpFlags};
    let event = |number| Some(CiliumEventType { r#type: number, sub_type: 0 });
    let layer4 = |protocol| Some(Layer4 { protocol: Some(protocol) });
    let tcp = Tcp { flags: Some(TcpFlags { syn: true, ..TcpFlags::default() }), ..Tcp::default() };
    let ended = flow_api::malla::Ended { way: 1, ..Default::default() };
    let odd = Endpoint { pod_name: "a\"b\\c\nd".to_owned(), ..Endpoint::default() };
    for flow in [
        Flow { verdict: 2, event_type: event(1), source: Some(odd), ..Flow::default() },
        Flow { extensions: Some(flow_api::extension::pack(&ended)), ..Flow::default() },
        Flow {
            verdict: 1,
            event_type: event(4),
            is_reply: Some(false),
            l4: layer4(Protocol::Tcp(tcp)),
            ..Flow::default()
        },
        Flow {
            verdict: 1,
            event_type: event(4),
            l4: layer4(Protocol::Tcp(Tcp::default())),
            destination: Some(Endpoint { labels: vec!["reserved:world".to_owned()], ..Endpoint::default() }),
            ..Flow::default()
        },
        Flow { verdict: 1, event_type: event(5), l4: layer4(Protocol::IcmPv4(IcmPv4::default())), ..Flow::default() },
    ] {
        metrics.observe(&flow);
    }
    metrics.lost(&LostEvent { num_events_lost: 1, ..LostEvent::default() });
    metrics.expose().unwrap()
}
