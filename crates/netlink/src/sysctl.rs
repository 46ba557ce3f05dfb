//! `net.*` sysctls of a network namespace.
//!
//! `/proc/sys/net` shows the namespace of the *thread* that opens a file in it. A name is given as its parts
//! (`["ipv4", "conf", "eth0", "rp_filter"]`), because interface names may hold dots.

use std::{fs, io, path::PathBuf};

use network_namespace::NetNs;

use crate::error::{Error, Result};

/// Reads `net.<name>` in the calling thread's namespace, without the newline.
pub fn read(name: &[&str]) -> Result<String> {
    let path = path(name)?;
    match fs::read_to_string(&path) {
        Ok(value) => Ok(value.trim_end().to_owned()),
        Err(source) => Err(failed("read", name, source)),
    }
}

/// Writes `net.<name>` in the calling thread's namespace, unless it has the value already.
pub fn write(name: &[&str], value: &str) -> Result<()> {
    let path = path(name)?;
    if fs::read_to_string(&path).is_ok_and(|current| current.trim_end() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| failed("write", name, source))
}

/// Writes several in namespace `netns`, in their order, up to the first failure.
pub fn write_in(netns: &NetNs, settings: &[(&[&str], &str)]) -> Result<()> {
    netns.run(|| settings.iter().try_for_each(|(name, value)| write(name, value)))?
}

/// Reads `net.<name>` in namespace `netns`.
pub fn read_in(netns: &NetNs, name: &[&str]) -> Result<String> {
    netns.run(|| read(name))?
}

fn path(name: &[&str]) -> Result<PathBuf> {
    let mut path = PathBuf::from("/proc/sys/net");
    for part in name {
        if part.is_empty() || *part == "." || *part == ".." || part.contains(['/', '\0']) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a part of a sysctl's name");
            return Err(failed("find", name, source));
        }
        path.push(part);
    }
    Ok(path)
}

fn failed(operation: &'static str, name: &[&str], source: io::Error) -> Error {
    Error::Sysctl { operation, path: format!("net/{}", name.join("/")), source }
}
