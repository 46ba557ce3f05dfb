//! Files with certificates and keys.

use anyhow::Context;
use std::path::{Path, PathBuf};

/// One file.
///
/// # Errors
/// When it can't be read; the error names it.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// One after the other: each may hold several, and end without a line break.
///
/// # Errors
/// As for [`read`].
pub fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    Ok(files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?.join(&b'\n'))
}
