//! `malla lab node-shell`: a process with a node's view of the network and of Services.

use std::{fs, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, bail};
use network_namespace::NetNs;

use crate::{
    apply::namespace_path,
    cgroup::LabCgroup,
    cli::NodeShellArgs,
    files::Folders,
    name::{FABRIC, OUTSIDE},
    preflight::require_root,
    state::LabState,
};

/// Becomes the shell or command: its exit status is this process's own.
pub fn run(args: &NodeShellArgs) -> anyhow::Result<()> {
    require_root()?;
    let name = &args.which.name;
    let folders = Folders::of(name);
    let state = LabState::require(name.as_str(), &folders)?;
    let is_node = state.spec.node_index(&args.node).is_some();
    if !is_node && ![FABRIC, OUTSIDE].contains(&args.node.as_str()) {
        let nodes: Vec<_> = state.spec.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!("lab {name} has no node {:?}: write one of {}, {FABRIC}, {OUTSIDE}", args.node, nodes.join(", "));
    }
    let mut command = command(args);
    command.env("MALLA_LAB", name.as_str()).env("MALLA_NODE", &args.node).env("PS1", format!("[{}] \\w # ", args.node));
    if is_node {
        command
            .env("KUBECONFIG", folders.node_kubeconfig())
            .env("MALLA_BPF_DIR", folders.node_bpf(&args.node))
            .env("MALLA_STATE_DIR", folders.node(&args.node));
    }
    // The node's Services are translated for whoever is in its cgroup, and `down` ends whoever is in the lab's.
    let procs = LabCgroup::of(name)?.node(&args.node).join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("enter the node's cgroup by {}", procs.display()))?;
    // There is one thread, and it becomes the command.
    NetNs::open(namespace_path(&name.namespace(&args.node)))?.enter_current_thread()?;
    let error = command.exec();
    Err(error).with_context(|| format!("run {}", command.get_program().display()))
}

fn command(args: &NodeShellArgs) -> Command {
    match args.command.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        None => Command::new(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())),
    }
}
