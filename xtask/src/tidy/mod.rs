//! What the compiler does not check: the order of crates, what may be depended on, and the house rules for sources.

mod dependencies;
mod features;
mod order;
mod sources;
mod text;

use crate::{command, repository};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// A tracked text file, read once for all checks.
pub struct Source {
    /// Relative to the checkout.
    pub path: String,
    pub text: String,
}

pub fn run() -> Result<()> {
    let files = tracked()?;
    let mut complaints = Vec::new();
    order::check(&mut complaints)?;
    dependencies::check(&mut complaints)?;
    sources::check(&files, &mut complaints);
    features::check(&files, &mut complaints);
    text::check(&files, &mut complaints);
    for note in sources::long_files(&files) {
        println!("note: {note}");
    }
    for complaint in &complaints {
        eprintln!("tidy: {complaint}");
    }
    if !complaints.is_empty() {
        bail!("tidy has {} complaints", complaints.len());
    }
    println!("tidy: {} files are in order", files.len());
    Ok(())
}

/// Tracked files and those about to be; what is not text is left out.
fn tracked() -> Result<Vec<Source>> {
    let list = command::new("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let said = command::output(list).context("list the checkout's files")?;
    let mut files = Vec::new();
    for path in said.lines() {
        let full: PathBuf = repository::root().join(path);
        // A file that was deleted but not yet committed is still listed.
        if let Ok(bytes) = std::fs::read(full)
            && let Ok(text) = String::from_utf8(bytes)
        {
            files.push(Source { path: path.to_owned(), text });
        }
    }
    Ok(files)
}
