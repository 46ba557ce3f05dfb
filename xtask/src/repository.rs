//! Where things are: the checkout, and the folders under `target/` that the tasks write to.

use std::path::{Path, PathBuf};

/// The checkout's top folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target folder; `CARGO_TARGET_DIR` wins, as it does for cargo.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Debian packages that are unpacked rather than installed (see [`crate::needs`]) share this one tree.
pub fn unpacked() -> PathBuf {
    target().join("debian")
}
