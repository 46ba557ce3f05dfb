//! The lab's cgroups: one for each node, and below it those that the Pod runner makes for Pods.
//!
//! A node's cgroup is where its agent attaches the socket hooks, so whatever runs in it has the node's view of Services.
//! The agents themselves stay outside: they reach the API by its own address, never through the table they fill.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::name::LabName;

/// The cgroup of one lab, `<cgroup2>/malla-<lab>`.
#[derive(Debug, Clone)]
pub struct LabCgroup {
    root: PathBuf,
}

impl LabCgroup {
    /// Finds the machine's cgroup2 mount; does not create anything.
    pub fn of(name: &LabName) -> io::Result<Self> {
        let mount = mount_point()?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup2 is mounted"))?;
        Ok(Self { root: mount.join(format!("malla-{name}")) })
    }

    /// The lab's cgroup itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A node's cgroup.
    #[must_use]
    pub fn node(&self, node: &str) -> PathBuf {
        self.root.join(node)
    }

    /// Makes the cgroup of `node`; one that is there is fine.
    pub fn create(&self, node: &str) -> io::Result<()> {
        fs::create_dir_all(self.node(node))
    }

    /// Whether the calling process is in it or below.
    pub fn holds_us(&self) -> io::Result<bool> {
        // cgroups(7): version 2 is the line `0::<path below the mount>`.
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let name = self.root.file_name().unwrap_or_default();
        Ok(Path::new(own).starts_with(name))
    }

    /// Kills every process in it and below, without a race against its forks (cgroup.kill, Linux 5.14).
    pub fn kill_all(&self) -> io::Result<()> {
        match fs::write(self.root.join("cgroup.kill"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes it and everything below; processes in it must have been killed, their end is awaited.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + EMPTY_LIMIT;
        loop {
            match remove_tree(&self.root) {
                // Killed processes leave their cgroup only once they are reaped by the kernel.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    std::thread::sleep(EMPTY_POLL);
                }
                other => return other,
            }
        }
    }
}

/// Removes cgroups children first; the files in them go by themselves.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1.
pub fn mount_point() -> io::Result<Option<PathBuf>> {
    Ok(find_cgroup2(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// proc_pid_mountinfo(5): the mount point is field 5, the type follows the `-` after the optional fields.
fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_cgroup2 = after.split(' ').next()? == "cgroup2";
        let whole_tree = before.split(' ').nth(3)? == "/";
        (is_cgroup2 && whole_tree).then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
    })
}

/// A killed process with much memory may take this long.
const EMPTY_LIMIT: Duration = Duration::from_secs(5);
const EMPTY_POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_beside_version_1() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(find_cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_cgroup2("1 2 0:1 / / rw - ext4 /dev/vda rw\n"), None);
        // A container's view of somebody's subtree is no place for us.
        assert_eq!(find_cgroup2("9 2 0:1 /a/b /x rw - cgroup2 cgroup2 rw\n"), None);
    }
}
