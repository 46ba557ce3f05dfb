//! Who lives in a network namespace.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt};

use network_namespace::NetNsId;

/// A process inside one of the namespaces that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    pub pid: i32,
    /// Its command's name, at most 15 bytes (proc_pid_comm(5)).
    pub command: String,
    pub namespace: NetNsId,
}

/// Every process inside one of `namespaces`. Processes that come and go meanwhile may be missed.
#[must_use]
pub fn residents(namespaces: &BTreeSet<NetNsId>) -> Vec<Resident> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(metadata) = fs::metadata(entry.path().join("ns/net")) else { continue };
        let namespace = NetNsId { device: metadata.dev(), inode: metadata.ino() };
        if namespaces.contains(&namespace) {
            let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim_end().to_owned();
            found.push(Resident { pid, command, namespace });
        }
    }
    found.sort_by_key(|resident| resident.pid);
    found
}
