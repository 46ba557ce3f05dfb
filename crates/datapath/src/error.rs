//! What can go wrong with the kernel's side.

use std::io;
use std::path::PathBuf;

/// An operation on the kernel's objects that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bpf(2) call.
    #[error("{operation} {object}")]
    Kernel {
        /// What was tried, as in "look up in map".
        operation: &'static str,
        /// With what.
        object: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The object could not be loaded as a whole.
    #[error("load the kernel programs")]
    Load(#[source] Box<aya::EbpfError>),
    /// The verifier refused a program.
    #[error("load kernel program {program}")]
    Program {
        /// Its name.
        program: String,
        /// With the verifier's log.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// A map is missing in the object or has another shape than the layouts say.
    #[error("map {name}: {what}")]
    Map {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file of the bpffs.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A tc filter (kernels without tcx).
    #[error("attach by tc filter")]
    Filter(#[source] netlink::Error),
}

impl Error {
    pub(crate) fn kernel(operation: &'static str, object: impl Into<String>, source: io::Error) -> Self {
        Self::Kernel { operation, object: object.into(), source }
    }
    /// The errno, where the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } | Self::File { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
