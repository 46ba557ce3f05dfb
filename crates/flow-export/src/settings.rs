//! Which file an operator chooses, under Hubble's names.

use std::path::PathBuf;

/// `hubble-export-file-*`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `hubble-export-file-path`: the file that is written; older ones lie beside it.
    pub file_path: PathBuf,
    /// `hubble-export-file-max-size-mb`: size in MB (1,048,576 bytes) past which the next one is begun. At least 1.
    pub file_max_size_mb: u64,
    /// `hubble-export-file-max-backups`: older files that are kept.
    pub file_max_backups: usize,
    /// `hubble-export-file-compress`: older files are compressed by gzip.
    pub file_compress: bool,
}

impl Settings {
    /// Hubble's defaults: 10 MB, five older files, not compressed.
    #[must_use]
    pub fn new(file_path: impl Into<PathBuf>) -> Self {
        Self {
            file_path: file_path.into(),
            file_max_size_mb: MAX_SIZE_MB,
            file_max_backups: MAX_BACKUPS,
            file_compress: false,
        }
    }
}

/// Hubble's default of `file_max_size_mb`.
pub const MAX_SIZE_MB: u64 = 10;
/// Hubble's default of `file_max_backups`.
pub const MAX_BACKUPS: usize = 5;
