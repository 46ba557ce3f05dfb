//! Installs what is missing, and says what and why before it does. With nothing missing it is done in a moment.

use crate::command;
use crate::needs::{BPF_LINKER, How, PACKAGES, Package, Purpose, STATIC_TARGET};
use crate::{preconditions, repository};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

pub fn run(purpose: Purpose) -> Result<()> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|p| p.since <= purpose && !p.is_there()).collect();
    if !missing.is_empty() {
        packages(&missing)?;
    }
    rust_components()?;
    bpf_linker()
}

fn packages(missing: &[&Package]) -> Result<()> {
    println!("Missing on this machine:");
    for package in missing {
        let how = if package.how == How::Unpack { ", unpacked under target/ only" } else { "" };
        println!("  {:<18} {}{how}", package.name, package.why);
    }
    let names = |how| missing.iter().filter(|p| p.how == how).map(|p| p.name).collect::<Vec<_>>();
    if command::find("apt-get").is_none() {
        bail!(
            "there is no apt-get here, so nothing was installed: install what these Debian packages hold and run this again"
        );
    }
    preconditions::root().context("installing them")?;

    println!("Reading Debian's package lists ...");
    command::output(apt(&["update", "-q"]))?;
    let install = names(How::Install);
    if !install.is_empty() {
        println!("apt-get install {}", install.join(" "));
        let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
        arguments.extend(&install);
        command::output(apt(&arguments))?;
    }
    let folder = repository::target().join("packages");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for name in names(How::Unpack) {
        unpack(name, &folder, &repository::unpacked())?;
    }
    match missing.iter().find(|p| !p.is_there()) {
        Some(package) => bail!("package {} is there now, but {} still is not", package.name, package.shows),
        None => Ok(()),
    }
}

/// Downloads one Debian package into `folder` and unpacks it below `into`; returns the .deb file.
pub fn unpack(name: &str, folder: &std::path::Path, into: &std::path::Path) -> Result<PathBuf> {
    println!("unpacking {name} into {}", into.strip_prefix(repository::root()).unwrap_or(into).display());
    let mut download = apt(&["download", "-q", name]);
    command::output({
        download.current_dir(folder);
        download
    })?;
    // apt-get says nothing of the name it chose: it is <package>_<version>_<architecture>.deb, the newest if several.
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&format!("{name}_"))))
        .collect();
    files.sort_by_key(|file| std::fs::metadata(file).and_then(|m| m.modified()).ok());
    let file = files.pop().with_context(|| format!("apt-get download {name} left no file"))?;
    std::fs::create_dir_all(into)?;
    let mut extract = command::new("dpkg", &["-x"]);
    extract.arg(&file).arg(into);
    command::check(extract)?;
    Ok(file)
}

/// apt-get that asks nothing; `_apt`, the user it downloads as, cannot write into a checkout.
pub fn apt(arguments: &[&str]) -> std::process::Command {
    let mut command = command::new("apt-get", &["-o", "APT::Sandbox::User=root"]);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn rust_components() -> Result<()> {
    let sysroot = command::output(command::new("rustc", &["--print", "sysroot"]))?;
    let library = PathBuf::from(sysroot.trim()).join("lib/rustlib");
    if !library.join("src/rust/library/core/Cargo.toml").exists() {
        println!("rustup component add rust-src   (the eBPF programs build their own `core`)");
        command::check(command::new("rustup", &["component", "add", "rust-src"]))?;
    }
    if !library.join(STATIC_TARGET).exists() {
        println!("rustup target add {STATIC_TARGET}   (malla-cni is static)");
        command::check(command::new("rustup", &["target", "add", STATIC_TARGET]))?;
    }
    Ok(())
}

fn bpf_linker() -> Result<()> {
    let found = command::output(command::new("bpf-linker", &["--version"])).unwrap_or_default();
    if found.split_whitespace().any(|word| word == BPF_LINKER) {
        return Ok(());
    }
    println!("cargo install bpf-linker --version {BPF_LINKER}   (links the eBPF programs; about four minutes)");
    command::check(command::new("cargo", &["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--quiet"]))
}
