//! `malla relay`: the flows of all nodes at one place, for `hubble`, its UI, and `malla observe --server`.

mod certificates;

use crate::agents::{Agent, LABS, Selection};
use crate::server_address::Server;
use crate::units::read_duration;
use anyhow::{Context, bail};
use certificates::Files;
use clap::Args;
use flow_api::client;
use flow_api::server::{Credentials, Listener, bind, serve_observer};
use flow_relay::{Limits, Relay, Target, Targets, follow_peers};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  malla relay                                    All nodes of the lab, at /run/malla/malla/relay.sock
  malla relay --listen unix:///run/relay.sock --peer-service unix:///var/run/cilium/hubble.sock --tls /etc/relay
  malla relay --listen 10.0.0.1:4245 --serve-tls /etc/relay-server --peer-service 10.0.0.2:4244 --tls /etc/relay
  malla observe --server unix:///run/malla/malla/relay.sock -f

A folder for --tls or --serve-tls looks like a mounted Secret: tls.crt, tls.key, ca.crt.
Flags that `hubble-relay serve` has too have its names. It is asked as Hubble Relay is, by `hubble` and its UI, but for one thing:
`--last 20` and `--first 20` are 20 flows of all nodes together, not up to 20 of each. Agents' events are told at each node's own socket.";

/// Arguments of `malla relay`.
#[derive(Args, Debug)]
pub struct RelayArgs {
    #[command(flatten)]
    selection: Selection,
    /// Where to serve: unix:///path (only root may connect) or ADDRESS:PORT [default: relay.sock of the lab]
    #[arg(long, visible_alias = "listen-address", value_name = "ADDRESS", value_parser = here)]
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
    #[command(flatten)]
    files: Files,
    /// Longest wait for a connection to a node, and then for the first word of its answer
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = wait)]
    dial_timeout: Duration,
    /// How long a node that was away is left alone before it is tried again
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = wait)]
    retry_timeout: Duration,
    /// Longest wait of a flow for a node that may still have an older one
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = wait)]
    sort_buffer_drain_timeout: Duration,
    /// How many flows wait for their turn, those of all nodes together; the others stay at their nodes
    #[arg(long, value_name = "FLOWS", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    sort_buffer_len_max: u32,
}

impl RelayArgs {
    fn limits(&self) -> Limits {
        Limits {
            dial: self.dial_timeout,
            retry: self.retry_timeout,
            patience: self.sort_buffer_drain_timeout,
            waiting: usize::try_from(self.sort_buffer_len_max).unwrap_or(usize::MAX),
            ..Limits::default()
        }
    }

    fn client(&self) -> anyhow::Result<Option<client::Credentials>> {
        match &self.tls {
            Some(folder) => Ok(Some(client::Credentials::read(folder)?)),
            None => self.files.client(),
        }
    }

    fn server(&self) -> anyhow::Result<Option<Credentials>> {
        match &self.serve_tls {
            Some(folder) => Ok(Some(Credentials::read(folder)?)),
            None => self.files.server(),
        }
    }
}

/// Where to listen: as Hubble writes it, `:4245` is at every address.
fn here(text: &str) -> Result<Server, String> {
    if text.starts_with(':') { format!("[::]{text}").parse() } else { text.parse() }
}

