//! `malla service …`: what Services have and serve, which backend a client gets, and why.

mod explain;
mod maglev;
mod map;
mod maps;
pub mod tables;

use crate::agents::{Agent, LABS, Output, Selection};
use agent::services::View;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use explain::Client;
use model::Protocol;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla service list                                   All Services, as one node has them
  malla service get default/spink --node worker-1      One Service with each endpoint's state, and why
  malla service backends -o json                       Every endpoint of every Service
  malla service maglev spink                           How a Maglev table shares the flows, and whether nodes agree
  malla service explain 203.0.113.2:40000 172.18.0.3:30080 --node worker-1
                                                       Which backend that flow gets there, by the real maps
  malla service map --since 5m                         Who talks to whom, from the flows that the nodes have seen
  malla service map -n shop -o svg > shop.svg          The same of a namespace, as a picture";

/// Arguments of `malla service`.
#[derive(Args, Debug)]
pub struct ServiceArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All Services, as one node has them
    List(Common),
    /// One Service: policies, ports, and every endpoint's state and why
    Get(Named),
    /// Every endpoint of every Service, with its state and why
    Backends(Common),
    /// The Maglev tables of a Service on every node
    Maglev(Named),
    /// Which backend a client gets on a node, and why: read from the real maps
    Explain(Explain),
    /// Who talks to whom, from the flows that the nodes have seen
    Map(map::MapArgs),
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct Named {
    /// Name, or namespace/name
    #[arg(value_name = "[NAMESPACE/]NAME")]
    name: String,
    /// Namespace of a name without one
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Explain {
    /// Address of the client, with or without its port
    #[arg(value_name = "CLIENT[:PORT]")]
    client: Client,
    /// What it asks for: a Service's or node's address and port
    #[arg(value_name = "ADDRESS:PORT")]
    target: SocketAddr,
    /// Transport protocol
    #[arg(short, long, default_value = "tcp", value_parser = protocol)]
    protocol: Protocol,
    #[command(flatten)]
    common: Common,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::from_api(Some(&text.to_uppercase())).ok_or_else(|| format!("{text:?} is not tcp, udp or sctp"))
}

/// Asks and prints.
///
/// # Errors
/// When an agent does not answer, or there is no such Service.
pub fn run(args: &ServiceArgs) -> anyhow::Result<()> {
    match &args.what {
        What::List(common) => {
            let nodes = ask(&common.selection, None, Nodes::First)?;
            print(common.output, &nodes[0].services, || tables::list(&nodes[0].services))
        }
        What::Get(named) => {
            let nodes = named.ask()?;
            print(named.common.output, &nodes, || tables::get(&nodes))
        }
        What::Backends(common) => {
            let nodes = ask(&common.selection, None, Nodes::All)?;
            print(common.output, &nodes, || tables::backends(&nodes))
        }
        What::Maglev(named) => {
            let folders = folders(&named.common.selection)?;
            let report = maglev::report(&named.ask()?, |node| maps::open(&folders, node))?;
            print(named.common.output, &report, || maglev::table(&report))
        }
        What::Map(args) => map::run(args),
        What::Explain(explain) => {
            let mut all = Vec::new();
            for (node, folder) in folders(&explain.common.selection)? {
                let maps = maps::Pinned::open(&folder)?;
                let flow = explain::Flow { client: explain.client, target: explain.target, protocol: explain.protocol };
                all.push(explain::Answer { node, verdict: explain::explain(&flow, &maps)? });
            }
            print(explain.common.output, &all, || explain::text(&all))
        }
    }
}

impl Named {
    fn ask(&self) -> anyhow::Result<Vec<NodeServices>> {
        let name = match self.name.split_once('/') {
            Some((namespace, name)) => format!("{namespace}/{name}"),
            None => format!("{}/{}", self.namespace, self.name),
        };
        let nodes = ask(&self.common.selection, Some(&name), Nodes::All)?;
        if nodes.iter().all(|node| node.services.is_empty()) {
            bail!("no node has a Service {name} with an address");
        }
        Ok(nodes)
    }
}

/// What one node has.
#[derive(Debug, Serialize)]
pub struct NodeServices {
    node: String,
    services: Vec<View>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    First,
    All,
}

fn ask(selection: &Selection, name: Option<&str>, nodes: Nodes) -> anyhow::Result<Vec<NodeServices>> {
    let agents = selection.agents()?;
    let path = name.map_or_else(|| "/v1/services".to_owned(), |name| format!("/v1/services/{name}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut out = Vec::new();
        let mut failed = None;
        for agent in &agents {
            match one(agent, &path).await {
                Ok(services) => out.push(NodeServices { node: agent.name.clone(), services }),
                // One agent that answers is enough where all have the same.
                Err(error) if nodes == Nodes::First => failed = Some(error),
                Err(error) => return Err(error),
            }
            if nodes == Nodes::First && !out.is_empty() {
                break;
            }
        }
        match failed {
            Some(error) if out.is_empty() => Err(error),
            _ => Ok(out),
        }
    })
}

async fn one(agent: &Agent, path: &str) -> anyhow::Result<Vec<View>> {
    let body = agent.get(path).await.with_context(|| format!("ask the agent of {}", agent.name))?;
    serde_json::from_slice(&body).with_context(|| format!("understand the agent of {}", agent.name))
}

/// Where each node's maps are pinned.
fn folders(selection: &Selection) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if !selection.socket.is_empty() {
        bail!("the maps of an agent that is named by its socket are not known: name a lab and its nodes");
    }
    let root = Path::new(LABS).join(&selection.lab).join("bpf");
    Ok(selection.agents()?.into_iter().map(|agent| (agent.name.clone(), root.join(agent.name))).collect())
}

fn print(output: Output, what: &impl Serialize, table: impl FnOnce() -> String) -> anyhow::Result<()> {
    output.print(what, table)
}
