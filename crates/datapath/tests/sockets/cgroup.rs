//! Where the sockets of these tests are.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A process is in one cgroup with all its threads, so one test after the other has one.
static ONE: Mutex<()> = Mutex::new(());

/// A cgroup of the test's own, with this process in it; given back when dropped.
pub struct Cgroup {
    pub path: PathBuf,
    before: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

const PREFIX: &str = "malla-sockets-";

impl Cgroup {
    /// Makes it, empty, and clears what a killed run left.
    pub fn new() -> Self {
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts
            .lines()
            .find_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                after.starts_with("cgroup2 ").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or("/")))
            })
            .expect("a cgroup2 mount");
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own =
            own.lines().find_map(|line| line.strip_prefix("0::/")).expect("a place in the cgroup2 tree").to_owned();
        for entry in std::fs::read_dir(&root).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(pid) = name.strip_prefix(PREFIX)
                && !Path::new("/proc").join(pid).exists()
            {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        let path = root.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self { _turn: turn, path, before: root.join(own) }
    }

    pub fn enter(&self) {
        std::fs::write(self.path.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }

    pub fn leave(&self) {
        let _ = std::fs::write(self.before.join("cgroup.procs"), std::process::id().to_string());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.leave();
        let _ = std::fs::remove_dir(&self.path);
    }
}
