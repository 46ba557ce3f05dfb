//! `malla relay`: the flows of all nodes at one place, for `hubble`, its UI, and `malla observe --server`.

use crate::agents::{Agent, LABS, Selection};
use crate::server_address::Server;
use anyhow::{Context, bail};
use clap::Args;
use flow_api::client;
use flow_api::server::{Credentials, Listener, bind, serve_observer};
use flow_relay::{Relay, Target, Targets, follow_peers};
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla relay                                    All nodes of the lab, at /run/malla/malla/relay.sock
  malla relay --listen unix:///run/relay.sock --peer-service unix:///var/run/cilium/hubble.sock --tls /etc/relay
  malla relay --listen 10.0.0.1:4245 --serve-tls /etc/relay-server --peer-service 10.0.0.2:4244 --tls /etc/relay
  malla observe --server unix:///run/malla/malla/relay.sock -f

A folder for --tls or --serve-tls looks like a mounted Secret: tls.crt, tls.key, ca.crt.";

/// Arguments of `malla relay`.
#[derive(Args, Debug)]
pub struct RelayArgs {
    #[command(flatten)]
    selection: Selection,
    /// Where to serve: unix:///path (only root may connect) or ADDRESS:PORT [default: relay.sock of the lab]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Server>,
    /// Which nodes there are, and where, is asked here for as long as it runs, instead of taking a lab's sockets
    #[arg(long, value_name = "ADDRESS")]
    peer_service: Option<Server>,
    /// Who this relay is for the nodes
    #[arg(long, value_name = "FOLDER")]
    tls: Option<PathBuf>,
    /// The name that the peer service's certificate must have, where it is asked over the network
    #[arg(long, value_name = "NAME", default_value = "*.default.hubble-grpc.cilium.io")]
    tls_server_name: String,
    /// Who this relay is for its clients, and whose certificates it takes; over the network it serves nobody without
    #[arg(long, value_name = "FOLDER")]
    serve_tls: Option<PathBuf>,
}

/// Serves until interrupted.
///
/// # Errors
/// When it can't listen, or a certificate can't be read.
pub fn run(args: &RelayArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_background();
    result
}

async fn serve(args: &RelayArgs) -> anyhow::Result<()> {
    let credentials = args.tls.as_deref().map(client::Credentials::read).transpose()?;
    let (sender, targets) = watch::channel(Targets::new());
    match &args.peer_service {
        Some(server) => {
            let of = server.target(credentials.as_ref(), &args.tls_server_name)?;
            tokio::spawn(follow_peers(of, credentials.clone(), sender));
        }
        None => drop(sender.send_replace(sockets(args.selection.agents()?))),
    }
    let listener = listen(args).await?;
    let stop = async {
        // Without signals it runs on: whoever started it can still kill it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    serve_observer(listener, Relay::new(targets, credentials), stop).await.context("serve flows")
}

async fn listen(args: &RelayArgs) -> anyhow::Result<Listener> {
    let of_lab = Server::Socket(Path::new(LABS).join(&args.selection.lab).join("relay.sock"));
    match args.listen.as_ref().unwrap_or(&of_lab) {
        Server::Socket(path) => {
            Ok(Listener::Socket(bind(path).with_context(|| format!("listen at {}", path.display()))?))
        }
        Server::Network { tls: Some(false), .. } => bail!("--listen tcp://…: flows are not told in clear"),
        Server::Network { address, .. } => {
            let Some(folder) = &args.serve_tls else {
                bail!("--listen {address} needs --serve-tls: flows are not told to just anybody");
            };
            let listener = TcpListener::bind(address).await.with_context(|| format!("listen at {address}"))?;
            Ok(Listener::Network(listener, Credentials::read(folder)?))
        }
    }
}

/// The nodes of a lab on this machine.
pub fn sockets(agents: Vec<Agent>) -> Targets {
    // Beside the agent's own.
    let target = |agent: &Agent| Target::Socket(agent.socket.with_file_name("hubble.sock"));
    agents.into_iter().map(|agent| (agent.name.clone(), target(&agent))).collect()
}
