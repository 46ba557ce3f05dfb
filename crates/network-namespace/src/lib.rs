//! Network namespaces: make them, open them, and run code inside them.
//!
//! A network namespace belongs to a *thread*. Code that moves a thread of an async runtime into another
//! namespace poisons every later task on that thread, so a visit ([`NetNs::run`]) always happens on a fresh thread
//! that ends with the visit; what comes back are plain values and file descriptors (a socket keeps the namespace in
//! which it was opened).
//!
//! Named namespaces are bind mounts of `nsfs` onto a file, laid out exactly as iproute2 does it (`ip/ipnetns.c`), so
//! that `ip netns list` and `ip netns exec` see those under `/run/netns`.

mod directory;
mod error;
mod namespace;
mod visit;

pub use directory::{Directory, prepare_directory, release_directory};
pub use error::{Error, Result};
pub use namespace::{NetNs, NetNsId};

/// The directory in which `ip netns` looks for named namespaces (iproute2, `include/namespace.h`).
pub const NETNS_RUN_DIR: &str = "/run/netns";
