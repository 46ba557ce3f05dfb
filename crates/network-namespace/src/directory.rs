//! The directory of named namespaces, and the mount propagation that it needs.
//!
//! iproute2 makes `/run/netns` a shared mount point on itself, so that a name made in one mount namespace appears in
//! the others, and its removal too. Without that a namespace "removed" here would be kept alive by its mount
//! elsewhere (iproute2, `ip/ipnetns.c`, `create_netns_dir` and `netns_add`).

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount},
};

use crate::{
    error::{Context, Result},
    namespace::is_namespace_file,
};

/// What [`prepare_directory`] found and did; whoever wants to leave no trace hands it to [`release_directory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directory {
    /// The directory did not exist before.
    pub created: bool,
    /// It was not a mount point before and is one now.
    pub mounted: bool,
}

/// Makes `directory` ready for named namespaces: creates it (0755) and makes it a shared mount point, unless it is.
pub fn prepare_directory(directory: &Path) -> Result<Directory> {
    let mut done = Directory::default();
    if !directory.is_dir() {
        fs::create_dir_all(directory).context("create directory for network namespaces", directory)?;
        done.created = true;
    }
    // Two makers at once would both find "not a mount point" and stack two mounts: the second waits here.
    let lock = lock(directory)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match mount_change(directory, shared) {
        Ok(()) => {}
        // EINVAL: not a mount point yet, so make it one.
        Err(Errno::INVAL) => {
            mount_bind_recursive(directory, directory).context("bind-mount on itself", directory)?;
            done.mounted = true;
            mount_change(directory, shared).context("make a shared mount of", directory)?;
        }
        Err(errno) => return Err(errno).context("make a shared mount of", directory),
    }
    drop(lock);
    Ok(done)
}

/// Undoes what [`prepare_directory`] did, when no namespace is left in it. Returns whether it was undone.
///
/// A name that somebody else made since keeps the directory as it is.
pub fn release_directory(directory: &Path, done: Directory) -> Result<bool> {
    if !directory.is_dir() {
        return Ok(true);
    }
    let lock = lock(directory)?;
    let entries = fs::read_dir(directory).context("list network namespaces in", directory)?;
    for entry in entries {
        let entry = entry.context("list network namespaces in", directory)?;
        if is_namespace_file(&entry.path()) || entry.metadata().is_ok_and(|meta| meta.len() > 0) {
            return Ok(false);
        }
    }
    if done.mounted {
        match unmount(directory, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno).context("unmount", directory),
        }
    }
    drop(lock);
    if done.created {
        match fs::remove_dir(directory) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
            Err(error) => return Err(error).context("remove directory", directory),
        }
    }
    Ok(true)
}

/// Held while mounts of the directory change; released when the file is dropped. iproute2 takes the same lock.
fn lock(directory: &Path) -> Result<File> {
    let file = File::open(directory).context("open", directory)?;
    flock(&file, FlockOperation::LockExclusive).context("lock", directory)?;
    Ok(file)
}
