//! `malla observe`: flows of all nodes, by name, from Hubble's API; with the flags and the output of `hubble observe`.

mod flags;
mod why;

use crate::agents::Selection;
use crate::relay::sockets;
use crate::server_address::Server;
use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
pub use flags::Filters;
use flow_api::client::Credentials;
use flow_api::extension;
use flow_api::flow::{Flow, FlowFilter, LostEventSource};
use flow_api::observer::GetFlowsRequest;
use flow_api::observer::get_flows_response::ResponseTypes;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::print::{Colour, Form, Options, Printed, Printer, TimeFormat};
use flow_api::relay::NodeState;
use flow_relay::{Relay, Targets};
use futures::StreamExt;
use futures::stream::BoxStream;
use prost_types::Timestamp;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use tokio::sync::watch;
use why::{Explained, Why};

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla observe                                         The last 20 flows
  malla observe --from-label app=monolith --to-label app=user-service --verdict forwarded
  malla observe -f --verdict dropped -n shop            What is dropped in a namespace, as it happens
  malla observe --since 5m --to-service shop/cart -o json | jq .flow.source.pod_name
  malla observe --ip 10.244.1.7 --not --port 53 -o tab
  malla observe -f --verdict dropped --why              And which rules that was, and what the maps say

Exit status: 0 (also after Ctrl-C), 1 error, 2 wrong usage.";

/// Arguments of `malla observe`.
#[derive(Args, Debug)]
pub struct ObserveArgs {
    #[command(flatten)]
    selection: Selection,
    /// Ask a relay, or one node: unix:///PATH, or HOST:PORT (in clear, or over TLS with --tls)
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["node", "socket"])]
    server: Option<Server>,
    /// Who asks: a folder with tls.crt, tls.key and ca.crt
    #[arg(long, value_name = "FOLDER", requires = "server")]
    tls: Option<PathBuf>,
    /// The name that the server's certificate must have
    #[arg(long, value_name = "NAME", default_value = "*.hubble-relay.cilium.io")]
    tls_server_name: String,
    /// The last so many [default: 20, unless another choice is made]
    #[arg(long, value_name = "FLOWS")]
    last: Option<u64>,
    /// The first so many that the nodes still have
    #[arg(long, value_name = "FLOWS", conflicts_with_all = ["last", "follow"])]
    first: Option<u64>,
    /// All that the nodes still have
    #[arg(long, conflicts_with_all = ["last", "first"])]
    all: bool,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Not older than this: a time (RFC 3339) or so long ago (5m, 2h30m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Not newer than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: Style,
    /// Colour
    #[arg(long, value_enum, default_value_t)]
    color: When,
    /// How times are written
    #[arg(long, value_enum, default_value_t)]
    time_format: TimeArg,
    /// Print which node has seen it
    #[arg(long)]
    print_node_name: bool,
    /// Print which policies decided
    #[arg(long)]
    print_policy_names: bool,
    /// Explain what policy dropped: by the rules and the real maps as they are now (see `malla policy explain`)
    #[arg(long, conflicts_with = "server")]
    why: bool,
    /// Print addresses rather than names
    #[arg(long)]
    numeric: bool,
    #[command(flatten)]
    filters: Filters,
}

/// How flows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Style {
    /// One line each
    #[default]
    Compact,
    /// One line per field
    Dict,
    /// A table
    #[value(alias = "table")]
    Tab,
    /// One JSON object per line, with the node and what was lost
    #[value(alias = "json")]
    Jsonpb,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// On a terminal
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TimeArg {
    #[default]
    #[value(name = "StampMilli")]
    StampMilli,
    #[value(name = "RFC3339")]
    Rfc3339,
    #[value(name = "RFC3339Milli")]
    Rfc3339Milli,
    #[value(name = "RFC3339Micro")]
    Rfc3339Micro,
    #[value(name = "RFC3339Nano")]
    Rfc3339Nano,
    #[value(name = "RFC1123Z")]
    Rfc1123Z,
}

/// Prints flows until there are no more, or until interrupted.
///
/// # Errors
/// When no node answers, or one refuses the request.
pub fn run(args: &ObserveArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = print(args) => result,
            result = tokio::signal::ctrl_c() => result.context("wait for Ctrl-C"),
        }
    })
}

