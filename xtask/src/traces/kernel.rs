//! Namespaces, mounts, pins, cgroups and processes.

use super::Snapshot;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where Malla keeps files while it runs, and where namespaces and pins get names.
const FOLDERS: &[(&str, &str)] =
    &[("named namespaces", "/run/netns"), ("state", "/run/malla"), ("pins", "/sys/fs/bpf")];

pub fn record(snapshot: &mut Snapshot) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    snapshot.insert("mounts", mounts.lines().map(mount).collect());
    for (name, folder) in FOLDERS {
        let mut found = BTreeSet::new();
        walk(Path::new(folder), &mut found, &|_| true);
        snapshot.insert(name, found);
    }
    let mut cgroups = BTreeSet::new();
    walk(Path::new("/sys/fs/cgroup"), &mut cgroups, &Path::is_dir);
    snapshot.insert("cgroups", cgroups);
    let (namespaces, processes) = processes();
    snapshot.insert("namespaces", namespaces);
    snapshot.insert("processes", processes);
    Ok(())
}

/// A mount without its numbers: device, root, place, type and source.
fn mount(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    let (own, filesystem) = fields.split_at(fields.iter().position(|f| *f == "-").unwrap_or(fields.len()));
    let own = own.get(3..6).unwrap_or_default().join(" ");
    format!("{own} {}", filesystem.join(" "))
}

fn walk(folder: &Path, found: &mut BTreeSet<String>, wanted: &dyn Fn(&Path) -> bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Links are not followed: /sys/fs/cgroup holds some that lead back into it.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if !kind.is_symlink() && wanted(&path) {
            found.insert(path.display().to_string());
        }
        if kind.is_dir() {
            walk(&path, found, wanted);
        }
    }
}

/// Namespaces that a process is in, other than short-lived threads' own, and what runs below this process.
fn processes() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut namespaces = BTreeSet::new();
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        for link in std::fs::read_dir(entry.path().join("ns")).into_iter().flatten().flatten() {
            if let Ok(namespace) = std::fs::read_link(link.path()) {
                namespaces.insert(namespace.display().to_string());
            }
        }
        // `pid (name) state parent ...`; the name may hold anything, also parentheses.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((start, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let name = start.split_once('(').map_or("", |(_, name)| name).to_owned();
        let mut fields = rest.split_whitespace();
        let (state, parent) =
            (fields.next().unwrap_or_default().to_owned(), fields.next().and_then(|p| p.parse::<u32>().ok()));
        if state != "Z" {
            parents.insert(pid, (parent.unwrap_or(0), name));
        }
    }
    let own = std::process::id();
    let below = parents.iter().filter(|(pid, _)| **pid != own && descends(**pid, own, &parents));
    (namespaces, below.map(|(pid, (_, name))| format!("{name} ({pid})")).collect())
}

fn descends(pid: u32, ancestor: u32, parents: &BTreeMap<u32, (u32, String)>) -> bool {
    let mut at = pid;
    // Bounded: what is read from /proc piece by piece need not be a tree.
    for _ in 0..64 {
        match parents.get(&at) {
            Some((parent, _)) if *parent == ancestor => return true,
            Some((parent, _)) => at = *parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_loses_its_numbers() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount(line), "/mnt1 /mnt2 rw,noatime - ext3 /dev/root rw,errors=continue");
    }

    #[test]
    fn grandchildren_descend() {
        let parents = BTreeMap::from([(2, (1, "a".to_owned())), (3, (2, "b".to_owned())), (4, (9, "c".to_owned()))]);
        assert!(descends(3, 1, &parents));
        assert!(!descends(4, 1, &parents));
    }
}
