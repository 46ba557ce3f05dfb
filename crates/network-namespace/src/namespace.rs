//! [`NetNs`]: one open network namespace.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    directory,
    error::{Context, Error, Result},
    visit,
};

/// An open network namespace. It lives at least as long as this value, whatever happens to its name or processes.
#[derive(Debug)]
pub struct NetNs {
    fd: OwnedFd,
    /// What to call it in errors: its path, or where it came from.
    name: PathBuf,
}

/// Identifies a namespace within a boot: device and inode of its nsfs file (`ioctl_ns(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsId {
    pub device: u64,
    pub inode: u64,
}

impl NetNs {
    /// The calling thread's own namespace.
    pub fn current() -> Result<Self> {
        Self::open(CURRENT)
    }

    /// Opens the namespace at `path`: a named one, or `/proc/<pid>/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new()
            .read(true)
            // Somebody may have put a FIFO there: never hang on open.
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)
            .context("open network namespace", path)?;
        if !is_network_namespace(&file) {
            return Err(Error::NotANetworkNamespace { path: path.into() });
        }
        Ok(Self { fd: file.into(), name: path.into() })
    }

    /// The namespace of process `pid` (of its main thread).
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// Makes a namespace without a name; it is gone when its last descriptor, process and interface are.
    pub fn create() -> Result<Self> {
        let mut netns = visit::on_fresh_thread("a new namespace", || {
            visit::unshare_this_thread()?;
            Self::current()
        })??;
        netns.name = PathBuf::from("(unnamed)");
        Ok(netns)
    }

    /// Makes a namespace and gives it a name: a bind mount on the new file `path`.
    ///
    /// The parent directory is made as iproute2 makes `/run/netns` (see [`crate::prepare_directory`]), so that the
    /// name is seen in every mount namespace that shares it. On failure nothing is left but that directory.
    pub fn create_named(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let parent = parent_of(path)?;
        directory::prepare_directory(parent)?;
        create_file(path)?;
        let created = visit::on_fresh_thread(&path.display().to_string(), || {
            visit::unshare_this_thread()?;
            mount_bind(CURRENT, path).context("bind-mount network namespace on", path)?;
            Self::current()
        });
        match created.and_then(|inner| inner) {
            Ok(mut netns) => {
                netns.name = path.into();
                Ok(netns)
            }
            Err(error) => {
                let _ = Self::remove(path); // the first error is the one to tell
                Err(error)
            }
        }
    }

    /// Removes the name `path` (mount and file). Idempotent: nothing there is success. The namespace itself lives on
    /// until its last process and descriptor are gone.
    pub fn remove(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // More than one mount can be stacked on the file when somebody named it twice.
        loop {
            match unmount(path, UnmountFlags::DETACH) {
                Ok(()) => {}
                // EINVAL: not a mount point, i.e. only the file is left.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
                Err(errno) => return Err(errno).context("unmount network namespace", path),
            }
        }
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context("remove network namespace file", path),
        }
    }

    /// Runs `visit` on a fresh thread inside this namespace and gives back what it returns. Sockets and
    /// [`NetNs`] values may be returned; a panic inside is raised again here.
    pub fn run<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> Result<T> {
        visit::on_fresh_thread(&self.name.display().to_string(), || {
            self.enter_current_thread()?;
            Ok(visit())
        })?
    }

    /// Moves the calling thread into this namespace, for good. Meant for a thread that ends soon and for
    /// `Command::pre_exec` (async-signal-safe but for the error path: one system call, no allocation on success).
    pub fn enter_current_thread(&self) -> Result<()> {
        self.enter_raw().context("enter network namespace", &self.name)
    }

    /// As [`Self::enter_current_thread`], with an error that allocates nothing: for `pre_exec` after fork.
    pub fn enter_raw(&self) -> io::Result<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network)).map_err(Into::into)
    }

    /// Which namespace this is; two values are equal exactly when they are the same namespace.
    pub fn id(&self) -> Result<NetNsId> {
        let stat = rustix::fs::fstat(&self.fd).context("stat network namespace", &self.name)?;
        Ok(NetNsId { device: stat.st_dev, inode: stat.st_ino })
    }

    /// The number by which BPF programs know this namespace (`SO_NETNS_COOKIE`, since Linux 5.14); no other namespace gets
    /// it until the machine is booted again.
    pub fn cookie(&self) -> Result<u64> {
        self.run(visit::cookie_of_this_thread)?.context("ask for the cookie of network namespace", &self.name)
    }

    /// The path it was opened by, or what it is called in errors.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Another descriptor of the same namespace.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().context("duplicate descriptor of network namespace", &self.name)?;
        Ok(Self { fd, name: self.name.clone() })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether `path` names a network namespace right now (a mount, not just the file that a crash left).
pub(crate) fn is_namespace_file(path: &Path) -> bool {
    NetNs::open(path).is_ok()
}

fn parent_of(path: &Path) -> Result<&Path> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(_)) if !parent.as_os_str().is_empty() => Ok(parent),
        _ => Err(Error::BadPath { path: path.into() }),
    }
}

/// Creates the file to mount on. A file that a crashed maker left behind (there, but not a namespace) is taken over.
fn create_file(path: &Path) -> Result<()> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o000).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_empty_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.size() == 0);
            if is_namespace_file(path) || !is_empty_file {
                return Err(Error::Exists { path: path.into() });
            }
            Ok(())
        }
        Err(error) => Err(error).context("create network namespace file", path),
    }
}

fn is_network_namespace(file: &File) -> bool {
    // SAFETY: NS_GET_NSTYPE takes no argument and writes no memory; the descriptor is open for the whole call.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

/// The calling thread's own, where `/proc/self` would be the main thread's.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// `_IO(0xb7, 0x3)`, include/uapi/linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
