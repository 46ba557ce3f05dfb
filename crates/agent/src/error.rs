//! What can go wrong in an agent, in words for the operator.

use crate::table::TableError;
use std::path::PathBuf;

/// An operation of the agent failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node's network could not be read or prepared.
    #[error("{operation}")]
    Facts {
        /// What was tried.
        operation: &'static str,
        #[source]
        source: netlink::Error,
    },
    /// The network device carries no Ethernet.
    #[error("device {device} has no Ethernet address; give the node's device with --device")]
    NotEthernet {
        /// Its name.
        device: String,
    },
    /// A map refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The datapath could not be started or changed.
    #[error("{operation}")]
    Datapath {
        /// What was tried.
        operation: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of the state folder.
    #[error("{operation} {}", path.display())]
    File {
        /// A verb.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file of the state folder holds something else than it should.
    #[error("read {}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A system call.
    #[error("{operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn facts(operation: &'static str) -> impl Fn(netlink::Error) -> Self {
        move |source| Self::Facts { operation, source }
    }

    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}

pub use flow_api::words as chain;
