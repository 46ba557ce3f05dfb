//! The VM's whole user space: busybox, an init that mounts what tests expect, the modules and the programs.

use super::archive::Archive;
use super::kernel::Module;
use crate::repository;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

/// The line on the serial console behind which everything is the programs' own output.
pub const READY: &str = "MALLA-VM-READY";
/// Followed by the exit status: 0, or that of the first program that failed.
pub const ENDED: &str = "MALLA-VM-ENDED ";

/// A file of the host, and where the VM has it.
#[derive(Clone)]
pub struct ExtraFile {
    host: PathBuf,
    guest: String,
}

impl FromStr for ExtraFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, guest) = text.split_once('=').ok_or("expected HOST=GUEST")?;
        Ok(Self { host: host.into(), guest: guest.to_owned() })
    }
}

/// What goes into the VM.
pub struct Guest<'a> {
    pub modules: &'a [Module],
    pub binaries: &'a [PathBuf],
    pub files: &'a [ExtraFile],
    pub environment: &'a [String],
    pub arguments: &'a [String],
}

impl Guest<'_> {
    /// The initramfs, not compressed: it stays on this machine.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in ["bin", "dev", "etc", "modules", "proc", "run", "sys", "tests", "tmp", "var", "root"] {
            archive.directory(folder);
        }
        // init's own output goes here before devtmpfs is mounted.
        archive.character_device("dev/console", 5, 1);
        let busybox = repository::unpacked().join("bin/busybox");
        archive.file(
            "bin/busybox",
            0o755,
            &std::fs::read(&busybox).with_context(|| format!("read {}", busybox.display()))?,
        );
        archive.symlink("bin/sh", "busybox");
        for module in self.modules {
            archive.file(&format!("modules/{}.ko", module.name), 0o644, &module.content);
        }
        for binary in self.binaries {
            let content = std::fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
            // PT_INTERP names the dynamic loader, which the VM does not have.
            if content.windows(7).any(|w| w == b"/ld-lin") {
                bail!("{} is linked dynamically: build it for {}", binary.display(), crate::needs::STATIC_TARGET);
            }
            archive.file(&format!("tests/{}", name(binary)), 0o755, &content);
        }
        let mut folders = BTreeSet::new();
        for file in self.files {
            let content = std::fs::read(&file.host).with_context(|| format!("read {}", file.host.display()))?;
            let guest = file.guest.trim_start_matches('/');
            for (slash, _) in guest.match_indices('/') {
                if folders.insert(guest[..slash].to_owned()) {
                    archive.directory(&guest[..slash]);
                }
            }
            archive.file(guest, 0o755, &content);
        }
        archive.file("init", 0o755, self.init().as_bytes());
        Ok(archive.finish())
    }

    fn init(&self) -> String {
        let mut script = String::from(
            "#!/bin/busybox sh\n\
             /bin/busybox --install -s /bin\n\
             export PATH=/bin HOME=/root RUST_BACKTRACE=1\n\
             mount -t proc proc /proc\n\
             mount -t sysfs sysfs /sys\n\
             mount -t devtmpfs devtmpfs /dev\n\
             mount -t tmpfs tmpfs /run\n\
             mount -t tmpfs tmpfs /tmp\n\
             mount -t bpf bpf /sys/fs/bpf\n\
             mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
             mkdir -p /dev/pts /run/netns && mount -t devpts devpts /dev/pts\n\
             ip link set lo up\n",
        );
        // A program that fails does not keep the next one from running; the first failure is what is told.
        script.push_str("status=0\n");
        for module in self.modules {
            let _ = writeln!(script, "insmod /modules/{0}.ko || {{ echo 'cannot load {0}'; status=97; }}", module.name);
        }
        for variable in self.environment {
            let _ = writeln!(script, "export {}", quote(variable));
        }
        let arguments: String = self.arguments.iter().map(|a| format!(" {}", quote(a))).collect();
        let _ = writeln!(script, "echo {READY}");
        for binary in self.binaries {
            let _ = writeln!(
                script,
                "/tests/{}{arguments} || {{ s=$?; [ $status != 0 ] || status=$s; }}",
                quote(&name(binary))
            );
        }
        let _ = writeln!(script, "echo {ENDED}$status\nsync\npoweroff -f");
        script
    }
}

fn name(binary: &std::path::Path) -> String {
    binary.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// One word for the shell, whatever it holds.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_keeps_words_whole_and_tells_the_first_failure() {
        let guest = Guest {
            modules: &[],
            binaries: &["/x/one".into(), "/x/two".into()],
            files: &[],
            environment: &["A=b c".into()],
            arguments: &["it's".into()],
        };
        let script = guest.init();
        assert!(script.contains("export 'A=b c'\n"), "{script}");
        assert!(script.contains(r"/tests/'one' 'it'\''s' || { s=$?; [ $status != 0 ] || status=$s; }"), "{script}");
        assert!(script.find("'one'") < script.find("'two'"));
    }
}