fn wait(text: &str) -> Result<Duration, String> {
    let long = read_duration(text)?;
    if (SHORTEST..=LONGEST).contains(&long) { Ok(long) } else { Err(format!("is not from {SHORTEST:?} to an hour")) }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't listen, or a certificate can't be read.
pub fn run(args: &RelayArgs) -> anyhow::Result<()> {
    start_log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_background();
    result
}

/// Who is missing where an answer has no place for it is told there.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MALLA_LOG").unwrap_or_else(|_| "info".into());
    // A program that embeds the relay has its own.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

async fn serve(args: &RelayArgs) -> anyhow::Result<()> {
    let credentials = args.client()?;
    let (sender, targets) = watch::channel(Targets::new());
    match &args.peer_service {
        Some(server) => {
            let of = server.target(credentials.as_ref(), &args.tls_server_name)?;
            tokio::spawn(follow_peers(of, credentials.clone(), args.limits(), sender));
        }
        None => drop(sender.send_replace(sockets(args.selection.agents()?))),
    }
    let listener = listen(args).await?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let relay = Relay::new(targets, credentials).within(args.limits());
    serve_observer(listener, relay, stop).await.context("serve flows")
}

async fn listen(args: &RelayArgs) -> anyhow::Result<Listener> {
    let of_lab = Server::Socket(Path::new(LABS).join(&args.selection.lab).join("relay.sock"));
    match args.listen.as_ref().unwrap_or(&of_lab) {
        Server::Socket(path) => {
            Ok(Listener::Socket(bind(path).with_context(|| format!("listen at {}", path.display()))?))
        }
        Server::Network { tls: Some(false), .. } => bail!("--listen tcp://…: flows are not told in clear"),
        Server::Network { address, .. } => {
            let Some(credentials) = args.server()? else {
                bail!("--listen {address} needs --serve-tls: flows are not told to just anybody");
            };
            let listener = TcpListener::bind(address).await.with_context(|| format!("listen at {address}"))?;
            Ok(Listener::Network(listener, credentials))
        }
    }
}

/// The nodes of a lab on this machine.
pub fn sockets(agents: Vec<Agent>) -> Targets {
    // Beside the agent's own.
    let target = |agent: &Agent| Target::Socket(agent.socket.with_file_name("hubble.sock"));
    agents.into_iter().map(|agent| (agent.name.clone(), target(&agent))).collect()
}

/// A wait that is none would have the relay do nothing but try.
const SHORTEST: Duration = Duration::from_millis(10);
/// As [`Limits`] have it.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Command {
        #[command(flatten)]
        relay: RelayArgs,
    }

    fn parse(arguments: &[&str]) -> Result<RelayArgs, String> {
        let parsed = Command::try_parse_from(["malla"].iter().chain(arguments));
        parsed.map(|command| command.relay).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_those_of_the_library_or_as_hubbles_relay_has_them_told() {
        assert_eq!(parse(&[]).unwrap().limits(), Limits::default());
        let told = ["--dial-timeout", "5s", "--retry-timeout", "30s", "--sort-buffer-len-max", "100"];
        let limits = parse(&[&told[..], &["--sort-buffer-drain-timeout", "500ms"]].concat()).unwrap().limits();
        let seconds = Duration::from_secs;
        assert_eq!((limits.dial, limits.retry, limits.waiting), (seconds(5), seconds(30), 100));
        assert_eq!(limits.patience, Duration::from_millis(500));
        for wrong in [["--retry-timeout", "0s"], ["--dial-timeout", "2h"], ["--sort-buffer-len-max", "0"]] {
            assert!(parse(&wrong).unwrap_err().contains(wrong[0]), "{wrong:?}");
        }
    }

    #[test]
    fn addresses_to_listen_at_are_written_as_hubbles_relay_has_them() {
        let network = |address: &str| Some(Server::Network { address: address.to_owned(), tls: None });
        assert_eq!(parse(&["--listen-address", ":4245"]).unwrap().listen, network("[::]:4245"));
        assert_eq!(parse(&["--listen", "10.0.0.1:4245"]).unwrap().listen, network("10.0.0.1:4245"));
        assert!(parse(&["--listen", ":relay"]).is_err());
    }

    #[test]
    fn certificates_come_from_a_folder_or_file_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            std::fs::write(folder.path().join(name), name).unwrap();
            folder.path().join(name).display().to_string()
        };
        let [certificate, key, one, other] = ["c", "k", "one", "other"].map(file);
        let both = format!("{one},{other}");
        let nodes = ["--tls-hubble-client-cert-file", certificate.as_str(), "--tls-hubble-client-key-file", &key];
        let nodes_ca = ["--tls-hubble-server-ca-files", both.as_str()];
        let client = parse(&[&nodes[..], &nodes_ca].concat()).unwrap().client().unwrap().unwrap();
        let flow_api::client::Believed::Authorities(believed) = client.believed else { panic!("anybody") };
        assert_eq!((client.own, believed), (Some((b"c".into(), b"k".into())), b"one\nother".to_vec()));
        // Who is believed is enough for nodes that answer anybody.
        assert!(parse(&nodes_ca).unwrap().client().unwrap().unwrap().own.is_none());
        let clients = ["--tls-relay-server-cert-file", certificate.as_str(), "--tls-relay-server-key-file", &key];
        let clients_ca = ["--tls-relay-client-ca-files", one.as_str()];
        let server = parse(&[&clients[..], &clients_ca].concat()).unwrap().server().unwrap().unwrap();
        assert_eq!([server.certificate, server.key, server.authorities], [b"c".to_vec(), b"k".into(), b"one".into()]);
        // Nothing is half said, and nothing twice.
        for wrong in [&nodes[..], &nodes[..2], &clients[..], &clients_ca[..]] {
            assert!(parse(wrong).unwrap_err().contains("required"), "{wrong:?}");
        }
        assert!(parse(&[&["--tls", "/x"][..], &nodes_ca].concat()).unwrap_err().contains("cannot be used"));
        assert!(
            parse(&[&["--serve-tls", "/x"][..], &clients, &clients_ca].concat())
                .unwrap_err()
                .contains("cannot be used")
        );
        let error = parse(&["--tls-hubble-server-ca-files", "/nowhere.crt"]).unwrap().client().unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere.crt"), "{error:#}");
        let none = parse(&[]).unwrap();
        assert!(none.client().unwrap().is_none() && none.server().unwrap().is_none());
    }
}
