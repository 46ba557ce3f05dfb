//! `malla dns`: arguments, and the way into the loops.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use hickory_proto::rr::Name;
use ipnet::IpNet;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use crate::{
    forward::Forwarder,
    resolve::{Cluster, Zones},
    server::{Server, serve_tcp, serve_udp},
    table::Table,
    watch,
    zone_file::ZoneFile,
};

/// Arguments of `malla dns`.
#[derive(Args, Clone, Debug)]
pub struct DnsArgs {
    /// Where to answer, over UDP and TCP; may be given several times
    #[arg(long, required = true, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// How the Kubernetes API is reached; without it there are no cluster names
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub domain: String,
    /// Addresses that clients ask at: those of the zone's own name server
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,ADDRESS")]
    pub server_address: Vec<IpAddr>,
    /// Ranges whose addresses have no names but the cluster's
    #[arg(long, value_delimiter = ',', value_name = "CIDR,CIDR")]
    pub reverse_range: Vec<IpNet>,
    /// Where all other names are asked for, in this order; without it they are refused
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS:PORT,ADDRESS:PORT")]
    pub upstream: Vec<SocketAddr>,
    /// A zone to answer for from a file (RFC 1035 §5, with $ORIGIN); may be given several times
    #[arg(long, value_name = "FILE")]
    pub zone_file: Vec<PathBuf>,
}

/// Answers until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't start.
pub fn run(args: DnsArgs) -> anyhow::Result<()> {
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_background();
    result
}

async fn serve(args: DnsArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let files: Vec<ZoneFile> = args.zone_file.iter().map(|path| ZoneFile::read(path)).collect::<Result<_, _>>()?;
    let cluster = match &args.kubeconfig {
        Some(kubeconfig) => Some(cluster(kubeconfig, &args).await?),
        None => None,
    };
    if cluster.is_none() && files.is_empty() && args.upstream.is_empty() {
        bail!("nothing to answer with: give --kubeconfig, --zone-file or --upstream");
    }
    let forwarder = (!args.upstream.is_empty()).then(|| Forwarder::new(args.upstream.clone()));
    let server = Arc::new(Server { zones: Zones { cluster, files }, forwarder });
    let mut loops = JoinSet::new();
    for address in &args.listen {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("listen on UDP {address}"))?;
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on TCP {address}"))?;
        tracing::info!(address = %socket.local_addr()?, "listening");
        loops.spawn(serve_udp(Arc::clone(&server), socket));
        loops.spawn(serve_tcp(Arc::clone(&server), listener));
    }
    tokio::select! {
        // They end only by a panic, and half a server is none: whoever started us starts us again.
        Some(ended) = loops.join_next() => ended.context("a loop ended"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn cluster(kubeconfig: &Path, args: &DnsArgs) -> anyhow::Result<Cluster> {
    let mut zone = Name::from_ascii(&args.domain).with_context(|| format!("--domain {:?}", args.domain))?;
    zone.set_fqdn(true);
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", kubeconfig.display()))?;
    config.connect_timeout = Some(CONNECT);
    // A proxy of the environment is for the machine's own programs, not for the way to the API.
    config.proxy_url = None;
    let client = kube::Client::try_from(config).context("make a client for the Kubernetes API")?;
    let table = Arc::new(RwLock::new(Table::new(zone, args.server_address.clone())));
    let synced = watch::start(&client, &table);
    Ok(Cluster { table, synced, ranges: args.reverse_range.clone() })
}

fn start_log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("MALLA_LOG").unwrap_or_else(|_| "info,kube_client=off".into());
    // A program that embeds the server has its own.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

/// An API that takes longer to accept a connection is away.
const CONNECT: Duration = Duration::from_secs(3);
