//! `malla watch`: which nodes there are to ask for flows, and which come and go, as it happens; as `hubble watch`.

use crate::agents::Selection;
use crate::observe::{Elsewhere, ServerArgs, in_time, nodes, plain, said, variables, write};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use flow_api::client::status_words;
use flow_api::peer::peer_client::PeerClient;
use flow_api::peer::{ChangeNotification, NotifyRequest};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla watch peers                              The nodes of the lab, then each that comes, goes or moves
  malla watch peers --server unix:///var/run/cilium/hubble.sock

A node is asked: a relay does not tell. Exit status: 0 (also after Ctrl-C), 1 error, 2 wrong usage.";

/// Arguments of `malla watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    #[command(subcommand)]
    what: What,
}

/// What is watched.
#[derive(Debug, Subcommand)]
enum What {
    /// Nodes: where each is asked for flows, and the name that its certificate must have
    #[command(alias = "peer", after_help = EXAMPLES)]
    Peers(Box<Asked>),
}

/// Who is asked.
#[derive(Args, Debug)]
struct Asked {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    _elsewhere: Elsewhere,
}

/// Prints until there is no more, or until interrupted.
///
/// # Errors
/// When no node answers, or what one tells can't be written.
pub fn run(args: &WatchArgs) -> anyhow::Result<()> {
    let What::Peers(asked) = &args.what;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = asked.print() => result,
            result = tokio::signal::ctrl_c() => result.context("wait for Ctrl-C"),
        }
    })
}

impl Asked {
    async fn print(&self) -> anyhow::Result<()> {
        let mut changes = self.changes().await?;
        while let Some(change) = changes.message().await.map_err(said)? {
            if !write(&line(&change))? {
                break;
            }
        }
        Ok(())
    }

    /// Of the server, or of the first node that answers: each knows all of them.
    async fn changes(&self) -> anyhow::Result<Streaming<ChangeNotification>> {
        if let Some(way) = self.server.way(&variables(self.selection.is_named()))? {
            return changes(way.connect().await?).await.map_err(said);
        }
        let mut silent = Vec::new();
        for (node, target) in nodes(&self.selection)? {
            let told = match target.connect(None).await {
                Ok(channel) => changes(channel).await.map_err(|status| status_words(&status)),
                Err(why) => Err(why),
            };
            match told {
                Ok(changes) => return Ok(changes),
                Err(why) => silent.push(format!("{node}: {why}")),
            }
        }
        bail!("no node answers: {}", silent.join("; "))
    }
}

async fn changes(channel: Channel) -> Result<Streaming<ChangeNotification>, Status> {
    Ok(in_time(PeerClient::new(channel).notify(NotifyRequest {})).await?.into_inner())
}

/// As `hubble` prints it.
fn line(change: &ChangeNotification) -> String {
    let kind = change.r#type().as_str_name();
    let tls = change.tls.as_ref().map_or_else(String::new, |tls| format!(" (TLS.ServerName: {})", tls.server_name));
    plain(&format!("{kind:12} {} {}{tls}", change.address, change.name)) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};
    use flow_api::peer::{ChangeNotificationType, Tls};

    #[test]
    fn changes_are_printed_as_by_hubble() {
        let name = "kind/worker".to_owned();
        let change = ChangeNotification {
            name,
            address: "10.0.0.1:4244".to_owned(),
            r#type: ChangeNotificationType::PeerAdded as i32,
            tls: Some(Tls { server_name: "worker.kind.hubble-grpc.cilium.io".to_owned() }),
        };
        assert_eq!(
            line(&change),
            "PEER_ADDED   10.0.0.1:4244 kind/worker (TLS.ServerName: worker.kind.hubble-grpc.cilium.io)\n"
        );
        let r#type = ChangeNotificationType::PeerDeleted as i32;
        let gone = ChangeNotification { r#type, tls: None, ..change.clone() };
        assert_eq!(line(&gone), "PEER_DELETED 10.0.0.1:4244 kind/worker\n");
        assert_eq!(line(&ChangeNotification::default()), "UNKNOWN       \n");
        let hostile = ChangeNotification { name: "a\x1b[2J\nb".to_owned(), ..gone };
        assert_eq!(line(&hostile), "PEER_DELETED 10.0.0.1:4244 a?[2J?b\n");
    }

    #[test]
    fn a_server_or_nodes_are_asked() {
        let read = |line: &str| {
            let command = WatchArgs::augment_args(Command::new("watch").no_binary_name(true));
            let matches = command.try_get_matches_from(line.split_whitespace()).map_err(|error| error.to_string())?;
            WatchArgs::from_arg_matches(&matches).map(drop).map_err(|error| error.to_string())
        };
        for line in ["peers", "peer --server relay:80 --tls", "peers --lab x --node worker-1"] {
            assert_eq!(read(line), Ok(()), "{line}");
        }
        for line in ["", "nodes", "peers --server relay:80 --node a", "peers -P"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
