//! The tree itself: debootstrap, apt's sources, and the careful removal.

use crate::{command, repository};
use anyhow::{Context, Result, bail};
use std::path::Path;

const RELEASE: &str = "bookworm";

/// What the README asks a newcomer to have, beside Rust.
const GIVEN: &str = "--include=make,git,ca-certificates";

/// A fresh Debian 12 in `root`, with the security archive among its sources.
pub fn bootstrap(root: &Path) -> Result<()> {
    let (main, security) = archives()?;
    let cache = repository::target().join("debootstrap-packages");
    std::fs::create_dir_all(&cache)?;
    println!("==> debootstrap {RELEASE}");
    let mut debootstrap = command::new("debootstrap", &["--variant=minbase", GIVEN]);
    debootstrap.arg(format!("--cache-dir={}", cache.display())).arg(RELEASE).arg(root).arg(&main);
    command::output(debootstrap)?;
    let sources = format!(
        "deb {main} {RELEASE} main\ndeb {main} {RELEASE}-updates main\ndeb {security} {RELEASE}-security main\n"
    );
    write(&root.join("etc/apt/sources.list"), &sources)?;
    std::fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")).context("copy /etc/resolv.conf")?;
    // A machine that reaches the archive through a proxy says so in its own apt's configuration.
    let dump = command::output(command::new("apt-config", &["dump"]))?;
    let proxies: String = dump.lines().filter(|line| line.contains("::Proxy")).flat_map(|line| [line, "\n"]).collect();
    write(&root.join("etc/apt/apt.conf.d/90proxy"), &proxies)
}

/// The archives that this machine's own apt uses for the release.
fn archives() -> Result<(String, String)> {
    let said = command::output(command::new(
        "apt-get",
        &["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"],
    ))?;
    let find =
        |release: &str| said.lines().find_map(|line| line.strip_prefix(release)?.strip_prefix(' ').map(str::to_owned));
    match (find(RELEASE), find("bookworm-security")) {
        (Some(main), Some(security)) => Ok((main, security)),
        _ => bail!(
            "apt's sources lack Debian 12 ({RELEASE}) or its security archive, which the fresh Debian is made from"
        ),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Removes the tree, unless something is still mounted in it: cargo's folder could be, and would be emptied.
pub fn remove(root: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let inside = format!("{}/", root.display());
    if let Some(mount) =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|place| place.starts_with(&inside))
    {
        bail!("{mount} is still mounted: unmount it first");
    }
    // `rm` and not our own recursion: with --one-file-system it stops at a mount made meanwhile.
    let mut rm = command::new("rm", &["-rf", "--one-file-system"]);
    rm.arg(root);
    command::check(rm)
}
