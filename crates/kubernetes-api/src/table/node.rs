use super::columns::{created, name};
use super::{Column, Printer, age};
use crate::object;
use serde_json::Value;

pub const NODES: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Status", "string", 0),
        Column("Roles", "string", 0),
        Column("Age", "string", 0),
        Column("Version", "string", 0),
        Column("Internal-IP", "string", 1),
        Column("External-IP", "string", 1),
        Column("OS-Image", "string", 1),
        Column("Kernel-Version", "string", 1),
        Column("Container-Runtime", "string", 1),
    ],
    cells: |node| {
        let address = |kind: &str| {
            let found = object::list(node, "/status/addresses").iter().find(|one| one["type"] == kind);
            found.map_or("<none>", |one| object::text(one, "/address")).to_owned()
        };
        let info = |field: &str| match object::text(node, &format!("/status/nodeInfo/{field}")) {
            "" => "<unknown>".to_owned(),
            text => text.to_owned(),
        };
        vec![
            name(node),
            status(node).into(),
            roles(node).into(),
            created(node),
            object::text(node, "/status/nodeInfo/kubeletVersion").into(),
            address("InternalIP").into(),
            address("ExternalIP").into(),
            info("osImage").into(),
            info("kernelVersion").into(),
            info("containerRuntimeVersion").into(),
        ]
    },
};

fn status(node: &Value) -> String {
    let ready = object::list(node, "/status/conditions").iter().find(|one| one["type"] == "Ready");
    let mut words = vec![match ready.map(|one| object::text(one, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node["spec"]["unschedulable"] == true {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match (key.strip_prefix("node-role.kubernetes.io/"), key.as_str(), value.as_str()) {
            (Some(role), _, _) if !role.is_empty() => Some(role),
            (None, "kubernetes.io/role", Some(role)) if !role.is_empty() => Some(role),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

pub const NAMESPACES: Printer = Printer {
    columns: &[Column("Name", "string", 0), Column("Status", "string", 0), Column("Age", "string", 0)],
    cells: |object| vec![name(object), object["status"]["phase"].clone(), created(object)],
};

pub const EVENTS: Printer = Printer {
    columns: &[
        Column("Last Seen", "string", 0),
        Column("Type", "string", 0),
        Column("Reason", "string", 0),
        Column("Object", "string", 0),
        Column("Subobject", "string", 1),
        Column("Source", "string", 1),
        Column("Message", "string", 0),
        Column("First Seen", "string", 1),
        Column("Count", "string", 1),
        Column("Name", "string", 1),
    ],
    cells: |event| {
        // Either group's names.
        let pick =
            |core: &str, events: &str| event.get(core).or_else(|| event.get(events)).cloned().unwrap_or(Value::Null);
        let about = pick("involvedObject", "regarding");
        let first = pick("firstTimestamp", "deprecatedFirstTimestamp");
        let last = pick("lastTimestamp", "deprecatedLastTimestamp");
        let series = &event["series"];
        let fallback = |time: Value| if time.is_null() { event["eventTime"].clone() } else { time };
        let seen =
            if series["lastObservedTime"].is_string() { series["lastObservedTime"].clone() } else { fallback(last) };
        let count = series["count"].as_i64().or_else(|| pick("count", "deprecatedCount").as_i64()).unwrap_or(1);
        let source = pick("source", "deprecatedSource");
        let component = match object::text(&source, "/component") {
            "" => pick("reportingComponent", "reportingController").as_str().unwrap_or("").to_owned(),
            component => component.to_owned(),
        };
        let host = object::text(&source, "/host");
        let subject = format!("{}/{}", object::text(&about, "/kind").to_lowercase(), object::text(&about, "/name"));
        vec![
            age(&seen).into(),
            event["type"].clone(),
            event["reason"].clone(),
            subject.into(),
            object::text(&about, "/fieldPath").into(),
            if host.is_empty() { component } else { format!("{component}, {host}") }.into(),
            pick("message", "note").as_str().unwrap_or("").trim().into(),
            age(&fallback(first)).into(),
            count.to_string().into(),
            name(event),
        ]
    },
};
