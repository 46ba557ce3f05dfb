//! The parts that a supervisor is made of, each ready to be kept.

use std::{future::Future, io, path::PathBuf};

use anyhow::Context;
use network_namespace::NetNs;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    child,
    report::{ForwardReport, Reporter},
};
use crate::{
    apply::namespace_path,
    cgroup::LabCgroup,
    files::{Folders, create_private, write_json},
    forwarder::{NamespaceSockets, Tap, serve},
    forwards::{self, Purpose},
    launch::{Launch, cni_config},
    name::FABRIC,
    state::LabState,
};

/// What every part needs.
pub struct Parts {
    pub(super) state: LabState,
    pub(super) folders: Folders,
    pub(super) reporter: Reporter,
    pub(super) cancel: CancellationToken,
    pub cgroup: LabCgroup,
    /// The program that everything is started from.
    pub malla: PathBuf,
}

impl Parts {
    pub fn new(
        state: &LabState,
        folders: &Folders,
        reporter: &Reporter,
        cancel: &CancellationToken,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            state: state.clone(),
            folders: folders.clone(),
            reporter: reporter.clone(),
            cancel: cancel.clone(),
            cgroup: LabCgroup::of(&state.spec.name).context("find the cgroup2 mount")?,
            malla: own_program().context("find the program of this process")?,
        })
    }

    /// Listens on every port and serves them until the set is dropped.
    pub async fn forwarder(&self) -> anyhow::Result<JoinSet<()>> {
        let fabric = NetNs::open(namespace_path(&self.state.spec.name.namespace(FABRIC)))?;
        let sockets = NamespaceSockets::start(fabric).context("enter the fabric")?;
        let mut bound = Vec::new();
        for (purpose, forward) in forwards::of(&self.state) {
            let Some(listening) = forward.bind().await? else { continue };
            self.reporter.update(|report| {
                report.forwards.push(ForwardReport {
                    listen: forward.listen.to_string(),
                    protocol: forward.protocol.to_string(),
                    target: forward.target.to_string(),
                    what: match purpose {
                        Purpose::Api => "Kubernetes API".to_owned(),
                        Purpose::Mapping(node) => node,
                    },
                });
            });
            bound.push(listening);
        }
        let tap = Tap::default();
        let socket = self.folders.forwarder_socket();
        let listener = Tap::listen(&socket).with_context(|| format!("listen at {}", socket.display()))?;
        let mut tasks = serve(bound, &sockets, &tap);
        tasks.spawn(tap.serve(listener));
        Ok(tasks)
    }

    /// A process, kept.
    pub fn child(&self, launch: Launch) -> impl Future<Output = ()> + Send + use<> {
        child::keep(launch, self.folders.clone(), self.reporter.clone(), self.cancel.clone())
    }

    /// Writes the node's CNI configuration, in one step: a runtime may be reading it.
    pub fn write_cni_config(&self, node: &str) -> anyhow::Result<()> {
        let folder = self.folders.cni_config_dir(node);
        create_private(&folder).with_context(|| format!("create {}", folder.display()))?;
        let file = folder.join("10-malla.conflist");
        write_json(&file, &cni_config(&self.folders, node)).with_context(|| format!("write {}", file.display()))
    }
}

/// The program of this process. When its file was replaced (a new build), the new one: children are to be of it.
pub fn own_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    match program.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(replaced) => Ok(PathBuf::from(replaced)),
        None => Ok(program),
    }
}
