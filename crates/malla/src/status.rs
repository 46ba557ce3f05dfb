//! `malla status`: how every agent does, and with `--all` how the whole network does.

mod all;
mod failures;
mod listed;
mod screen;
mod table;

use crate::agents::{Agent, Output, Selection};
use agent::status::{State, Status};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code when an agent is degraded or does not answer.
const DEGRADED: u8 = 3;

/// Exit code of `--all` when something is not well.
const NOT_WELL: u8 = 1;
/// Exit code of `--all` when there is nobody to ask: whoever asked named the wrong one.
const WRONG_USAGE: u8 = 2;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla status                        All agents of the lab
  malla status --all                  Nodes, agents, sync, and probes between all nodes, in one screen
  until malla status --all; do sleep 1; done
  malla status --all -o json | jq '.paths[] | select(.failures > 0)'
  malla status --all --kubeconfig ~/.kube/config --socket /run/malla/agent.sock
                                      Of a cluster that is no lab: this machine's agent, and all Nodes of the API
  malla status --node worker-1 -v     One node with its maps, watches, Pods and drops
  malla status -o json | jq '.nodes[].status.memory.agent_resident'
  malla status --socket /run/malla/malla/nodes/worker-1/agent.sock

Exit status: 0 all is well, 1 error, 2 wrong usage, 3 an agent is degraded or does not answer.
With --all: 0 all is well, 1 something is not (the last line says what), 2 wrong usage, or nobody to ask.";

/// Arguments of `malla status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    selection: Selection,
    /// How the whole network does: nodes, agents, sync, probes between all nodes (ICMP and TCP, with their latency)
    #[arg(long)]
    all: bool,
    /// With --all: ask this cluster's API for the nodes, too; those whose agents are not asked are told by their conditions
    #[arg(long, value_name = "PATH", requires = "all")]
    kubeconfig: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Tell everything (tables only)
    #[arg(short, long)]
    verbose: bool,
}

/// What is printed as JSON and YAML.
#[derive(Debug, Serialize)]
struct Report {
    state: State,
    nodes: Vec<Node>,
}

/// One agent's answer.
#[derive(Debug, Serialize)]
struct Node {
    node: String,
    socket: std::path::PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

/// Asks all agents at once and prints their answers.
///
/// # Errors
/// When there is nobody to ask.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    if args.all {
        return run_all(args);
    }
    let agents = args.selection.agents()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(ask(agents));
    match args.output {
        Output::Table => print!("{}", table::render(&report, args.verbose)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Yaml => print!("{}", serde_saphyr::to_string(&report)?),
    }
    Ok(if report.state == State::Degraded { ExitCode::from(DEGRADED) } else { ExitCode::SUCCESS })
}

fn run_all(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (asked, listed) = match runtime.block_on(whole(args)) {
        Ok(told) => told,
        Err(error) => {
            eprintln!("malla: {error:#}");
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    };
    let overview = all::overview(&asked, listed, Timestamp::now());
    args.output.print(&overview, || screen::render(&overview, args.verbose))?;
    Ok(if overview.well { ExitCode::SUCCESS } else { ExitCode::from(NOT_WELL) })
}

/// What the agents say that can be asked, and the API where it is named. An API that does not answer is what was to be found out.
async fn whole(args: &StatusArgs) -> anyhow::Result<(Vec<Node>, all::List)> {
    let Some(kubeconfig) = &args.kubeconfig else {
        return Ok((ask(args.selection.agents()?).await.nodes, all::List::NotAsked));
    };
    // Which lab would be meant is not asked: a cluster is named.
    let agents = if args.selection.socket.is_empty() { Vec::new() } else { args.selection.agents()? };
    let client = listed::connect(kubeconfig).await?;
    let (asked, listed) = tokio::join!(ask(agents), listed::nodes(client));
    let wanted = &args.selection.node;
    let list = match listed {
        Ok(mut nodes) => {
            if let Some(missing) = wanted.iter().find(|wanted| !nodes.iter().any(|node| node.node == **wanted)) {
                anyhow::bail!("the cluster has no node {missing:?}");
            }
            nodes.retain(|node| wanted.is_empty() || wanted.contains(&node.node));
            all::List::Nodes(nodes)
        }
        Err(error) => all::List::Silent(format!("{error:#}")),
    };
    Ok((asked.nodes, list))
}

async fn ask(agents: Vec<Agent>) -> Report {
    let mut asked = tokio::task::JoinSet::new();
    for agent in agents {
        asked.spawn(async move {
            let answer = agent.get("/v1/status").await.and_then(|body| Ok(serde_json::from_slice::<Status>(&body)?));
            let (status, error) = match answer {
                Ok(status) => (Some(status), None),
                Err(error) => (None, Some(format!("{error:#}"))),
            };
            let node = status.as_ref().map_or(agent.name, |s| s.node.to_string());
            Node { node, socket: agent.socket, error, status }
        });
    }
    let mut nodes = asked.join_all().await;
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    let states = || nodes.iter().map(|n| n.status.as_ref().map_or(State::Degraded, |s| s.state));
    let state = if states().any(|s| s == State::Degraded) {
        State::Degraded
    } else if states().any(|s| s == State::Starting) {
        State::Starting
    } else {
        State::Ok
    };
    Report { state, nodes }
}
