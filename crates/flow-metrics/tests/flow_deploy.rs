//! The dashboard and the alerts in `deploy/` that are about flows, and the metrics themselves, before Debian's promtool.

mod promtool;

use flow_api::flow::{Endpoint, Flow, LostEvent};
use flow_metrics::{MetricConfig, Metrics, Settings};
use promtool::{are_questions, names_asked, promtool, questions, rules_agree};
use std::io::Write;
use std::process::Stdio;

#[test]
fn alerts_say_what_they_are_for_and_nothing_else() {
    rules_agree("flows");
}

#[test]
fn prometheus_understands_what_the_dashboard_asks() {
    let questions = questions("flows.json");
    assert!(questions.len() > 8);
    are_questions(&questions);
}

#[test]
fn nothing_is_asked_for_that_is_never_told() {
    let (told, names) = (exposition(), names_asked("flows"));
    assert!(names.len() > 10);
    for name in names {
        let is_told =
            told.lines().any(|line| line.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(['{', ' '])));
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
        Flow { verdict: 1, event_type: event(4), l4: layer4(Protocol::IcmPv4(IcmPv4::default())), ..Flow::default() },
        Flow { verdict: 1, event_type: event(5), ..Flow::default() },
    ] {
        metrics.observe(&flow);
    }
    metrics.lost(&LostEvent { num_events_lost: 1, ..LostEvent::default() });
    metrics.expose().unwrap()
}
