//! A cgroup of the program's own, for the socket hooks: whoever is in it gets services translated by socket.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Given back when dropped.
pub struct Cgroup {
    path: PathBuf,
    before: PathBuf,
}

const PREFIX: &str = "malla-bench-";

impl Cgroup {
    /// Makes an empty one, and removes what a killed run left.
    pub fn new(name: &str) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
        let root = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup2 ").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or("/")))
        });
        let root = root.context("no cgroup2 is mounted: mount one, or boot with the unified hierarchy")?;
        let own = std::fs::read_to_string("/proc/self/cgroup").context("read the own cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
        for entry in std::fs::read_dir(&root).context("list cgroups")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        let path = root.join(format!("{PREFIX}{}-{name}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make cgroup {}", path.display()))?;
        Ok(Self { path, before: root.join(own) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` with the whole program inside.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        move_to(&self.path)?;
        let done = work();
        move_to(&self.before)?;
        Ok(done)
    }
}

fn move_to(cgroup: &Path) -> Result<()> {
    let pid = std::process::id().to_string();
    std::fs::write(cgroup.join("cgroup.procs"), pid).with_context(|| format!("enter cgroup {}", cgroup.display()))
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = move_to(&self.before);
        let _ = std::fs::remove_dir(&self.path);
    }
}
