//! From the errors of the parts to CNI errors, with their codes.

use std::{error::Error, io, path::PathBuf};

use cni_protocol::{CniError, ErrorCode};

/// CHECK found something other than what ADD made; the details say what.
pub const CODE_CHECK_FAILED: ErrorCode = ErrorCode(100);
/// No address is free, and none comes back by waiting.
pub const CODE_ADDRESSES_EXHAUSTED: ErrorCode = ErrorCode(101);
/// Links, addresses or routes could not be set.
pub const CODE_SETUP_FAILED: ErrorCode = ErrorCode(102);
/// The datapath refused.
pub const CODE_DATAPATH_FAILED: ErrorCode = ErrorCode(103);
/// The node's own records could not be read or written.
pub const CODE_STATE_FAILED: ErrorCode = ErrorCode(104);

/// Why a [`crate::PodNetwork`] could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error(transparent)]
    Journal(#[from] ipam::JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Namespace(#[from] network_namespace::Error),
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
}

/// An endpoint's record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct StoreError {
    pub operation: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// An error as the runtime gets it: the outermost text as message, all texts as details.
pub(crate) fn cni(code: ErrorCode, error: &(dyn Error + 'static)) -> CniError {
    let message = error.to_string();
    let mut details = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        details.push(error.to_string());
        source = error.source();
    }
    CniError::new(code, message).with_details(details.join(": "))
}

impl From<StoreError> for CniError {
    fn from(error: StoreError) -> Self {
        cni(CODE_STATE_FAILED, &error)
    }
}

pub(crate) fn setup(error: netlink::Error) -> CniError {
    cni(CODE_SETUP_FAILED, &error)
}

pub(crate) fn datapath(operation: &str, error: &crate::DatapathError) -> CniError {
    let error = cni(CODE_DATAPATH_FAILED, &**error);
    CniError { msg: format!("{operation}: {}", error.msg), ..error }
}

pub(crate) fn journal(error: &ipam::JournalError) -> CniError {
    cni(CODE_STATE_FAILED, error)
}

pub(crate) fn allocation(error: &ipam::Error) -> CniError {
    match error {
        // Some rest and come back by themselves: the runtime should call again.
        ipam::Error::Exhausted(exhausted) if exhausted.resting > 0 => cni(ErrorCode::TRY_AGAIN_LATER, exhausted),
        ipam::Error::Exhausted(exhausted) => cni(CODE_ADDRESSES_EXHAUSTED, exhausted),
        ipam::Error::Journal(error) => journal(error),
        other => cni(CODE_STATE_FAILED, other),
    }
}

/// The namespace that the runtime named can't be opened.
pub(crate) fn namespace(error: &network_namespace::Error) -> CniError {
    cni(ErrorCode::INVALID_NETNS, error)
}
