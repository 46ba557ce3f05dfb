//! `malla apiserver`: arguments and the process around the server.

use crate::api::{Api, ClusterConfig};
use crate::pki::Pki;
use crate::{bootstrap, collector, server};
use anyhow::{Context, Result, bail};
use clap::Args;
use ipnet::IpNet;
use object_store::{HistoryLimits, Store};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// Serve the embedded Kubernetes API.
///
/// Example: malla apiserver --data-dir /tmp/api --pki-dir /tmp/pki --listen 127.0.0.1:6443
/// --advertise-address 127.0.0.1 --kubeconfig /tmp/kubeconfig=https://127.0.0.1:6443
#[derive(Debug, Clone, Args)]
pub struct ApiserverArgs {
    /// Folder of the objects (one redb file)
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Folder of the certificate authority and certificates; made when missing
    #[arg(long, value_name = "DIR")]
    pub pki_dir: PathBuf,
    /// Addresses to serve on
    #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',', required = true)]
    pub listen: Vec<SocketAddr>,
    /// Address under which Pods and nodes reach this server
    #[arg(long, value_name = "IP")]
    pub advertise_address: IpAddr,
    /// Service ranges, the primary family first
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/12,fd00:10:96::/112")]
    pub service_cidr: Vec<IpNet>,
    /// Ports for Services of type NodePort
    #[arg(long, value_name = "FROM-TO", default_value = "30000-32767")]
    pub node_port_range: PortRange,
    /// Further names and addresses for the server's certificate
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub san: Vec<String>,
    /// Kubeconfig files to write, each with its server's URL
    #[arg(long, value_name = "FILE=URL", num_args = 1..)]
    pub kubeconfig: Vec<KubeconfigTarget>,
}

/// `30000-32767`
#[derive(Debug, Clone)]
pub struct PortRange(pub RangeInclusive<u16>);

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once('-').ok_or("must be FROM-TO")?;
        let parse = |text: &str| text.trim().parse::<u16>().map_err(|error| format!("{text:?}: {error}"));
        let (low, high) = (parse(low)?, parse(high)?);
        if low == 0 || low > high { Err("must rise from at least 1".into()) } else { Ok(Self(low..=high)) }
    }
}

/// `FILE=URL`
#[derive(Debug, Clone)]
pub struct KubeconfigTarget {
    /// Where to write.
    pub file: PathBuf,
    /// The server's URL in it.
    pub url: String,
}

impl FromStr for KubeconfigTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, url) = text.split_once('=').ok_or("must be FILE=URL")?;
        if !url.starts_with("https://") {
            return Err("the URL must begin with https://".into());
        }
        Ok(Self { file: file.into(), url: url.to_owned() })
    }
}

/// Runs the server until SIGTERM or SIGINT.
pub fn run(args: ApiserverArgs) -> Result<()> {
    // Fails only where the program has set one up already, which is as good.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: ApiserverArgs) -> Result<()> {
    if args.service_cidr.is_empty() || args.service_cidr.len() > 2 {
        bail!("--service-cidr takes one range, or one of each family");
    }
    let pki = Pki::ensure(&args.pki_dir, &server_names(&args)).context("prepare the certificates")?;
    std::fs::create_dir_all(&args.data_dir).with_context(|| format!("create {}", args.data_dir.display()))?;
    let file = args.data_dir.join("objects.redb");
    let store = Store::open(&file, HistoryLimits::default()).with_context(|| format!("open {}", file.display()))?;
    let port = args.listen.first().map_or(6443, SocketAddr::port);
    let config = ClusterConfig {
        service_ranges: args.service_cidr.clone(),
        node_ports: args.node_port_range.0.clone(),
        advertise_address: args.advertise_address,
        advertise_port: port,
    };
    let api = Api::new(store, config);
    bootstrap::bootstrap(&api).await.context("make the first objects")?;
    let listeners = args.listen.iter().map(|address| server::listen(*address)).collect::<Result<Vec<_>>>()?;
    let tls = server::tls(&pki).context("load the certificates")?;
    for target in &args.kubeconfig {
        pki.write_kubeconfig(&target.file, &target.url)?;
    }
    let collector = tokio::spawn(collector::run(api.clone()));
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        tracing::info!(address = %listener.local_addr()?, "serving");
        serving.spawn(server::serve(api.clone(), listener, tls.clone()));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("ending on SIGTERM"),
        _ = tokio::signal::ctrl_c() => tracing::info!("ending on SIGINT"),
        ended = collector => bail!("the collector ended: {ended:?}"),
        ended = serving.join_next() => bail!("a listener ended: {ended:?}"),
    }
    // Watches would keep the process: what was acknowledged is on disk, so it may just end.
    Ok(())
}

fn server_names(args: &ApiserverArgs) -> Vec<String> {
    let mut names: Vec<String> = args.san.clone();
    names.push(args.advertise_address.to_string());
    names.extend(
        args.listen
            .iter()
            .map(SocketAddr::ip)
            .filter(|address| !address.is_unspecified())
            .map(|address| address.to_string()),
    );
    names.extend(args.service_cidr.iter().map(|range| crate::services::at(*range, 1).to_string()));
    let fixed = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    names.extend(fixed.map(str::to_owned));
    names
}
