use super::age::{age, duration};
use super::columns::{created, name, or_none};
use super::{Column, Printer};
use crate::object;
use serde_json::Value;

pub const PODS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Ready", "string", 0),
        Column("Status", "string", 0),
        Column("Restarts", "string", 0),
        Column("Age", "string", 0),
        Column("IP", "string", 1),
        Column("Node", "string", 1),
        Column("Nominated Node", "string", 1),
        Column("Readiness Gates", "string", 1),
    ],
    cells,
};

fn cells(pod: &Value) -> Vec<Value> {
    let statuses = object::list(pod, "/status/containerStatuses");
    let ready =
        statuses.iter().filter(|status| status["ready"] == true && status["state"]["running"].is_object()).count();
    let total = object::list(pod, "/spec/containers").len();
    let address = object::list(pod, "/status/podIPs").first().map_or("", |first| object::text(first, "/ip"));
    let address = if address.is_empty() { object::text(pod, "/status/podIP") } else { address };
    let gates = object::list(pod, "/spec/readinessGates");
    let open = gates.iter().filter(|gate| condition(pod, object::text(gate, "/conditionType")) == "True").count();
    vec![
        name(pod),
        format!("{ready}/{total}").into(),
        reason(pod).into(),
        restarts(pod).into(),
        created(pod),
        if address.is_empty() { "<none>" } else { address }.into(),
        or_none(pod, "/spec/nodeName"),
        or_none(pod, "/status/nominatedNodeName"),
        if gates.is_empty() { "<none>".into() } else { format!("{open}/{}", gates.len()).into() },
    ]
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    object::list(pod, "/status/conditions")
        .iter()
        .find(|one| one["type"] == kind)
        .map_or("", |one| object::text(one, "/status"))
}

/// `3 (2m ago)`: how often, and when last.
fn restarts(pod: &Value) -> String {
    let statuses = object::list(pod, "/status/containerStatuses");
    let count: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
    let last =
        statuses.iter().map(|status| object::text(status, "/lastState/terminated/finishedAt")).max().unwrap_or("");
    if count == 0 || last.is_empty() { count.to_string() } else { format!("{count} ({} ago)", age(&last.into())) }
}

/// The STATUS column: k8s.io/kubernetes `pkg/printers/internalversion`, `printPod`.
fn reason(pod: &Value) -> String {
    let mut reason = object::text(pod, "/status/phase").to_owned();
    let own = object::text(pod, "/status/reason");
    if !own.is_empty() {
        reason = own.to_owned();
    }
    let gated = object::list(pod, "/status/conditions")
        .iter()
        .any(|one| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated");
    if gated {
        reason = "SchedulingGated".into();
    }
    let inits = object::list(pod, "/spec/initContainers").len();
    let mut initializing = false;
    for (index, status) in object::list(pod, "/status/initContainerStatuses").iter().enumerate() {
        if status["state"]["terminated"]["exitCode"] == 0 || status["started"] == true {
            continue;
        }
        initializing = true;
        let waiting = object::text(status, "/state/waiting/reason");
        reason = if status["state"]["terminated"].is_object() {
            format!("Init:{}", ended(&status["state"]["terminated"]))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{inits}")
        };
        break;
    }
    if !initializing {
        let mut running = false;
        for status in object::list(pod, "/status/containerStatuses").iter().rev() {
            let waiting = object::text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                reason = waiting.to_owned();
            } else if status["state"]["terminated"].is_object() {
                reason = ended(&status["state"]["terminated"]);
            } else if status["ready"] == true && status["state"]["running"].is_object() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            reason = if condition(pod, "Ready") == "True" { "Running" } else { "NotReady" }.into();
        }
    }
    if object::is_deleting(pod) {
        reason = if own == "NodeLost" { "Unknown" } else { "Terminating" }.into();
    }
    reason
}

fn ended(terminated: &Value) -> String {
    let reason = object::text(terminated, "/reason");
    let signal = terminated["signal"].as_i64().unwrap_or(0);
    match () {
        () if !reason.is_empty() => reason.to_owned(),
        () if signal != 0 => format!("Signal:{signal}"),
        () => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
    }
}

/// How long something took, for columns that show durations.
pub fn between(start: &Value, end: &Value) -> String {
    let parse = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    match (parse(start), parse(end)) {
        (Some(start), Some(end)) => duration((end.as_second() - start.as_second()).max(0)),
        (Some(_), None) => age(start),
        _ => String::new(),
    }
}
