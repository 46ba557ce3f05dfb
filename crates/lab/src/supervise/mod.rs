//! `malla lab supervise`: keeps a lab alive. One per lab.
//!
//! ```text
//! forwarder ← machine's loopback          apiserver ┐ processes of their own: they outlive the supervisor, and the
//! controllers, Pod runners (tasks)        agents    │ next one adopts them by their files
//!                                         DNS       ┘
//! ```
//! SIGTERM ends the supervisor alone; ending the rest is `malla lab down`'s.

mod backoff;
pub mod child;
mod cluster;
mod dns;
pub mod nodes;
pub mod parts;
pub mod report;
mod tasks;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use anyhow::{Context, bail};
use kube::{Client, Config, config::Kubeconfig};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::report::{Phase, Reporter};
use crate::{files::Folders, launch, name::LabName, process::ProcessId, state::LabState};

/// What the supervisor's own files are called.
pub const SUPERVISOR: &str = "supervise";

/// Runs until SIGTERM or SIGINT.
pub fn run(name: &LabName) -> anyhow::Result<()> {
    // Away from the terminal that started us: its Ctrl-C is not ours. Fails harmlessly if we lead a session already.
    let _ = rustix::process::setsid();
    let folders = Folders::of(name);
    let state = LabState::require(name.as_str(), &folders)?;
    let Some(_lock) = only_one(&folders)? else { bail!("lab {name} has a supervisor already") };
    let id = ProcessId::current()?;
    id.record(&folders.process(SUPERVISOR))?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reporter = Reporter::new(folders.supervisor_report(), id);
    let result = runtime.block_on(supervise(&state, &folders, reporter));
    // What hangs ends with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn supervise(state: &LabState, folders: &Folders, reporter: Reporter) -> anyhow::Result<()> {
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut kept = JoinSet::new();
    let result = tokio::select! {
        result = start(state, folders, &reporter, &cancel, &mut kept) => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    match &result {
        Ok(()) => tracing::info!("stopping; the processes go on"),
        Err(error) => tracing::error!("stopping: {error:#}"),
    }
    reporter.update(|report| report.phase = Phase::Stopping);
    cancel.cancel();
    let all_ended = async { while kept.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_LIMIT, all_ended).await; // see `run`
    result
}

/// Starts everything in order, then waits for ever.
async fn start(
    state: &LabState,
    folders: &Folders,
    reporter: &Reporter,
    cancel: &CancellationToken,
    kept: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let parts = parts::Parts::new(state, folders, reporter, cancel)?;
    let _forwarder = parts.forwarder().await?;
    kept.spawn(parts.child(launch::apiserver(state, folders, &parts.malla)));
    dns::write_files(folders)?;
    kept.spawn(parts.child(launch::outside_dns(state, folders, &parts.malla)));
    let client = wait_for_api(folders).await?;

    while let Err(error) = custom_resources::install(&client).await {
        tracing::warn!(%error, "install the custom resource definitions");
        tokio::time::sleep(RETRY).await;
    }
    reporter.update(|report| report.phase = Phase::CreatingNodes);
    while let Err(error) = nodes::create_all(&client, &state.spec).await {
        tracing::warn!(%error, "create the nodes");
        tokio::time::sleep(RETRY).await;
    }
    while let Err(error) = dns::publish(&client, &state.spec).await {
        tracing::warn!(%error, "publish the Service of the DNS");
        tokio::time::sleep(RETRY).await;
    }
    kept.spawn(parts.child(launch::cluster_dns(state, folders, &parts.malla)));
    for node in &state.spec.nodes {
        parts.write_cni_config(&node.name)?;
        kept.spawn(parts.child(launch::agent(state, folders, &parts.cgroup, &parts.malla, &node.name)));
    }
    kept.spawn(parts.controllers(client.clone()));
    for index in 0..state.spec.nodes.len() {
        kept.spawn(parts.pod_runner(client.clone(), index));
    }
    reporter.update(|report| report.phase = Phase::Running);
    std::future::pending().await
}

/// A client for the lab's API, once it answers.
async fn wait_for_api(folders: &Folders) -> anyhow::Result<Client> {
    loop {
        match connect(folders).await {
            Ok(client) => match client.apiserver_version().await {
                Ok(_) => return Ok(client),
                Err(error) => tracing::debug!(%error, "the API does not answer yet"),
            },
            Err(error) => tracing::debug!("no kubeconfig yet: {error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A client by the machine's own kubeconfig, through the forwarder.
pub async fn connect(folders: &Folders) -> anyhow::Result<Client> {
    let file = folders.kubeconfig();
    let kubeconfig = Kubeconfig::read_from(&file).with_context(|| format!("read {}", file.display()))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    // A proxy in the environment is for what lies outside; this API is on the machine itself.
    config.proxy_url = None;
    Ok(Client::try_from(config)?)
}

/// Takes the lock that tells supervisors of one lab apart; held until the file is dropped, at the latest by the kernel.
fn only_one(folders: &Folders) -> io::Result<Option<File>> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folders.supervisor_lock())?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// A forwarded connection costs two descriptors: take all that we may have. Children inherit it.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "raise the limit of open files");
    }
}

/// Between attempts to reach an API that is just starting.
const RETRY: Duration = Duration::from_millis(50);
/// What runs inside the supervisor has no long work to finish.
const STOP_LIMIT: Duration = Duration::from_secs(3);
