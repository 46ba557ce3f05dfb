//! What runner and shim tell each other, in files and over the shim's standard output.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;

/// `config.json`: everything the shim needs to know to start one container, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShimConfig {
    /// 64 hexadecimal digits; what Kubernetes calls the container id.
    pub id: String,
    /// Program (looked up in the environment's PATH) and its arguments; never empty.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub working_dir: Option<PathBuf>,
    pub netns: PathBuf,
    /// The container's own hostname; `None` keeps the node's (Pods on the host network).
    pub hostname: Option<String>,
    /// Files and folders to see elsewhere.
    pub mounts: Vec<Mount>,
    /// A folder whose files are seen in `/etc`, before the machine's own: for where the machine has no file that `mounts`
    /// could cover. `/etc` can't be written to then.
    #[serde(default)]
    pub etc_over: Option<PathBuf>,
    /// Show the interfaces of the container's network namespace in /sys.
    pub own_sysfs: bool,
    /// Mounts at and below this folder are taken out of the container's sight: a copy of another Pod's namespace
    /// mount would keep that namespace alive.
    pub hide: PathBuf,
    /// The cgroup (v2) that the container joins; it exists already.
    pub cgroup: Option<PathBuf>,
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub log: PathBuf,
    /// The log is rotated when it grows beyond this many bytes.
    pub log_max_bytes: u64,
    /// Hand the container a descriptor in `MALLA_READY_FD` and report when it writes there.
    pub reports_ready: bool,
    /// Drains when asked: SIGTERM, then SIGUSR2 once no node sends it new connections.
    pub built_in: bool,
    /// The Pod's addresses when the container was started.
    pub addresses: Vec<IpAddr>,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// `running.json`: written when the container's process has been started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub shim: ProcessId,
    pub container: ProcessId,
    pub started_at: Timestamp,
}

/// `exit.json`: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// As a shell says it: 128 + signal for a process that was killed.
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// Set when the process never came to run.
    pub failure: Option<StartFailure>,
}

/// Why a container could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    pub message: String,
}

/// One line of JSON on the shim's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    Started(Running),
    Ready,
    Ended(Exit),
}
