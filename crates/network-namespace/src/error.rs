//! Errors: which operation failed on which namespace.

use std::{io, path::PathBuf};

/// Result of an operation on a namespace.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the operation and the path it was done to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was being done, as a verb: "open network namespace".
        operation: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file exists but is not a network namespace.
    #[error("{} is not a network namespace", path.display())]
    NotANetworkNamespace { path: PathBuf },
    /// A file of that name is already there.
    #[error("network namespace {} exists already", path.display())]
    Exists { path: PathBuf },
    /// The path has no parent directory or no file name.
    #[error("{} cannot name a network namespace: it has no file name", path.display())]
    BadPath { path: PathBuf },
    /// The thread for a visit could not be started.
    #[error("start a thread to visit network namespace {name}")]
    Thread {
        name: String,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether the namespace (or its file) is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ESRCH)
            }
            _ => false,
        }
    }
}

/// Attaches operation and path to an I/O result.
pub(crate) trait Context<T> {
    fn context(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.into(), source: source.into() })
    }
}
