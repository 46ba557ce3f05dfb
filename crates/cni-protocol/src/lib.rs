//! The Container Network Interface, specification 1.1.0, as types: what a runtime sends, what a plugin answers, in
//! every version that the specification knows. No I/O but the framing of [`socket`].
//!
//! Source: <https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md>; where the text leaves room, what
//! libcni 1.2 does.
#![forbid(unsafe_code)]

mod config;
mod environment;
mod error;
mod legacy;
mod port_mapping;
mod result;
pub mod socket;
mod version;

pub use config::{Attachment, NetConf};
pub use environment::{Arguments, Command, Environment, is_container_id, is_interface_name};
pub use error::{CniError, ErrorCode};
pub use port_mapping::{PORT_MAPPINGS, PortMapping};
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use version::{Version, version_answer};
