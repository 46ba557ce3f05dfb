//! What this machine must be before anything is tried: each failure is one line that says what to do.

use anyhow::{Context, Result, bail};
use std::net::TcpListener;
use std::path::Path;

/// The oldest kernel the eBPF programs are tested on.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Root, a new enough kernel, BTF and cgroup2: what every lab and every test of the datapath needs.
pub fn check() -> Result<()> {
    root()?;
    kernel()?;
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        bail!(
            "this kernel has no BTF (/sys/kernel/btf/vmlinux): boot one with CONFIG_DEBUG_INFO_BTF=y; Debian's own have it"
        );
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    if !mounts.lines().any(|line| line.contains(" - cgroup2 ")) {
        bail!(
            "cgroup2 is not mounted, and the socket hooks attach there: run `mount -t cgroup2 none /sys/fs/cgroup/unified`"
        );
    }
    Ok(())
}

pub fn root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("Malla loads eBPF programs and makes network namespaces, which needs root: run it again with `sudo -E`");
    }
    Ok(())
}

fn kernel() -> Result<()> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    match version_of(&release) {
        Some(version) if version >= OLDEST_KERNEL => Ok(()),
        Some(_) => {
            bail!("kernel {release} is too old: Malla needs Linux {}.{} or newer", OLDEST_KERNEL.0, OLDEST_KERNEL.1)
        }
        None => bail!("cannot read a version from the kernel's release `{release}`"),
    }
}

/// A port of localhost that the lab is about to serve.
pub fn port_is_free(port: u16) -> Result<()> {
    for address in [("0.0.0.0", port), ("127.0.0.1", port)] {
        if let Err(error) = TcpListener::bind(address) {
            bail!(
                "port {port} on this machine is taken ({error}): find who has it with `ss -ltnp sport = :{port}` and stop it"
            );
        }
    }
    Ok(())
}

/// Major and minor number of a kernel release such as `6.1.0-56-cloud-amd64`.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kernel_releases() {
        assert_eq!(version_of("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(version_of("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version_of("6.12-rc1"), Some((6, 12)));
        assert_eq!(version_of("linux"), None);
        assert!(version_of("5.15.0-1").unwrap() < OLDEST_KERNEL);
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = port_is_free(port).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port}")), "{error}");
    }
}
