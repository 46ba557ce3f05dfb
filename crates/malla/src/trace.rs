//! `malla trace`: a connection's packets, followed through every node that they cross.
//!
//! ```text
//! forwarder, probe or user: "this end is about to speak" → agents follow that end → events → visits → ways → journey → text, JSON, …
//! ```
//! Programs look followed ends up in a map: none is replaced. What other flows pay is told in `docs/trace.md`.

mod advice;
mod command;
mod connection;
mod follow;
mod hops;
mod journey;
#[cfg(test)]
mod made;
mod masquerade;
mod mermaid;
mod passing;
mod pcapng;
mod probe;
mod svg;
mod text;
mod visits;

use crate::agents::Selection;
use crate::units::read_duration;
use anyhow::Context;
use clap::{Args, ValueEnum};
use journey::Journey;
use passing::Tuple;
use probe::Target;
use std::process::ExitCode;
use std::time::Duration;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla trace -- curl -s http://localhost:30080        The journey of what the command sends into the lab
  malla trace --from default/client --to default/spink:80    A connection of our own, from inside that Pod
  malla trace --from client --to 10.244.1.7:8080 -o json
  malla trace --from client --to kube-system/kube-dns:53/udp    A datagram, and its answer
  malla trace --flow udp,10.244.1.5:40000,10.96.0.10:53 --time 30s    What somebody else sends
  malla trace -o mermaid -- curl -s http://localhost:30080   A sequence diagram

What the command prints goes to standard error.
Exit status: 0 every connection was answered, 1 error, 2 wrong usage, 3 a connection died, or there was none.";

/// Arguments of `malla trace`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["from", "flow", "command", "probe"]))]
pub struct TraceArgs {
    #[command(flatten)]
    selection: Selection,
    /// Connect from this Pod (namespace/name, or a name in `default`)
    #[arg(long, value_name = "POD", requires = "to")]
    from: Option<String>,
    /// Connect to this Service and port (namespace/name:port, or address:port); over TCP, or UDP after /udp
    #[arg(long, value_name = "SERVICE:PORT[/udp]", requires = "from")]
    to: Option<String>,
    /// What the datagram holds [default: a question for DNS at port 53, elsewhere a line]; TCP sends nothing
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// Follow this flow, whoever speaks: protocol, the end that asks, and the one that it asks (without it: any)
    #[arg(long, value_name = "tcp|udp,ADDRESS:PORT[,ADDRESS:PORT]")]
    flow: Option<Tuple>,
    /// For so long
    #[arg(long, value_name = "DURATION", requires = "flow", default_value = "10s", value_parser = time)]
    time: Duration,
    /// How to tell it
    #[arg(short, long, value_enum, default_value_t)]
    output: Style,
    /// Run this, and follow what it sends through the lab's forwarder
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Inside of the Pod: ask there, and say how it went.
    #[arg(long, hide = true, requires = "source_port")]
    probe: Option<Target>,
    /// The probe's own port.
    #[arg(long, hide = true)]
    source_port: Option<u16>,
}

/// How journeys are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Style {
    /// Line by line
    #[default]
    Text,
    /// One array of all journeys
    Json,
    /// A sequence diagram for Mermaid
    Mermaid,
    /// A drawing of machine, nodes and Pods with the packet's way
    Svg,
    /// A capture whose packets' comments tell hop and rule
    Pcapng,
}

/// Follows, and tells.
///
/// # Errors
/// When there is nobody to ask, or nothing can be started.
pub fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    if let (Some(target), Some(port)) = (args.probe, args.source_port) {
        return Ok(probe::ask(target, port, args.data.as_deref()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gathered = runtime.block_on(async {
        match (&args.from, &args.to, args.flow) {
            (Some(from), Some(to), _) => {
                probe::run(&args.selection, from, to, args.data.as_deref()).await.map(|one| vec![one])
            }
            (_, _, Some(flow)) => passing::run(&args.selection, flow, args.time).await.map(|one| vec![one]),
            _ => command::run(&args.selection, &args.command).await,
        }
    })?;
    let journeys: Vec<Journey> = gathered.iter().map(journey::assemble).collect();
    print(&journeys, args.output)?;
    if journeys.is_empty() {
        eprintln!("malla: the command made no connection to a port of the lab's forwarder (see `malla lab status`)");
    }
    let answered = !journeys.is_empty() && journeys.iter().all(|journey| journey.end.answered);
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// For how long.
fn time(text: &str) -> Result<Duration, String> {
    let long = read_duration(text)?;
    if long > LONGEST { Err("is longer than an hour".to_owned()) } else { Ok(long) }
}

/// Whoever follows takes one of sixteen places.
const LONGEST: Duration = Duration::from_secs(3600);

fn print(journeys: &[Journey], style: Style) -> anyhow::Result<()> {
    use std::io::Write as _;
    let bytes = match style {
        Style::Text => journeys.iter().map(text::render).collect::<Vec<_>>().join("\n").into_bytes(),
        Style::Json => (serde_json::to_string_pretty(journeys)? + "\n").into_bytes(),
        Style::Mermaid => mermaid::render(journeys).into_bytes(),
        Style::Svg => svg::render(journeys).into_bytes(),
        Style::Pcapng => pcapng::render(journeys),
    };
    std::io::stdout().write_all(&bytes).context("print")
}
