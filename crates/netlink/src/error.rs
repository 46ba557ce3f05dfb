//! Errors: operation, object, errno and the kernel's own words.

use std::io;

/// Result of a netlink operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused the request.
    #[error("{operation} {object}{}", explain(explanation))]
    Refused {
        /// A verb: "add route".
        operation: &'static str,
        /// What it was done to: "10.0.0.0/8 dev 3".
        object: String,
        /// The kernel's extended ack, or empty.
        explanation: String,
        #[source]
        source: io::Error,
    },
    /// The socket failed.
    #[error("{operation} {object}: netlink socket")]
    Socket {
        operation: &'static str,
        object: String,
        #[source]
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("{operation} {object}: unreadable answer from the kernel: {reason}")]
    Answer { operation: &'static str, object: String, reason: String },
    /// The thing asked for is not there.
    #[error("{operation} {object}: not found")]
    NotFound { operation: &'static str, object: String },
    /// A name or value that the kernel could not take.
    #[error("{operation} {object}: {reason}")]
    Invalid { operation: &'static str, object: String, reason: &'static str },
    /// A sysctl could not be read or written.
    #[error("{operation} sysctl {path}")]
    Sysctl {
        operation: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    /// A visit to another namespace failed.
    #[error(transparent)]
    Namespace(#[from] network_namespace::Error),
}

impl Error {
    /// The errno behind the error, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket { source, .. } | Self::Sysctl { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }

    /// The object exists already (EEXIST).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// The object is not there: rtnetlink says ENOENT, ENODEV, ESRCH or EADDRNOTAVAIL, each for its own kind.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
            || matches!(self.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
    }
}

/// Turns "was there already" into success; tells whether something was done.
pub(crate) fn unless_exists(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Turns "was not there" into success; tells whether something was done.
pub(crate) fn unless_missing(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn explain(explanation: &str) -> String {
    if explanation.is_empty() { String::new() } else { format!(" ({explanation})") }
}
