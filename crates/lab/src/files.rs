//! The files of a lab: where they are, and writing them so that a crash leaves the old or the new one, never half.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::name::LabName;

/// The folder of one lab and everything in it.
#[derive(Debug, Clone)]
pub struct Folders {
    root: PathBuf,
}

impl Folders {
    /// Those of lab `name`, under [`LABS`].
    #[must_use]
    pub fn of(name: &LabName) -> Self {
        Self { root: Path::new(LABS).join(name.as_str()) }
    }

    /// The lab's own folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The [`crate::spec::LabSpec`], written before anything is made.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Where the forwarder tells of connections.
    #[must_use]
    pub fn forwarder_socket(&self) -> PathBuf {
        self.root.join("forwarder.sock")
    }

    /// For people on this machine: the API through the forwarder.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// For the nodes: the API at the control plane's address.
    #[must_use]
    pub fn node_kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig.node")
    }

    /// Certificates and keys.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Who answers for the nodes' flows: a certificate, its key, its authority.
    #[must_use]
    pub fn hubble_server(&self) -> PathBuf {
        self.pki().join("hubble-server")
    }

    /// The API's data.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.root.join("api")
    }

    /// A process's output.
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        self.root.join("logs").join(format!("{process}.log"))
    }

    /// Who a process is ([`crate::process::ProcessId`]).
    #[must_use]
    pub fn process(&self, process: &str) -> PathBuf {
        self.processes().join(format!("{process}.json"))
    }

    /// Where [`Folders::process`] files are.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes")
    }

    /// Held by the one supervisor, see flock(2).
    #[must_use]
    pub fn supervisor_lock(&self) -> PathBuf {
        self.root.join("supervise.lock")
    }

    /// What the supervisor last told of its children.
    #[must_use]
    pub fn supervisor_report(&self) -> PathBuf {
        self.root.join("supervise.json")
    }

    /// Mount point of the lab's bpffs.
    #[must_use]
    pub fn bpf(&self) -> PathBuf {
        self.root.join("bpf")
    }

    /// A node's pins.
    #[must_use]
    pub fn node_bpf(&self, node: &str) -> PathBuf {
        self.bpf().join(node)
    }

    /// The state folder of a node's agent.
    #[must_use]
    pub fn node(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node)
    }

    /// Where a node's CNI configuration is.
    #[must_use]
    pub fn cni_config_dir(&self, node: &str) -> PathBuf {
        self.node(node).join("cni/net.d")
    }

    /// The Pod runner's folders.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The names that the outside host's DNS knows.
    #[must_use]
    pub fn outside_zone(&self) -> PathBuf {
        self.root.join("outside.zone")
    }

    /// Where the nodes look names up: what is /etc/resolv.conf on a real one.
    #[must_use]
    pub fn node_resolv_conf(&self) -> PathBuf {
        self.root.join("resolv.conf")
    }

    /// Makes the folders that exist from the start; only root may look inside.
    pub fn create(&self) -> io::Result<()> {
        for folder in ["", "logs", "processes", "bpf", "pki", "api", "pods", "nodes"] {
            create_private(&self.root.join(folder))?;
        }
        Ok(())
    }
}

/// The names of labs that have left something under [`LABS`].
pub fn existing_labs() -> io::Result<Vec<LabName>> {
    let entries = match fs::read_dir(LABS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut labs = Vec::new();
    for entry in entries {
        if let Some(name) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            labs.push(name);
        }
    }
    labs.sort();
    Ok(labs)
}

/// Makes a folder and its parents, mode 0700.
pub fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(file: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(file)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a JSON file (0600) by renaming a complete one over it.
pub fn write_json<T: Serialize>(file: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut out| out.write_all(&text).and_then(|()| out.sync_data()))
        .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        let _ = fs::remove_file(&new); // the first error is the one to tell
    }
    written
}

/// All labs' folders are in here; it is gone with the last lab.
pub const LABS: &str = "/run/malla";
