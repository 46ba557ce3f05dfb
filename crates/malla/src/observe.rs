//! `malla observe`: what nodes have seen and done, from Hubble's API; with the flags and the output of `hubble observe`.

mod all;
mod drops;
mod elsewhere;
mod events;
mod flags;
mod flows;
mod format;
mod heard;
mod input;
mod moment;
mod select;
mod server;
mod switches;
mod why;

use crate::agents::Selection;
use crate::relay::sockets;
use anyhow::Context;
use clap::{Args, Subcommand};
use events::EventsArgs;
use flow_api::client::status_words;
use flow_api::print::Printed;
use flow_relay::{Limits, Targets};
use flows::FlowsArgs;
use std::io::{ErrorKind, Write};
use switches::Switches;
use tonic::Status;

pub use all::{all, of_namespace};
pub use elsewhere::Elsewhere;
pub use flags::Filters;
pub use moment::moment;
pub use server::ServerArgs;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla observe                                         The last 20 flows
  malla observe --from-label app=monolith --to-label app=user-service --verdict forwarded
  malla observe -f --verdict dropped -n shop            What is dropped in a namespace, as it happens
  malla observe --since 5m --to-service shop/cart -o json | jq .flow.source.pod_name
  malla observe --ip 10.244.1.7 --not --port 53 -o tab
  malla observe -f --verdict dropped --why              And why: rules and maps, or what would let it pass
  malla observe -o jsonpb --all > flows.json            To be looked through later, or elsewhere:
  malla observe --input-file flows.json --to-port 443
  malla observe -o jsonpb --field-mask time,source.pod_name,destination.pod_name,verdict
  malla observe --server tls://relay:4245 --tls-ca-cert-files ca.crt --tls-server-name any.hubble-relay.cilium.io
  malla observe agent-events --since 1h                 What agents did: policies, Pods, Services

Filters of one kind are an or, those of several an and; --not leaves out what the filter behind it asks for. Some exclude
each other, as in hubble (--pod and --from-pod, --ip and --pod); --allowlist and --denylist take all that can be asked for.
Exit status: 0 (also after Ctrl-C), 1 error, 2 wrong usage.";

/// Arguments of `malla observe`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ObserveArgs {
    #[command(subcommand)]
    what: Option<Observe>,
    #[command(flatten)]
    flows: Switches<FlowsArgs>,
}

/// What is observed.
#[derive(Debug, Subcommand)]
enum Observe {
    /// Flows, as without this word
    #[command(after_help = EXAMPLES)]
    Flows(Box<Switches<FlowsArgs>>),
    /// What agents did: policies, Pods and Services that came, changed and went
    AgentEvents(Box<Switches<EventsArgs>>),
    /// What datapaths tell of themselves
    DebugEvents(Box<Switches<EventsArgs>>),
}

/// Prints until there is no more, or until interrupted.
///
/// # Errors
/// When no node answers, or one refuses the request; when what they tell can't be written.
pub fn run(args: &ObserveArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let print = async {
        match &args.what {
            None => args.flows.0.print().await,
            Some(Observe::Flows(args)) => args.0.print().await,
            Some(Observe::AgentEvents(args)) => args.0.print_agent_events().await,
            Some(Observe::DebugEvents(args)) => args.0.print_debug_events().await,
        }
    };
    runtime.block_on(async {
        tokio::select! {
            result = print => result,
            result = tokio::signal::ctrl_c() => result.context("wait for Ctrl-C"),
        }
    })
}

/// What the environment says of a server: nothing to who has said whom to ask.
pub fn variables(is_said: bool) -> impl Fn(&str) -> Option<String> {
    move |name| if is_said { None } else { std::env::var(name).ok() }
}

/// The nodes of a lab, for who has named no server.
///
/// # Errors
/// When there is no such lab or node.
pub fn nodes(selection: &Selection) -> anyhow::Result<Targets> {
    let agents = selection.agents();
    // Who comes from `hubble` expects a relay. It is not asked unless it is named: whoever listens at that port could answer.
    let agents = if selection.is_named() { agents } else { agents.context(NOBODY_NAMED) };
    Ok(sockets(agents?))
}

/// `hubble` has this default.
const NOBODY_NAMED: &str = "a lab is asked, as no --server is named (hubble's default is --server localhost:4245)";

/// The beginning of an answer: whoever has accepted may stand still, and a relay gives up on it as soon.
///
/// # Errors
/// What is said instead, or that nothing is.
pub async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let answer = tokio::time::timeout(Limits::default().dial, answer).await;
    answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

/// What whoever was asked says instead of an answer.
pub fn said(status: Status) -> anyhow::Error {
    anyhow::Error::msg(status_words(&status))
}

/// `false`: whoever reads us has gone.
fn show(printed: &Printed) -> anyhow::Result<bool> {
    let _ = std::io::stderr().write_all(printed.err.as_bytes());
    write(&printed.out)
}

/// What comes from elsewhere, in one line that steers no terminal.
pub fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// `false`: whoever reads us has gone, which is an end like any other. A disk that is full is none.
pub fn write(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn who_accepts_and_stands_still_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let said = runtime.block_on(in_time(std::future::pending::<Result<(), Status>>())).unwrap_err();
        assert_eq!((said.code(), said.message()), (Code::DeadlineExceeded, "no answer in time"));
        assert_eq!(runtime.block_on(in_time(async { Ok(7) })).unwrap(), 7);
    }
}
