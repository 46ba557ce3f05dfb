//! `malla lab up`: makes a lab, or goes on with one that is there.
//!
//! What is to be is written down before anything is made, and every step leaves alone what is so already. An `up` that
//! was interrupted, or whose machine part was broken, is therefore simply run again.

use std::{fs, time::Duration};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Node;

use crate::{
    apply,
    cgroup::LabCgroup,
    cli::UpArgs,
    files::{Folders, LABS, create_private},
    forwarder::free_port,
    forwards, kind_file, launch,
    lock::FolderLock,
    name::{CONTROL_PLANE, FABRIC, OUTSIDE},
    pins, plan, preflight,
    process::ProcessId,
    progress::{Progress, note},
    ready, shared,
    spec::{LOOPBACK, LabSpec, Protocol, Requested},
    state::LabState,
    summary, supervise,
    supervisor::{self, Supervisor},
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
        identity_labels: args.identity_labels,
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
            identity_labels,
        } if identity_labels.is_empty() => Asked::ForAnyLabOfThatName,
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
    must_be_whole(&state, folders)?;
    if !supervisor::runs(folders) {
        // Before anything is made: every port must be free for us.
        for (_, forward) in forwards::of(&state) {
            forward.bind().await?;
        }
    }
    folders.create().with_context(|| format!("create {}", folders.root().display()))?;
    state.save(folders).with_context(|| format!("write {}", folders.state().display()))?;
    Ok(state)
}

/// A namespace that vanished is made again, but not under processes that still live in the old one: they would go on
/// there, unreachable.
fn must_be_whole(state: &LabState, folders: &Folders) -> anyhow::Result<()> {
    let name = &state.spec.name;
    let members = std::iter::once(CONTROL_PLANE).map(|node| (node, "apiserver".to_owned()));
    let agents = state.spec.nodes.iter().map(|node| (node.name.as_str(), launch::agent_name(&node.name)));
    for (node, process) in members.chain(agents) {
        let namespace = name.namespace(node);
        let runs = ProcessId::recorded(&folders.process(&process)).is_some_and(|id| id.is_running());
        if runs && !apply::namespace_path(&namespace).exists() {
            bail!(
                "namespace {namespace} is gone while {process} still runs in it: `malla lab down --name {name}`, then `up` again"
            );
        }
    }
    Ok(())
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
    }
    // Fabric and outside host have theirs so that what was started there by `node-shell` is found again by `down`.
    for member in spec.nodes.iter().map(|node| node.name.as_str()).chain([FABRIC, OUTSIDE]) {
        cgroup.create(member).with_context(|| format!("create {}", cgroup.node(member).display()))?;
    }
    progress.step("Kubernetes API, nodes and agents");
    let mut supervisor = Supervisor::find_or_start(state, folders)?;
    supervisor.wait_until_running(folders, progress).await?;
    let client = supervise::connect(folders).await?;
    match wait {
        Some(limit) => {
            progress.step("nodes Ready");
            ready::wait_for_nodes(&client, spec, folders, &mut supervisor, limit, progress).await
        }
        None => Ok(Vec::new()),
    }
}

/// kubectl's and everybody's habit.
const PREFERRED_API_PORT: u16 = 6443;
