//! What can go wrong with the log as a whole. What is wrong with one part is a [`Damage`].

use std::path::{Path, PathBuf};

/// The log can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The folder has files that are no log's.
    #[error("{} has {foreign:?} in it and no lock: it is not a flow log's folder", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// A file in it.
        foreign: String,
    },
    /// Another process has the log open for writing.
    #[error("{} is being written by another process", .0.display())]
    Locked(PathBuf),
    /// A segment can't be made out of a journal.
    #[error("convert {}", path.display())]
    Convert {
        /// The journal.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Damage,
    },
    /// The disk does not take what is written, or the log is closed.
    #[error("not synced: {0}")]
    Unsynced(String),
}

/// A part of the log that can't be answered from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct Damage {
    /// Name of the file.
    pub part: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Damage {
    pub(crate) fn new(path: &Path, reason: impl ToString) -> Self {
        Self { part: name(path), reason: reason.to_string() }
    }
}

pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { operation, path, source }
}

/// A new name in a folder survives a power failure only when this has been called.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
