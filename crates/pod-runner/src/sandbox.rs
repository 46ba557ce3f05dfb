//! A Pod's sandbox: its folder, network namespace and CNI attachment.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use cni_protocol::PortMapping;
use jiff::Timestamp;
use network_namespace::NetNs;
use rustix::{
    io::Errno,
    mount::{UnmountFlags, mount_bind, unmount},
};
use serde::{Deserialize, Serialize};

use crate::{
    cni::{Attachment, CniError, Network, addresses},
    files::{PodDir, entries, read_json, write_json},
};

/// `sandbox.json`: what a new runner must know to take a Pod over, or to take it down without its Pod object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    pub node: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub host_network: bool,
    /// The first container of the specification: the one meant when nobody says which.
    pub default_container: Option<String>,
    pub created_at: Timestamp,
    /// Ports of the node that are to lead here (`hostPort`).
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    /// None on the host network.
    pub attachment: Option<Attachment>,
}

/// Why a sandbox could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make a network namespace")]
    Namespace(#[from] network_namespace::Error),
    #[error("failed to setup network for sandbox {id:?}: {source}")]
    Network { id: String, source: CniError },
}

impl Sandbox {
    /// The sandboxes of `node` on disk.
    #[must_use]
    pub fn of_node(pods: &Path, node: &str) -> Vec<Self> {
        entries(pods)
            .filter_map(|folder| read_json::<Self>(&PodDir(folder).sandbox()).ok().flatten())
            .filter(|sandbox| sandbox.node == node)
            .collect()
    }

    /// Writes the record; whatever is attached later can be found again from here on.
    pub fn save(&self, dir: &PodDir) -> Result<(), SandboxError> {
        fs::create_dir_all(dir.etc()).map_err(file("create", &dir.etc()))?;
        write_json(&dir.sandbox(), self).map_err(file("write", &dir.sandbox()))
    }

    /// Whether the network has been set up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.host_network || self.attachment.as_ref().is_some_and(|attachment| attachment.result.is_some())
    }

    /// The Pod's addresses; those of the node on the host network.
    #[must_use]
    pub fn addresses(&self, host_ips: &[IpAddr]) -> Vec<IpAddr> {
        if self.host_network {
            return host_ips.to_vec();
        }
        self.attachment.as_ref().and_then(|attachment| attachment.result.as_ref()).map(addresses).unwrap_or_default()
    }

    /// Makes the namespace and attaches it. Safe to repeat: whatever an earlier try left is removed first.
    pub async fn set_up(&mut self, dir: &PodDir, network: &Network) -> Result<(), SandboxError> {
        if self.is_ready() {
            // On the host network there is nothing to make but the record.
            return self.save(dir);
        }
        self.clear_network(dir, network).await?;
        self.save(dir)?;
        make_netns(&dir.netns())?;
        let mut attachment = Attachment::new(random_id(), &dir.netns(), &self.namespace, &self.name, &self.uid);
        attachment.port_mappings = self.port_mappings.clone();
        self.attachment = Some(attachment.clone());
        // Before ADD: if this process dies in the middle of it, its successor knows what to DEL.
        self.save(dir)?;
        let result = network
            .add(&attachment)
            .await
            .map_err(|source| SandboxError::Network { id: attachment.container_id.clone(), source })?;
        attachment.result = Some(result);
        self.attachment = Some(attachment);
        self.save(dir)
    }

    /// Detaches and removes the namespace. The attachment is forgotten only when DEL has succeeded.
    pub async fn clear_network(&mut self, dir: &PodDir, network: &Network) -> Result<(), SandboxError> {
        if let Some(attachment) = &self.attachment {
            network
                .del(attachment)
                .await
                .map_err(|source| SandboxError::Network { id: attachment.container_id.clone(), source })?;
            self.attachment = None;
            self.save(dir)?;
        }
        remove_netns(&dir.netns())
    }
}

/// 64 hexadecimal digits, as container runtimes name sandboxes and containers.
#[must_use]
pub fn random_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn make_netns(path: &Path) -> Result<(), SandboxError> {
    remove_netns(path)?;
    fs::File::create(path).map_err(file("create", path))?;
    let netns = NetNs::create()?;
    // Through the descriptor: this thread stays in its own namespace.
    let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&netns)));
    mount_bind(source, path).map_err(io::Error::from).map_err(file("mount a network namespace on", path))?;
    bring_up_loopback(&netns)
}

/// Removes the namespace's name; idempotent.
pub fn remove_netns(path: &Path) -> Result<(), SandboxError> {
    loop {
        match unmount(path, UnmountFlags::DETACH) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(file("unmount", path)(errno.into())),
        }
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file("remove", path)(error)),
    }
}

/// The runtime brings `lo` up itself, as containerd does since 2.0 (before that through the loopback plugin).
fn bring_up_loopback(netns: &NetNs) -> Result<(), SandboxError> {
    netns.run(set_loopback_up)?.map_err(file("bring up loopback in", Path::new("the sandbox")))
}

fn set_loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: SIOCGIFFLAGS and SIOCSIFFLAGS (netdevice(7)) read and write one `ifreq`, which lives for both calls;
    // the flags are the union's member that both use.
    unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) == -1 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError + use<> {
    let path = path.to_owned();
    move |source| SandboxError::File { operation, path, source }
}