async fn print(args: &ObserveArgs) -> anyhow::Result<()> {
    let (targets, credentials) = args.targets()?;
    let several = targets.len() > 1 || args.server.is_some();
    let mut printer = Printer::new(args.options(several));
    let total = targets.len();
    // A lab needs no relay of its own: this is one.
    let (_targets, watched) = watch::channel(targets);
    let request = args.request();
    let mut answers: BoxStream<'_, _> = match &args.server {
        Some(server) => {
            let target = server.target(credentials.as_ref(), &args.tls_server_name)?;
            let connected = target.connect(credentials.as_ref()).await;
            let channel = connected.map_err(|why| anyhow!("{}: {why}", target.address()))?;
            let answer = ObserverClient::new(channel).get_flows(request).await;
            answer.map_err(|status| anyhow!("{}", status.message()))?.into_inner().boxed()
        }
        None => {
            let flows = Relay::new(watched, credentials).flows(request);
            flows.map_err(|status| anyhow!("{}", status.message()))?.boxed()
        }
    };
    let mut why = args.why.then(|| Why::new(args.selection.clone()));
    let mut after_table = String::new();
    let (mut unavailable, mut heard) = (BTreeSet::new(), false);
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|status| anyhow!("{}", status.message()))?;
        if let Some(ResponseTypes::NodeStatus(status)) = &answer.response_types {
            match status.state_change() {
                NodeState::NodeConnected => heard = true,
                NodeState::NodeGone => {}
                _ => unavailable.extend(status.node_names.iter().cloned()),
            }
            // One that was there may come back.
            if args.server.is_none() && !heard && unavailable.len() == total {
                bail!("no node answers: {}", status.message);
            }
        }
        let explained = match (why.take(), &answer.response_types) {
            (Some(mut asking), Some(ResponseTypes::Flow(flow))) => {
                let flow = flow.clone();
                // It asks agents and maps, and may wait for a change to settle.
                let asked = tokio::task::spawn_blocking(move || (asking.explain(&flow), asking));
                let (explained, asking) = asked.await.context("explain a drop")?;
                why = Some(asking);
                explained
            }
            (asking, _) => {
                why = asking;
                None
            }
        };
        let mut printed = printer.print(&answer);
        if let Some(explained) = explained {
            match args.output {
                Style::Jsonpb => add_to_json(&mut printed.out, &explained),
                Style::Tab if explained.is_known => {}
                Style::Tab => after_table.push_str(&explained.text),
                _ if explained.is_known => printed.out.push_str("  why: as above\n"),
                _ => printed.out.push_str(&explained.text),
            }
        }
        if !show(&printed) {
            return Ok(());
        }
    }
    let _ = std::io::stdout().write_all((printer.finish() + &after_table).as_bytes());
    Ok(())
}

/// As a field of its own beside Hubble's.
fn add_to_json(line: &mut String, explained: &Explained) {
    if let Some(end) = line.rfind('}') {
        line.insert_str(end, &format!(",\"why\":{}", explained.json));
    }
}

/// `false`: whoever reads us has gone, which is an end like any other.
fn show(printed: &Printed) -> bool {
    let _ = std::io::stderr().write_all(printed.err.as_bytes());
    let mut out = std::io::stdout();
    out.write_all(printed.out.as_bytes()).and_then(|()| out.flush()).is_ok()
}

impl ObserveArgs {
    /// The nodes that are asked here, and who asks.
    fn targets(&self) -> anyhow::Result<(Targets, Option<Credentials>)> {
        let credentials = self.tls.as_deref().map(Credentials::read).transpose()?;
        let targets = if self.server.is_some() { Targets::new() } else { sockets(self.selection.agents()?) };
        Ok((targets, credentials))
    }

    fn request(&self) -> GetFlowsRequest {
        let chosen = self.all || self.follow || self.since.is_some() || self.until.is_some();
        let otherwise = if chosen { 0 } else { DEFAULT_LAST };
        GetFlowsRequest {
            number: self.first.or(self.last).unwrap_or(otherwise),
            first: self.first.is_some(),
            follow: self.follow,
            since: self.since,
            until: self.until,
            whitelist: self.filters.white.clone(),
            blacklist: self.filters.black.clone(),
            extensions: Some(extension::asked()),
            ..GetFlowsRequest::default()
        }
    }

