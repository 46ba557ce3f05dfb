//! `malla list`: which nodes there are to ask for flows, and of which namespaces they have seen some; as `hubble list`.

use crate::agents::Selection;
use crate::observe::{Elsewhere, ServerArgs, nodes as nodes_of, said, variables};
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use flow_api::Invalid;
use flow_api::json::to_json;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::observer_server::Observer;
use flow_api::observer::{GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest};
use flow_api::print::{Columns, namespaces, nodes};
use flow_relay::Relay;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla list nodes                               The nodes of the lab, and how many flows each still has
  malla list nodes -o wide --server tls://relay:4245 --tls /etc/relay-client
  malla list namespaces -o json                  Namespaces that have had flows in the last hour";

/// Arguments of `malla list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(subcommand)]
    what: What,
}

/// What is listed.
#[derive(Debug, Subcommand)]
enum What {
    /// Nodes: whether they answer, since when they run, how many flows they have
    #[command(alias = "node", after_help = EXAMPLES)]
    Nodes(Asked),
    /// Namespaces of which flows were seen lately
    #[command(alias = "namespace", after_help = EXAMPLES)]
    Namespaces(Asked),
}

/// Who is asked, and how it is printed.
#[derive(Args, Debug)]
struct Asked {
    #[command(flatten)]
    selection: Selection,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    _elsewhere: Elsewhere,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// For people with wide terminals
    Wide,
    /// For scripts
    Json,
}

/// Asks and prints.
///
/// # Errors
/// When nobody answers in time.
pub fn run(args: &ListArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.what {
            What::Nodes(asked) => {
                let mut found = ask(
                    asked,
                    async |mut server| server.get_nodes(GetNodesRequest {}).await,
                    async |relay| relay.get_nodes(Request::new(GetNodesRequest {})).await,
                )
                .await?
                .nodes;
                found.sort_by(|a, b| a.name.cmp(&b.name));
                asked.output.print(&found, nodes, |node| to_json("observer.Node", node))
            }
            What::Namespaces(asked) => {
                let found = ask(
                    asked,
                    async |mut server| server.get_namespaces(GetNamespacesRequest {}).await,
                    async |relay| of_all_nodes(relay).await,
                )
                .await?
                .namespaces;
                asked.output.print(&found, namespaces, |one| to_json("observer.Namespace", one))
            }
        }
    })
}

/// A server, or the nodes of a lab by a relay of our own.
async fn ask<T>(
    asked: &Asked,
    server: impl AsyncFnOnce(ObserverClient<tonic::transport::Channel>) -> Result<Response<T>, Status>,
    relay: impl AsyncFnOnce(Relay) -> Result<Response<T>, Status>,
) -> anyhow::Result<T> {
    let variable = variables(asked.selection.is_named());
    let limit = asked.server.request_timeout(&variable)?;
    let answer = match asked.server.way(&variable)? {
        Some(way) => tokio::time::timeout(limit, server(ObserverClient::new(way.connect().await?))).await,
        None => {
            let (_targets, watched) = watch::channel(nodes_of(&asked.selection)?);
            tokio::time::timeout(limit, relay(Relay::new(watched, None))).await
        }
    };
    let answer = answer.map_err(|_| anyhow!("no answer within {limit:?} (--request-timeout)"))?;
    Ok(answer.map_err(said)?.into_inner())
}

/// The answer has no place for who is missing.
async fn of_all_nodes(relay: Relay) -> Result<Response<GetNamespacesResponse>, Status> {
    let found = relay.namespaces().await;
    let missing: Vec<String> = found.missing.iter().map(|(node, why)| format!("{node}: {why}")).collect();
    if found.answered == 0 && !missing.is_empty() {
        return Err(Status::unavailable(format!("no node answers: {}", missing.join("; "))));
    }
    missing.iter().for_each(|why| eprintln!("WARNING: {why}"));
    Ok(Response::new(GetNamespacesResponse { namespaces: found.all }))
}

impl Output {
    fn print<T>(
        self,
        all: &[T],
        table: impl Fn(&[T], Columns) -> String,
        json: impl Fn(&T) -> Result<String, Invalid>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Table => print!("{}", table(all, Columns::Few)),
            Self::Wide => print!("{}", table(all, Columns::All)),
            Self::Json => {
                let read = |one: &T| serde_json::from_str(&json(one)?).context("read our own JSON");
                let all = all.iter().map(read).collect::<anyhow::Result<Vec<serde_json::Value>>>()?;
                println!("{}", serde_json::to_string_pretty(&all)?);
            }
        }
        Ok(())
    }
}
