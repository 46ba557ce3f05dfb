//! `malla lab up`: makes a lab, or goes on with one that is there.
//!
//! What is to be is written down before anything is made, and every step leaves alone what is so already. An `up` that
//! was interrupted, or whose machine part was broken, is therefore simply run again.

use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};
use tokio::time::Instant;

use crate::{
    apply,
    cgroup::LabCgroup,
    cli::UpArgs,
    files::{Folders, LABS, create_private},
    forwarder::free_port,
    forwards, kind_file,
    lock::FolderLock,
    pins, plan, preflight,
    process::ProcessId,
    progress::{Progress, note},
    shared,
    spec::{LOOPBACK, LabSpec, Protocol, Requested},
    state::LabState,
    summary,
    supervise::{
        self, SUPERVISOR,
        child::open_log,
        parts::own_program,
        report::{Phase, Report},
    },
};

/// Makes the lab that was asked for.
pub fn run(args: UpArgs) -> anyhow::Result<()> {
    preflight::check()?;
    let wait = args.wait.then(|| Duration::from_secs(args.timeout));
    let (asked, wanted, notes) = resolve(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let name = wanted.name.clone();
        tokio::select! {
            result = up(asked, wanted, &notes, wait) => result,
            signal = tokio::signal::ctrl_c() => {
                signal?;
                bail!("interrupted; `malla lab up --name {name}` goes on from here, `malla lab down --name {name}` removes it")
            }
        }
    })
}

/// Whether the user said how the lab is to be, or only which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    ForThisLab,
    ForAnyLabOfThatName,
}

fn resolve(args: UpArgs) -> anyhow::Result<(Asked, LabSpec, Vec<String>)> {
    let requested = Requested {
        name: args.name,
        nodes: args.nodes,
        kind: args.config.as_deref().map(kind_file::read).transpose()?,
        pod_subnet: args.pod_subnet,
        service_subnet: args.service_subnet,
        node_subnet: args.node_subnet,
        routing: args.routing,
        api_port: args.api_port,
    };
    let asked = match &requested {
        Requested {
            name: _,
            nodes: None,
            kind: None,
            pod_subnet: None,
            service_subnet: None,
            node_subnet: None,
            routing: None,
            api_port: None,
        } => Asked::ForAnyLabOfThatName,
        _ => Asked::ForThisLab,
    };
    let (spec, notes) = requested.resolve()?;
    Ok((asked, spec, notes))
}

async fn up(asked: Asked, wanted: LabSpec, notes: &[String], wait: Option<Duration>) -> anyhow::Result<()> {
    let name = wanted.name.clone();
    let folders = Folders::of(&name);
    create_private(LABS.as_ref()).with_context(|| format!("create {LABS}"))?;
    let Some(_lock) = FolderLock::try_now(folders.root())? else {
        bail!("another `malla lab up` or `down` is working on lab {name}: wait for it to end");
    };
    notes.iter().for_each(|text| note(text));
    let prepared = prepare(asked, wanted, &folders).await;
    if prepared.is_err() && !folders.state().exists() {
        // Nothing was made but the folder for the lock.
        let _ = fs::remove_dir(folders.root());
        let _ = fs::remove_dir(LABS);
    }
    let state = prepared?;
    let mut progress = Progress::start();
    let made = make(&state, &folders, wait, &mut progress).await;
    match made {
        Ok(nodes) => {
            let took = progress.finish();
            summary::print(&state, &folders, &nodes, wait.is_some(), took);
            Ok(())
        }
        Err(error) => {
            progress.fail();
            Err(error.context(format!(
                "lab {name} is not complete: `malla lab up --name {name}` tries again, `malla lab down --name {name}` removes it"
            )))
        }
    }
}

/// Finds the lab that is there, or decides how the new one is to be. Makes nothing but `state.json`.
async fn prepare(asked: Asked, wanted: LabSpec, folders: &Folders) -> anyhow::Result<LabState> {
    let name = wanted.name.clone();
    let state = match LabState::load(name.as_str(), folders)? {
        Some(state) if asked == Asked::ForAnyLabOfThatName || state.spec.satisfies(&wanted) => state,
        Some(_) => bail!(
            "lab {name} is there with other settings: remove it first with `malla lab down --name {name}`, or choose another --name"
        ),
        None => {
            if let [first, ..] = apply::existing_namespaces(&name)?.as_slice() {
                bail!(
                    "namespace {first} is there already: `malla lab down --name {name}` removes what a lab of that name left, or choose another --name"
                );
            }
            with_ports(wanted).await?
        }
    };
    if !supervisor_runs(folders) {
        // Before anything is made: every port must be free for us.
        for (_, forward) in forwards::of(&state) {
            forward.bind().await?;
        }
    }
    folders.create().with_context(|| format!("create {}", folders.root().display()))?;
    state.save(folders).with_context(|| format!("write {}", folders.state().display()))?;
    Ok(state)
}