    fn options(&self, several: bool) -> Options {
        let colour = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Options {
            form: match self.output {
                Style::Compact => Form::Compact,
                Style::Dict => Form::Dict,
                Style::Tab => Form::Tab,
                Style::Jsonpb => Form::JsonPb,
            },
            colour: if colour { Colour::Always } else { Colour::Never },
            time: match self.time_format {
                TimeArg::StampMilli => TimeFormat::StampMilli,
                TimeArg::Rfc3339 => TimeFormat::Rfc3339,
                TimeArg::Rfc3339Milli => TimeFormat::Rfc3339Milli,
                TimeArg::Rfc3339Micro => TimeFormat::Rfc3339Micro,
                TimeArg::Rfc3339Nano => TimeFormat::Rfc3339Nano,
                TimeArg::Rfc1123Z => TimeFormat::Rfc1123Z,
            },
            node_name: self.print_node_name || several && self.output != Style::Jsonpb,
            ip_translation: !self.numeric,
            policy_names: self.print_policy_names,
            debug: false,
        }
    }
}

/// What is missing in an account of all nodes.
#[derive(Debug, Default)]
pub struct Told {
    /// Events that nobody can tell.
    pub lost: u64,
    /// Flows that a node has left out on purpose (`--flow-sampling`).
    pub left_out: u64,
    /// Nodes that could not be asked, or not for all, and why.
    pub missing: Vec<String>,
}

/// Asks all nodes for what they still have of a time, with how flows ended. Flows are handed on as they come: days of them
/// are more than memory holds.
///
/// # Errors
/// When no node answers, or one refuses the request.
pub fn all(
    selection: &Selection,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    filters: &Filters,
    mut each: impl FnMut(&Flow),
) -> anyhow::Result<Told> {
    let targets = sockets(selection.agents()?);
    let request = GetFlowsRequest {
        since,
        until,
        whitelist: filters.white.clone(),
        blacklist: filters.black.clone(),
        extensions: Some(extension::asked()),
        ..GetFlowsRequest::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (_targets, watched) = watch::channel(targets);
        let flows = Relay::new(watched, None).flows(request);
        let mut answers = flows.map_err(|status| anyhow!("{}", status.message()))?;
        let (mut told, mut heard) = (Told::default(), false);
        while let Some(answer) = answers.next().await {
            match answer.map_err(|status| anyhow!("{}", status.message()))?.response_types {
                Some(ResponseTypes::Flow(flow)) => each(&flow),
                Some(ResponseTypes::LostEvents(lost)) if lost.source() == LostEventSource::MallaSampling => {
                    told.left_out += lost.num_events_lost;
                }
                Some(ResponseTypes::LostEvents(lost)) => told.lost += lost.num_events_lost,
                Some(ResponseTypes::NodeStatus(status)) => match status.state_change() {
                    NodeState::NodeConnected => heard = true,
                    _ => told.missing.push(format!("{}: {}", status.node_names.join(", "), status.message)),
                },
                None => {}
            }
        }
        if !heard {
            bail!("no node answers: {}", told.missing.join("; "));
        }
        Ok(told)
    })
}

/// Flows of which the source, or the destination, is a Pod of this namespace.
pub fn of_namespace(namespace: &str, source: bool) -> FlowFilter {
    let pods = vec![format!("{namespace}/")];
    if source {
        FlowFilter { source_pod: pods, ..FlowFilter::default() }
    } else {
        FlowFilter { destination_pod: pods, ..FlowFilter::default() }
    }
}

/// A time, or so long before now.
///
/// # Errors
/// In words: it is neither.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let span: jiff::SignedDuration =
                text.parse().map_err(|_| format!("{text:?} is neither a time (RFC 3339) nor a duration (5m)"))?;
            jiff::Timestamp::now().checked_sub(span).map_err(|_| format!("{text:?} ago there was no time"))?
        }
    };
    Ok(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

/// As `hubble observe`.
const DEFAULT_LAST: u64 = 20;
