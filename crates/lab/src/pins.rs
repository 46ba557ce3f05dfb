//! The lab's bpffs: programs, links and maps that are pinned here outlive the agents.
//!
//! It is mounted from the machine's own mount namespace: a mount made inside `ip netns exec` would die with that
//! process and take links and traffic along.

use std::{fs, io, path::Path};

use rustix::{
    fs::statfs,
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use crate::files::create_private;

/// Mounts a bpffs (mode 0700) on `folder`, unless one is there.
pub fn mount_bpffs(folder: &Path, lab: &str) -> io::Result<()> {
    create_private(folder)?;
    if is_bpffs(folder)? {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(format!("malla-{lab}"), folder, "bpf", flags, Some(c"mode=0700"))?;
    Ok(())
}

/// Unpins everything and unmounts. Idempotent; lazy when somebody still has a file of it open.
pub fn unmount_bpffs(folder: &Path) -> io::Result<()> {
    while folder.is_dir() && is_bpffs(folder)? {
        // The pins first: a copy of the mount in another mount namespace would keep them alive.
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if let Err(error) = fs::remove_file(entry.path())
                && error.kind() != io::ErrorKind::PermissionDenied
            {
                // The kernel's own maps.debug and progs.debug go with the mount only.
                return Err(error);
            }
        }
        match unmount(folder, UnmountFlags::empty()) {
            Ok(()) => {}
            Err(Errno::BUSY) => unmount(folder, UnmountFlags::DETACH)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Whether `folder` is on a bpffs.
pub fn is_bpffs(folder: &Path) -> io::Result<bool> {
    Ok(statfs(folder)?.f_type == BPF_FS_MAGIC)
}

/// include/uapi/linux/magic.h
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
