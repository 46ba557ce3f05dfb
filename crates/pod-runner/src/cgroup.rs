//! Cgroups of Pods and containers (version 2): the agent's socket hooks sit on the node's, and everything below
//! inherits them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

/// The cgroup of a Pod under its node's.
#[must_use]
pub fn of_pod(node: &Path, uid: &str) -> PathBuf {
    node.join(format!("pod-{uid}"))
}

/// Kills every process in the cgroup and below, and removes it. Idempotent.
pub async fn remove(cgroup: &Path) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        if !cgroup.exists() {
            return Ok(());
        }
        // Since Linux 5.14; the whole tree at once, so that nothing can fork away.
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        match remove_tree(cgroup) {
            Ok(()) => return Ok(()),
            // EBUSY: a process is still on its way out.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => sleep(PAUSE).await,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    remove_tree(cgroup)
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    for child in crate::files::entries(cgroup).filter(|path| path.is_dir()) {
        remove_tree(&child)?;
    }
    fs::remove_dir(cgroup)
}

const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
