//! What the machine must have. Each lack is told in one line that says what to do, before anything is created.

use std::{io, path::Path};

use crate::cgroup;

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    #[error("malla lab needs root (namespaces, eBPF): run it with sudo")]
    Root,
    #[error("Linux {0} is too old: Malla needs {OLDEST_MAJOR}.{OLDEST_MINOR} or newer, for example Debian 12's kernel")]
    Kernel(String),
    #[error(
        "the kernel has no BTF ({BTF} is missing): boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions' are"
    )]
    Btf,
    #[error(
        "no cgroup2 is mounted: mount it with `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    Cgroup2,
    #[error("cannot look for {what}: {why}")]
    Unknown { what: &'static str, why: String },
}

/// Only root can do what every lab command does.
pub fn require_root() -> Result<(), Lack> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Lack::Root) }
}

/// Everything that a lab needs of its machine.
pub fn check() -> Result<(), Lack> {
    require_root()?;
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    if !is_new_enough(&release) {
        return Err(Lack::Kernel(release.into_owned()));
    }
    if !Path::new(BTF).exists() {
        return Err(Lack::Btf);
    }
    match cgroup::mount_point() {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Lack::Cgroup2),
        Err(error) => Err(unknown("cgroup2", &error)),
    }
}

fn unknown(what: &'static str, error: &io::Error) -> Lack {
    Lack::Unknown { what, why: error.to_string() }
}

/// `6.18.44-fc-v657`, `6.1.0-28-amd64`: two numbers, then whatever the distribution likes. What can't be read is let
/// pass: loading the programs will tell.
fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (OLDEST_MAJOR, OLDEST_MINOR),
        _ => true,
    }
}

const OLDEST_MAJOR: u32 = 6;
const OLDEST_MINOR: u32 = 1;
/// The kernel's own types, by which programs are relocated.
const BTF: &str = "/sys/kernel/btf/vmlinux";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_as_numbers() {
        for new in ["6.1.0-28-amd64", "6.18.44-fc-v657", "6.12", "7.0.0-rc1", "10.0"] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["5.15.0-generic", "6.0.19", "4.19.0", "5.4"] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[test]
    fn every_lack_is_one_line_that_says_what_to_do() {
        for lack in [Lack::Root, Lack::Kernel("5.10".into()), Lack::Btf, Lack::Cgroup2] {
            let text = lack.to_string();
            assert!(!text.contains('\n'), "{text}");
            assert!(["run ", "needs", "boot", "mount"].iter().any(|verb| text.contains(verb)), "{text}");
        }
    }
}
