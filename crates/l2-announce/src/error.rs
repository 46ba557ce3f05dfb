//! What can go wrong.

use std::io;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something that is about a device.
    #[error("{operation} on {device}")]
    Device {
        /// What was tried.
        operation: &'static str,
        /// Where.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
