//! Builds `malla`, and beside it in the same folder the static `malla-cni` that it hands to container runtimes.

use crate::needs::STATIC_TARGET;
use crate::{command, repository};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Profile {
    Dev,
    Release,
}

impl Profile {
    /// The name of its folder under `target/`.
    pub fn folder(self) -> &'static str {
        match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Profile::Dev => &[],
            Profile::Release => &["--release"],
        }
    }
}

/// Builds both; returns the path of `malla`.
pub fn run(profile: Profile) -> Result<PathBuf> {
    let mut malla = command::new("cargo", &["build", "--locked", "-p", "malla"]);
    malla.args(profile.flags());
    command::check(malla)?;
    let folder = repository::target().join(profile.folder());
    static_plugin(profile, &folder)?;
    Ok(folder.join("malla"))
}

/// Builds the static plugin and puts it into `folder`.
pub fn static_plugin(profile: Profile, folder: &Path) -> Result<()> {
    let mut plugin = command::new("cargo", &["build", "--locked", "-p", "malla-cni", "--target", STATIC_TARGET]);
    plugin.args(profile.flags());
    command::check(plugin)?;
    let built = repository::target().join(STATIC_TARGET).join(profile.folder()).join("malla-cni");
    place(&built, &folder.join("malla-cni"))
}

/// Copies by rename: the place may hold a hard link that cargo owns, or a file that a runtime executes just now.
fn place(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("fresh");
    std::fs::copy(from, &fresh).with_context(|| format!("copy {} to {}", from.display(), fresh.display()))?;
    std::fs::rename(&fresh, to).with_context(|| format!("put {} into its place", to.display()))
}
