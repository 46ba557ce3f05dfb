//! `malla monitor`: events of all nodes as they come.

mod compact;
mod filter;

use crate::agents::{Agent, Selection};
use agent::events::{Kind, Line};
use anyhow::Context;
use clap::{Args, ValueEnum};
use filter::{Filter, Party};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use std::io::Write;
use std::time::Duration;
use tokio::sync::mpsc;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla monitor                              New flows, ends and drops of all nodes
  malla monitor --type drop                  Only what was dropped, with the reason
  malla monitor --type audit                 What policies in audit mode would have dropped
  malla monitor --to default/spink           Whatever goes to the Service or its Pods
  malla monitor --from 10.244.1.7 --type trace,drop --node worker-1
  malla monitor -o json --number 10 | jq -c '.flow | [.source.pod.name, .verdict]'

Exit status: 0 (also after Ctrl-C), 1 error, 2 wrong usage.";

/// Arguments of `malla monitor`.
#[derive(Args, Debug)]
pub struct MonitorArgs {
    #[command(flatten)]
    selection: Selection,
    /// Which events [default: drop,audit,flow,end]; `trace` shows every packet and costs accordingly
    #[arg(long = "type", value_enum, value_delimiter = ',', value_name = "TYPES")]
    kinds: Vec<KindArg>,
    /// Only from this Pod, Service (namespace/name or name), address or range
    #[arg(long, value_name = "WHO")]
    from: Option<Party>,
    /// Only to this Pod, Service (namespace/name or name), address or range
    #[arg(long, value_name = "WHO")]
    to: Option<Party>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: Style,
    /// End after so many events
    #[arg(short, long, value_name = "EVENTS")]
    number: Option<u64>,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Style {
    /// One line each, laid out as `hubble observe` does it
    #[default]
    Compact,
    /// One JSON object per line
    Json,
}

/// [`Kind`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// A packet was dropped
    Drop,
    /// A flow began
    Flow,
    /// A packet passed
    Trace,
    /// A flow ended
    End,
    /// A flow passed that a policy in audit mode would have dropped
    Audit,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Drop => Self::Drop,
            KindArg::Flow => Self::Flow,
            KindArg::Trace => Self::Trace,
            KindArg::End => Self::End,
            KindArg::Audit => Self::Audit,
        }
    }
}

/// Prints events until interrupted, or until there were enough.
///
/// # Errors
/// When there is nobody to listen to.
pub fn run(args: &MonitorArgs) -> anyhow::Result<()> {
    let agents = args.selection.agents()?;
    let kinds = if args.kinds.is_empty() {
        vec![Kind::Drop, Kind::Audit, Kind::Flow, Kind::End]
    } else {
        args.kinds.iter().map(|k| Kind::from(*k)).collect()
    };
    let filter = Filter { kinds, from: args.from.clone(), to: args.to.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = print(agents, &filter, args) => result,
            result = tokio::signal::ctrl_c() => result.context("wait for Ctrl-C"),
        }
    })
}

async fn print(agents: Vec<Agent>, filter: &Filter, args: &MonitorArgs) -> anyhow::Result<()> {
    let several = agents.len() > 1;
    let (sender, mut lines) = mpsc::channel(1024);
    let path = if filter.kinds.contains(&Kind::Trace) { "/v1/monitor?trace=true" } else { "/v1/monitor" };
    let mut failures = 0;
    let total = agents.len();
    for agent in agents {
        tokio::spawn(follow(agent, path, sender.clone()));
    }
    drop(sender);
    let mut left = args.number.unwrap_or(u64::MAX);
    while let Some(news) = lines.recv().await {
        let line = match news {
            News::Line(line) => line,
            News::Away { node, error, first } => {
                failures += usize::from(first);
                anyhow::ensure!(failures < total, "no agent answers: {error}");
                eprintln!("malla: {node}: {error}; trying again");
                continue;
            }
        };
        if !filter.wants(&line) {
            continue;
        }
        let text = match args.output {
            Style::Compact => compact::render(&line, several),
            Style::Json => serde_json::to_string(&line)?,
        };
        // Whoever reads us has gone: that is an end like any other.
        if writeln!(std::io::stdout(), "{text}").is_err() {
            return Ok(());
        }
        if matches!(line, Line::Flow(_)) {
            left -= 1;
        }
        if left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// What one agent's follower has to say.
#[derive(Debug)]
enum News {
    Line(Line),
    /// It does not answer; `first` if it never did.
    Away {
        node: String,
        error: String,
        first: bool,
    },
}

/// Between two attempts to reach an agent that went away.
const RETRY: Duration = Duration::from_millis(500);

/// Follows one agent, also through its restarts.
async fn follow(agent: Agent, path: &'static str, sender: mpsc::Sender<News>) {
    let mut answered = false;
    let mut said = false;
    loop {
        let error = match agent.open(path).await {
            Ok(mut body) => {
                (answered, said) = (true, false);
                let mut rest = Vec::new();
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { continue };
                    for line in split(&mut rest, &data) {
                        if sender.send(News::Line(line)).await.is_err() {
                            return;
                        }
                    }
                }
                "the agent has ended".to_owned()
            }
            Err(error) => format!("{error:#}"),
        };
        if !said {
            said = true;
            let away = News::Away { node: agent.name.clone(), error, first: !answered };
            if sender.send(away).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Whole lines of what has come; the rest waits for more. A line that is none of ours is left out.
pub fn split(rest: &mut Vec<u8>, data: &Bytes) -> Vec<Line> {
    rest.extend_from_slice(data);
    let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let behind = rest.split_off(end + 1);
    let whole = std::mem::replace(rest, behind);
    whole.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_any_pieces() {
        let text = b"{\"lost\":{\"node\":\"n\",\"events\":1,\"place\":\"ring\"}}\n{\"lost\":{\"node\":\"n\",\"events\":2,\"place\":\"ring\"}}\nrubbish\n";
        for size in [1, 7, 50, 200] {
            let mut rest = Vec::new();
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                seen.extend(split(&mut rest, &Bytes::copy_from_slice(piece)));
            }
            assert!(rest.is_empty());
            let counts: Vec<u64> = seen.iter().map(|l| if let Line::Lost(l) = l { l.events } else { 0 }).collect();
            assert_eq!(counts, [1, 2], "in pieces of {size}");
        }
    }
}
