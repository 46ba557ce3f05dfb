//! `malla container-shim`: hidden from `--help`, because only the Pod runner calls it.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `malla container-shim`.
#[derive(Debug, Args)]
pub struct ShimArgs {
    /// The folder with the container's config.json.
    pub folder: PathBuf,
}

/// Runs one container to its end.
pub fn run(args: ShimArgs) -> anyhow::Result<()> {
    crate::shim::run(&args.folder)
}