/// Picks the ports that were left open.
async fn with_ports(mut spec: LabSpec) -> anyhow::Result<LabState> {
    let mut taken: Vec<u16> = spec.ports.iter().filter_map(|mapping| mapping.host_port).collect();
    for mapping in spec.ports.iter_mut().filter(|mapping| mapping.host_port.is_none()) {
        let port = free_port(mapping.protocol, &mapping.listen, None).await?;
        mapping.host_port = Some(port);
        taken.push(port);
    }
    let api_port = match spec.api_port {
        Some(port) => port,
        None => {
            let preferred = Some(PREFERRED_API_PORT).filter(|port| !taken.contains(port));
            free_port(Protocol::Tcp, &LOOPBACK, preferred).await?
        }
    };
    spec.api_port = Some(api_port);
    Ok(LabState::new(spec, api_port))
}

/// Makes what is missing. Returns the nodes as the API tells them, if they were waited for.
async fn make(
    state: &LabState,
    folders: &Folders,
    wait: Option<Duration>,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Node>> {
    let spec = &state.spec;
    progress.step("namespaces, fabric and outside host");
    shared::prepare()?;
    apply::create(&plan::topology(spec))?;
    progress.step("bpffs and cgroups");
    pins::mount_bpffs(&folders.bpf(), spec.name.as_str()).context("mount a bpffs")?;
    let cgroup = LabCgroup::of(&spec.name)?;
    for node in &spec.nodes {
        for folder in [folders.node_bpf(&node.name), folders.node(&node.name)] {
            create_private(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        cgroup.create(&node.name).with_context(|| format!("create {}", cgroup.node(&node.name).display()))?;
    }
    progress.step("Kubernetes API, nodes and agents");
    let mut supervisor = Supervisor::find_or_start(state, folders)?;
    supervisor.wait_until_running(folders, progress).await?;
    let client = supervise::connect(folders).await?;
    match wait {
        Some(limit) => {
            progress.step("nodes Ready");
            wait_for_nodes(&client, spec, folders, &mut supervisor, limit, progress).await
        }
        None => Ok(Vec::new()),
    }
}

fn supervisor_runs(folders: &Folders) -> bool {
    ProcessId::recorded(&folders.process(SUPERVISOR)).is_some_and(|id| id.is_running())
}

/// The supervisor that is there, or the one that was just started.
struct Supervisor {
    started: Option<Child>,
}

impl Supervisor {
    fn find_or_start(state: &LabState, folders: &Folders) -> anyhow::Result<Self> {
        if supervisor_runs(folders) {
            return Ok(Self { started: None });
        }
        // What the last one told is of no use any more.
        match fs::remove_file(folders.supervisor_report()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let log = open_log(&folders.log(SUPERVISOR)).context("open the supervisor's log")?;
        let child = Command::new(own_program()?)
            .args(["lab", "supervise", "--name", state.spec.name.as_str()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the supervisor")?;
        Ok(Self { started: Some(child) })
    }

    async fn wait_until_running(&mut self, folders: &Folders, progress: &mut Progress) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(report) = Report::read(&folders.supervisor_report()) {
                match report.phase {
                    Phase::Running => return Ok(()),
                    Phase::StartingApi => progress.detail("starting the API"),
                    Phase::CreatingNodes => progress.detail("creating the nodes"),
                    Phase::Stopping => {}
                }
                if let Some(child) = report.children.iter().find(|child| child.restarts >= MANY_RESTARTS) {
                    let log = folders.log(&child.name);
                    bail!("{} ends again and again: {}", child.name, last_words(&log));
                }
            }
            self.check(folders)?;
            if Instant::now() > deadline {
                bail!(
                    "the supervisor is not done after {} s, see {}",
                    START_LIMIT.as_secs(),
                    folders.log(SUPERVISOR).display()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it still runs.
    fn check(&mut self, folders: &Folders) -> anyhow::Result<()> {
        let Some(child) = &mut self.started else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            let how = status.signal().map_or(String::new(), |signal| format!(" (signal {signal})"));
            bail!("the supervisor ended{how}: {}", last_words(&folders.log(SUPERVISOR)));
        }
        Ok(())
    }
}

async fn wait_for_nodes(
    client: &Client,
    spec: &LabSpec,
    folders: &Folders,
    supervisor: &mut Supervisor,
    limit: Duration,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Node>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let deadline = Instant::now() + limit;
    loop {
        supervisor.check(folders)?;
        let list = nodes.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let ready = |name: &str| list.iter().any(|node| node.metadata.name.as_deref() == Some(name) && is_ready(node));
        let missing: Vec<&str> = spec.nodes.iter().map(|node| node.name.as_str()).filter(|name| !ready(name)).collect();
        if missing.is_empty() {
            return Ok(list);
        }
        progress.detail(&format!(
            "{} of {}, waiting for {}",
            spec.nodes.len() - missing.len(),
            spec.nodes.len(),
            missing.join(", ")
        ));
        if Instant::now() > deadline {
            bail!(
                "not Ready after {} s: {} (see malla lab status and {})",
                limit.as_secs(),
                missing.join(", "),
                folders.root().join("logs").display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The node's Ready condition.
#[must_use]
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The last line of a log, and where the rest is.
fn last_words(log: &std::path::Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{} (all of it in {})", line.trim(), log.display()),
        None => format!("see {}", log.display()),
    }
}

/// kubectl's and everybody's habit.
const PREFERRED_API_PORT: u16 = 6443;
/// An API that is not there by then has a reason, which its log tells.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A child that was started so often does not start.
const MANY_RESTARTS: u32 = 8;
const POLL: Duration = Duration::from_millis(50);
