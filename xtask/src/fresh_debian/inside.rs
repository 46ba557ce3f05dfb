//! The second half, as the first process of namespaces of its own: mounts, then the commands under chroot.

use super::CLONE;
use crate::command;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub fn run(root: &Path, commands: &[String]) -> Result<()> {
    if std::process::id() != 1 {
        bail!("this half runs as the first process of its own PID namespace only");
    }
    let lent = [rust_folder("CARGO_HOME", ".cargo")?, rust_folder("RUSTUP_HOME", ".rustup")?];
    // On itself, so that it is a mount point: the lab changes its propagation, and that of mounts below it.
    mount(&["--bind"], root, root)?;
    let at = |place: &str| root.join(place.trim_start_matches('/'));
    mount(&["-t", "proc"], Path::new("proc"), &at("/proc"))?;
    // With everything below: cgroup and bpf file systems, ptys and shared memory.
    mount(&["--rbind"], Path::new("/sys"), &at("/sys"))?;
    mount(&["--rbind"], Path::new("/dev"), &at("/dev"))?;
    for folder in &lent {
        let place = at(&folder.to_string_lossy());
        std::fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        mount(&["--bind"], folder, &place)?;
    }
    for shell in commands {
        println!("\n==> on a fresh Debian 12: {shell}");
        let started = Instant::now();
        command::check(in_chroot(root, shell, &lent))?;
        println!("==> {shell}: {} s", started.elapsed().as_secs());
    }
    Ok(())
}

/// With nothing of our own environment but what says where the two lent folders are.
fn in_chroot(root: &Path, shell: &str, lent: &[PathBuf; 2]) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).args(["/bin/sh", "-c", &format!("cd {CLONE} && exec {shell}")]).env_clear();
    command
        .env("PATH", format!("{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", lent[0].display()));
    command.env("CARGO_HOME", &lent[0]).env("RUSTUP_HOME", &lent[1]).env("LANG", "C.UTF-8").env("TERM", "dumb");
    for name in ["HOME", "http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn rust_folder(variable: &str, in_home: &str) -> Result<PathBuf> {
    match (std::env::var_os(variable), std::env::var_os("HOME")) {
        (Some(folder), _) => Ok(folder.into()),
        (None, Some(home)) => Ok(Path::new(&home).join(in_home)),
        (None, None) => bail!("neither {variable} nor HOME is set"),
    }
}

fn mount(options: &[&str], what: &Path, place: &Path) -> Result<()> {
    let mut mount = Command::new("mount");
    mount.args(options).arg(what).arg(place);
    command::check(mount)
}
