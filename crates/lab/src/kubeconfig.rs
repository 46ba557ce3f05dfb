//! `malla lab kubeconfig`.

use std::{
    fs,
    io::{Write, stdout},
};

use anyhow::Context;

use crate::{cli::KubeconfigArgs, files::Folders, preflight::require_root, state::LabState};

/// Prints the machine's kubeconfig, or its path.
pub fn run(args: &KubeconfigArgs) -> anyhow::Result<()> {
    require_root()?;
    let folders = Folders::of(&args.which.name);
    LabState::require(args.which.name.as_str(), &folders)?;
    let file = folders.kubeconfig();
    if args.path {
        println!("{}", file.display());
        return Ok(());
    }
    let text =
        fs::read(&file).with_context(|| format!("read {} (is the API up? try malla lab status)", file.display()))?;
    stdout().write_all(&text)?;
    Ok(())
}
