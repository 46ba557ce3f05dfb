//! Results for machines.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Writes `<folder>/<name>.json`, making the folder; answers with the file's path.
pub fn json(folder: &Path, name: &str, value: &impl serde::Serialize) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_vec_pretty(value)?).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
