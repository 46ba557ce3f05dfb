//! `malla lab status`: what is there, and how it does.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{Table, presets::NOTHING};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, api::ListParams};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    apply,
    cli::{Output, StatusArgs},
    files::Folders,
    launch::{CLUSTER_DNS, OUTSIDE_DNS, agent_name},
    preflight::require_root,
    process::ProcessId,
    ready::is_ready,
    state::LabState,
    supervise::{
        self, SUPERVISOR,
        report::{ForwardReport, Report, TaskReport},
    },
    unix_http,
};

/// Everything that is told, in the form of `-o json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    lab: String,
    routing: String,
    supervisor: ProcessStatus,
    api: ApiStatus,
    nodes: Vec<NodeStatus>,
    dns: DnsStatus,
    forwards: Vec<ForwardReport>,
    tasks: Vec<TaskReport>,
    /// What is broken, in sentences.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessStatus {
    running: bool,
    pid: Option<i32>,
    restarts: u32,
    last_end: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiStatus {
    url: String,
    kubeconfig: String,
    answers: bool,
    process: ProcessStatus,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DnsStatus {
    cluster: ProcessStatus,
    outside: ProcessStatus,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    name: String,
    namespace: String,
    addresses: Vec<String>,
    pod_ranges: Vec<String>,
    /// `None`: the API did not say.
    ready: Option<bool>,
    pods: Option<usize>,
    agent: ProcessStatus,
    /// What the agent says of itself, if it answers.
    agent_status: Option<serde_json::Value>,
}

/// Gathers and prints.
pub fn run(args: &StatusArgs) -> anyhow::Result<()> {
    require_root()?;
    let folders = Folders::of(&args.which.name);
    let state = LabState::require(args.which.name.as_str(), &folders)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(gather(&state, &folders));
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&serde_json::to_value(&status)?)?),
        Output::Table => print_table(&status),
    }
    Ok(())
}

async fn gather(state: &LabState, folders: &Folders) -> Status {
    let spec = &state.spec;
    let report = Report::read(&folders.supervisor_report()).ok();
    let process = |name: &str| process_status(name, folders, report.as_ref());
    let objects = timeout(API_LIMIT, objects(folders)).await.ok().flatten();
    let mut nodes = Vec::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        let (v4, v6) = spec.subnets.node(index);
        nodes.push(NodeStatus {
            name: node.name.clone(),
            namespace: spec.name.namespace(&node.name),
            addresses: vec![v4.to_string(), v6.to_string()],
            pod_ranges: spec.subnets.pod_ranges(index).both().map(|range| range.to_string()).to_vec(),
            ready: objects.as_ref().map(|objects| objects.ready.get(&node.name).copied().unwrap_or(false)),
            pods: objects.as_ref().map(|objects| objects.pods.get(&node.name).copied().unwrap_or(0)),
            agent: process(&agent_name(&node.name)),
            agent_status: unix_http::get_json(&folders.node(&node.name).join("agent.sock"), "/v1/status").await.ok(),
        });
    }
    let mut status = Status {
        lab: spec.name.to_string(),
        routing: spec.routing.as_str().to_owned(),
        supervisor: process(SUPERVISOR),
        api: ApiStatus {
            url: format!("https://127.0.0.1:{}", state.api_port),
            kubeconfig: folders.kubeconfig().display().to_string(),
            answers: objects.is_some(),
            process: process("apiserver"),
        },
        nodes,
        dns: DnsStatus { cluster: process(CLUSTER_DNS), outside: process(OUTSIDE_DNS) },
        forwards: report.as_ref().map(|report| report.forwards.clone()).unwrap_or_default(),
        tasks: report.map(|report| report.tasks).unwrap_or_default(),
        problems: Vec::new(),
    };
    status.problems = problems(&status);
    status
}

fn process_status(name: &str, folders: &Folders, report: Option<&Report>) -> ProcessStatus {
    let id = ProcessId::recorded(&folders.process(name));
    let running = id.as_ref().is_some_and(ProcessId::is_running);
    let told = report.and_then(|report| report.children.iter().find(|child| child.name == name));
    ProcessStatus {
        running,
        pid: id.filter(|_| running).map(|id| id.pid),
        restarts: told.map_or(0, |child| child.restarts),
        last_end: told.and_then(|child| child.last_end.clone()),
    }
}

