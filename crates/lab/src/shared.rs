//! What all labs of a machine share: the folder [`LABS`] and the directory of named namespaces.
//!
//! `/run/netns` has to be a shared mount point for names to work (see the `network-namespace` crate). The first lab makes
//! it one if it is not; the last lab undoes exactly that. What was done is written down in between.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use network_namespace::{Directory, NETNS_RUN_DIR, prepare_directory, release_directory};
use serde::{Deserialize, Serialize};

use crate::{
    files::{LABS, existing_labs, read_json, write_json},
    lock::FolderLock,
};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    created: bool,
    mounted: bool,
}

/// Prepares for one more lab.
pub fn prepare() -> io::Result<()> {
    let _lock = FolderLock::wait(Path::new(LABS))?;
    let mut done: Done = read_json(&record()).unwrap_or_default();
    let now = prepare_directory(Path::new(NETNS_RUN_DIR)).map_err(io::Error::other)?;
    if now.created || now.mounted {
        done.created |= now.created;
        done.mounted |= now.mounted;
        write_json(&record(), &done)?;
    }
    Ok(())
}

/// Gives back what no lab needs any more. Call it after a lab's folder was removed.
pub fn release() -> io::Result<()> {
    if !Path::new(LABS).is_dir() {
        return Ok(());
    }
    let _lock = FolderLock::wait(Path::new(LABS))?;
    if !existing_labs()?.is_empty() {
        return Ok(());
    }
    if let Ok(Done { created, mounted }) = read_json(&record()) {
        release_directory(Path::new(NETNS_RUN_DIR), Directory { created, mounted }).map_err(io::Error::other)?;
        fs::remove_file(record())?;
    }
    match fs::remove_dir(LABS) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(error),
        _ => Ok(()),
    }
}

/// No lab can be called this, names don't begin with a dot.
fn record() -> PathBuf {
    Path::new(LABS).join(".netns-directory.json")
}
