//! What happens between fork and exec: the child, already process 1 of its own pid namespace, takes its place in the
//! other namespaces. The shim has one thread, so that allocating here is sound.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use network_namespace::NetNs;
use rustix::{
    io::{FdFlags, fcntl_setfd, write},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount},
    process::{Signal, set_parent_process_death_signal, setsid, umask},
    system::sethostname,
};

use super::records::{Mount, ShimConfig};

/// Everything the child needs, opened before the fork.
#[derive(Debug)]
pub struct Child {
    pub netns: NetNs,
    pub cgroup_procs: Option<OwnedFd>,
    pub ready: Option<OwnedFd>,
    /// Takes the name of the step that failed: exec's own error channel carries a number only.
    pub failed_step: OwnedFd,
    pub hostname: Option<String>,
    pub mounts: Vec<Mount>,
    pub etc_over: Option<PathBuf>,
    pub own_sysfs: bool,
    pub hide: PathBuf,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Child {
    /// Opens what `config` names.
    pub fn open(config: &ShimConfig, ready: Option<OwnedFd>, failed_step: OwnedFd) -> Result<Self, String> {
        let netns = NetNs::open(&config.netns).map_err(|error| error.to_string())?;
        let cgroup_procs = match &config.cgroup {
            Some(cgroup) => {
                let path = cgroup.join("cgroup.procs");
                let file = fs::OpenOptions::new().write(true).open(&path);
                Some(file.map_err(|error| format!("open {}: {error}", path.display()))?.into())
            }
            None => None,
        };
        Ok(Self {
            netns,
            cgroup_procs,
            ready,
            failed_step,
            hostname: config.hostname.clone(),
            mounts: config.mounts.clone(),
            etc_over: config.etc_over.clone(),
            own_sysfs: config.own_sysfs,
            hide: config.hide.clone(),
            user: config.user,
            group: config.group,
        })
    }

    /// Runs in the child.
    pub fn take_place(&self) -> io::Result<()> {
        let step = |name: &str, result: io::Result<()>| {
            if result.is_err() {
                let _ = write(&self.failed_step, name.as_bytes());
            }
            result
        };
        // Nobody could end or log the container without its shim, so it must not outlive it.
        step("tie the process to its shim", set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into))?;
        step("start a session", setsid().map(drop).map_err(Into::into))?;
        if let Some(procs) = &self.cgroup_procs {
            step("join the Pod's cgroup", write(procs, b"0").map(drop).map_err(Into::into))?;
        }
        step("make mount and uts namespaces", unshare_mount_and_uts())?;
        step("enter the Pod's network namespace", self.netns.enter_raw())?;
        // Mounts made here stay here; mounts that the machine removes disappear here too.
        let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        step("make mounts private", mount_change("/", propagation).map_err(Into::into))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        step("mount /proc", mount("proc", "/proc", "proc", flags, None).map_err(Into::into))?;
        if self.own_sysfs {
            let flags = flags | MountFlags::RDONLY;
            step("mount /sys", mount("sysfs", "/sys", "sysfs", flags, None).map_err(Into::into))?;
        }
        if let Some(folder) = &self.etc_over {
            step("lay the Pod's files over /etc", etc_overlay(folder))?;
        }
        for bind in &self.mounts {
            step(&format!("mount {}", bind.target.display()), bind_mount(bind))?;
        }
        step("hide the lab's mounts", hide_mounts(&self.hide))?;
        if let Some(hostname) = &self.hostname {
            step("set the hostname", sethostname(hostname.as_bytes()).map_err(Into::into))?;
        }
        if let Some(ready) = &self.ready {
            step("keep the ready descriptor", fcntl_setfd(ready.as_fd(), FdFlags::empty()).map_err(Into::into))?;
        }
        umask(rustix::fs::Mode::from_raw_mode(0o022));
        step("become the container's user", self.become_user())
    }

    fn become_user(&self) -> io::Result<()> {
        if self.user.is_none() && self.group.is_none() {
            return Ok(());
        }
        let group = self.group.unwrap_or(0);
        // SAFETY: plain system calls on integers; this process has one thread, so no other thread keeps old ids.
        let results = unsafe { [libc::setgroups(1, &raw const group), libc::setgid(group)] };
        if results.contains(&-1) {
            return Err(io::Error::last_os_error());
        }
        if let Some(user) = self.user {
            // SAFETY: as above.
            if unsafe { libc::setuid(user) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

fn unshare_mount_and_uts() -> io::Result<()> {
    // SAFETY: the process has one thread and shares no descriptor table; only its view of mounts and hostname changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Two lower layers and no upper one: nothing is ever written (kernel: `Documentation/filesystems/overlayfs.rst`).
fn etc_overlay(folder: &Path) -> io::Result<()> {
    let layers = CString::new(format!("lowerdir={}:/etc", folder.display()))?;
    mount("overlay", "/etc", "overlay", MountFlags::RDONLY, Some(layers.as_c_str()))?;
    Ok(())
}

fn bind_mount(bind: &Mount) -> io::Result<()> {
    let source = c_path(&bind.source)?;
    let target = c_path(&bind.target)?;
    mount_bind(&source, &target)?;
    if bind.read_only {
        // A bind mount takes its flags only with a second call (mount(2)).
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"")?;
    }
    Ok(())
}

/// Unmounts, in this mount namespace only, what lies at or below `hide`, and every namespace file anywhere.
fn hide_mounts(hide: &Path) -> io::Result<()> {
    let table = fs::read("/proc/self/mountinfo")?;
    let table = String::from_utf8_lossy(&table);
    let mut targets: Vec<PathBuf> = table.lines().filter_map(|line| hidden(line, hide)).collect();
    // Children before parents: the table lists parents first.
    targets.reverse();
    for target in targets {
        match unmount(&target, UnmountFlags::DETACH) {
            // EINVAL: gone meanwhile, because the machine unmounted it too.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The mount point of a line of mountinfo (proc(5)) if it must not be seen.
fn hidden(line: &str, hide: &Path) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let point = PathBuf::from(unescape(before.split(' ').nth(4)?));
    let kind = after.split(' ').next()?;
    (kind == "nsfs" || (!hide.as_os_str().is_empty() && point.starts_with(hide))).then_some(point)
}

/// The kernel writes space, tab, line feed and backslash as octal (`mangle()` in fs/proc_namespace.c).
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn c_path(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_labs_mounts_and_namespaces_are_hidden() {
        let lab = Path::new("/run/malla/x");
        let point = |line: &str| hidden(line, lab).map(|path| path.display().to_string());
        let netns = "70 21 0:4 net:[4026532289] /run/netns/a\\040b rw shared:5 - nsfs nsfs rw";
        assert_eq!(point(netns).as_deref(), Some("/run/netns/a b"));
        let bpf = "71 21 0:40 / /run/malla/x/bpf rw - bpf bpf rw,mode=700";
        assert_eq!(point(bpf).as_deref(), Some("/run/malla/x/bpf"));
        assert_eq!(point("72 21 0:41 / /run/malla/xy rw - tmpfs tmpfs rw"), None);
        assert_eq!(point("23 1 254:0 / / rw,relatime - ext4 /dev/vda rw"), None);
    }
}