/// What the API tells, by node.
struct Objects {
    ready: BTreeMap<String, bool>,
    pods: BTreeMap<String, usize>,
}

async fn objects(folders: &Folders) -> Option<Objects> {
    let client = supervise::connect(folders).await.ok()?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.ok()?;
    let pods = Api::<Pod>::all(client).list(&ListParams::default()).await.ok()?;
    let ready = nodes.items.iter().filter_map(|node| Some((node.metadata.name.clone()?, is_ready(node)))).collect();
    let mut by_node = BTreeMap::new();
    for pod in pods.items {
        if let Some(node) = pod.spec.and_then(|spec| spec.node_name) {
            *by_node.entry(node).or_insert(0) += 1;
        }
    }
    Some(Objects { ready, pods: by_node })
}

fn problems(status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    let lab = &status.lab;
    if !status.supervisor.running {
        problems.push(format!("the supervisor has ended: `malla lab up --name {lab}` starts it again"));
    }
    if !status.api.answers {
        problems.push(format!("the API does not answer at {}", status.api.url));
    }
    for node in &status.nodes {
        if !apply::namespace_path(&node.namespace).exists() {
            problems
                .push(format!("namespace {} is gone: `malla lab down --name {lab}` and `up` again", node.namespace));
        }
        if !node.agent.running {
            let how = node.agent.last_end.as_deref().unwrap_or("not started");
            problems.push(format!("the agent of {} does not run ({how})", node.name));
        }
    }
    for (what, process) in [("the cluster's DNS", &status.dns.cluster), ("the outside host's DNS", &status.dns.outside)]
    {
        if !process.running {
            let how = process.last_end.as_deref().unwrap_or("not started");
            problems.push(format!("{what} does not run ({how})"));
        }
    }
    for task in status.tasks.iter().filter(|task| task.restarts > 0) {
        let why = task.last_error.as_deref().unwrap_or("unknown");
        problems.push(format!("{} was restarted {} times, last: {why}", task.name, task.restarts));
    }
    problems
}

fn print_table(status: &Status) {
    let process = |process: &ProcessStatus| match process {
        ProcessStatus { running: true, pid, restarts: 0, .. } => format!("running (pid {})", pid.unwrap_or_default()),
        ProcessStatus { running: true, pid, restarts, .. } => {
            format!("running (pid {}, {restarts} restarts)", pid.unwrap_or_default())
        }
        ProcessStatus { last_end: Some(how), .. } => format!("ended ({how})"),
        _ => "not running".to_owned(),
    };
    println!("Lab         {} ({})", status.lab, status.routing);
    println!("Supervisor  {}", process(&status.supervisor));
    let answers = if status.api.answers { "answers" } else { "does not answer" };
    println!("API         {}, {answers} at {}", process(&status.api.process), status.api.url);
    println!("DNS         {}", process(&status.dns.cluster));
    println!("Kubeconfig  {}\n", status.api.kubeconfig);
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["NODE", "STATUS", "PODS", "AGENT", "ADDRESSES", "POD RANGES"]);
    for node in &status.nodes {
        let ready = match node.ready {
            Some(true) => "Ready",
            Some(false) => "NotReady",
            None => "unknown",
        };
        let agent = match (&node.agent_status, node.agent.running) {
            (None, true) => format!("{}, silent", process(&node.agent)),
            _ => process(&node.agent),
        };
        table.add_row([
            node.name.clone(),
            ready.to_owned(),
            node.pods.map_or("?".to_owned(), |pods| pods.to_string()),
            agent,
            node.addresses.join("\n"),
            node.pod_ranges.join("\n"),
        ]);
    }
    println!("{table}\n");
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["PORT", "LEADS TO", "FOR"]);
    for forward in &status.forwards {
        table.add_row([
            format!("{} {}", forward.protocol, forward.listen),
            forward.target.clone(),
            forward.what.clone(),
        ]);
    }
    println!("{table}");
    for problem in &status.problems {
        println!("! {problem}");
    }
}

/// A status is wanted now.
const API_LIMIT: Duration = Duration::from_secs(3);
