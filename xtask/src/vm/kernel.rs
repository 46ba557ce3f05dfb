//! A kernel of Debian 12: its image, and those of its modules that Malla's tests need.

use crate::{command, repository, setup};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What the datapath touches and Debian builds as modules. What a kernel has built in is left out silently.
pub const MODULES: &[&str] = &[
    "veth",        // Pods, and nodes in the tests' topologies
    "bridge",      // the fabric between nodes
    "vxlan",       // the overlay
    "sch_ingress", // clsact, where tc programs hang below 6.6
    "cls_bpf",     // tc programs themselves
    "act_bpf",
    "dummy",
    "nf_tables", // so that tests can show that it is left alone
    "tun",
    "sctp",
    "tcp_diag", // lists of sockets, and their end
    "udp_diag",
];

/// A kernel series that Debian 12 carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Series {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    fn name(self) -> &'static str {
        match self {
            Series::V6_1 => "6.1",
            Series::V6_12 => "6.12",
        }
    }

    /// The package that depends on the newest kernel of the series; 6.12 comes from the security archive.
    fn package(self) -> &'static str {
        match self {
            Series::V6_1 => "linux-image-cloud-amd64",
            Series::V6_12 => "linux-image-6.12-cloud-amd64",
        }
    }
}

/// An unpacked kernel package.
pub struct Kernel {
    pub version: String,
    pub image: PathBuf,
    modules: PathBuf,
}

/// A module ready to be loaded.
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

impl Kernel {
    /// The kernel as it was unpacked before, or fetched now.
    pub fn fetch(series: Series) -> Result<Self> {
        let folder = repository::target().join("vm").join(series.name());
        if let Some(kernel) = Self::unpacked(&folder)? {
            return Ok(kernel);
        }
        let said = command::output(command::new("apt-cache", &["depends", series.package()]))
            .with_context(|| format!("look up {}", series.package()))?;
        let package = said
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|p| p.starts_with("linux-image-"));
        let Some(package) = package else {
            bail!(
                "apt knows no kernel behind {}: Debian 12's own and its security archive have to be among apt's sources",
                series.package()
            );
        };
        std::fs::create_dir_all(&folder)?;
        let file = setup::unpack(package, &folder, &folder)?;
        std::fs::remove_file(file)?;
        Self::unpacked(&folder)?.with_context(|| format!("{package} holds no boot/vmlinuz-*"))
    }

    fn unpacked(folder: &Path) -> Result<Option<Self>> {
        let Ok(entries) = std::fs::read_dir(folder.join("boot")) else {
            return Ok(None);
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if let Some(version) = name.strip_prefix("vmlinuz-") {
                let modules = folder.join("lib/modules").join(version).join("kernel");
                return Ok(Some(Self { version: version.to_owned(), image: path.clone(), modules }));
            }
        }
        Ok(None)
    }

    /// The named modules and all that they depend on, in an order in which they can be loaded.
    ///
    /// Debian makes `modules.dep` when a package is installed, so it is not in the package: the modules themselves
    /// say what they depend on.
    pub fn modules(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut files = BTreeMap::new();
        find_modules(&self.modules, &mut files)?;
        let mut ordered = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            add(name, &files, &mut seen, &mut ordered)?;
        }
        Ok(ordered)
    }
}

/// Depth first, so that what is needed stands before what needs it.
fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    ordered: &mut Vec<Module>,
) -> Result<()> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let content = read(path)?;
    for dependency in dependencies(&content) {
        add(&dependency, files, seen, ordered)?;
    }
    ordered.push(Module { name: name.to_owned(), content });
    Ok(())
}

/// All module files below a folder, by the name that the kernel knows them by (`-` is `_` there).
fn find_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find_modules(&path, files)?;
        } else if let Some((name, "ko" | "ko.xz")) =
            path.file_name().and_then(|n| n.to_str()).and_then(|n| n.split_once('.'))
        {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|e| e == "xz") {
        let output = command::new("xz", &["-dc"]).arg(path).output().context("start xz")?;
        if !output.status.success() {
            bail!("xz cannot unpack {}", path.display());
        }
        return Ok(output.stdout);
    }
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// The `depends=a,b` entry of a module's `.modinfo` section: NUL-terminated strings.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_module_depends_on() {
        assert_eq!(
            dependencies(b"x\0license=GPL\0depends=udp_tunnel,ip6-udp-tunnel\0name=vxlan\0"),
            ["udp_tunnel", "ip6_udp_tunnel"]
        );
        assert!(dependencies(b"x\0depends=\0name=veth\0").is_empty());
        assert!(dependencies(b"not a module").is_empty());
    }
}
