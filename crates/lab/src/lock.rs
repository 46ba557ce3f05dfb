//! Locks on folders: one command at a time works on a lab, and on what all labs of a machine share.
//!
//! Held by flock(2) on the folder itself, so a crash releases it and nothing is left behind. The folder may be removed
//! by who holds the lock; who waited for it then notices that it holds the lock of a ghost, and starts again.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{FlockOperation, flock};

use crate::files::create_private;

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct FolderLock {
    _folder: File,
}

impl FolderLock {
    /// Makes the folder if need be, and waits for its lock.
    pub fn wait(folder: &Path) -> io::Result<Self> {
        loop {
            create_private(folder)?;
            if let Some(lock) = Self::take(folder, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock if it is free; `None` when another has it.
    pub fn try_now(folder: &Path) -> io::Result<Option<Self>> {
        loop {
            create_private(folder)?;
            match Self::take(folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(Some(lock)) => return Ok(Some(lock)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// `None` when the folder was removed meanwhile.
    fn take(folder: &Path, how: FlockOperation) -> io::Result<Option<Self>> {
        let file = match File::open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        flock(&file, how)?;
        let held = file.metadata()?;
        let still_there = folder.metadata().is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino()));
        Ok(still_there.then_some(Self { _folder: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("lab");
        let held = FolderLock::wait(&folder).unwrap();
        assert!(FolderLock::try_now(&folder).unwrap().is_none());
        drop(held);
        assert!(FolderLock::try_now(&folder).unwrap().is_some());
    }

    #[test]
    fn the_lock_of_a_removed_folder_locks_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("lab");
        let held = FolderLock::wait(&folder).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        let second = FolderLock::try_now(&folder).unwrap();
        assert!(second.is_some(), "the new folder is free");
        drop(held);
        assert!(FolderLock::try_now(&folder).unwrap().is_none(), "and stays locked");
    }
}
