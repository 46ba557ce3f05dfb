//! A deliberate fault: one line that is changed, and the sources in which it is.

use std::path::{Path, PathBuf};

/// One line, changed.
pub struct Fault {
    /// What is wrong now.
    pub what: &'static str,
    /// Below `crates/`.
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

pub const fn fault(what: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Fault {
    Fault { what, file, from, to }
}

impl Fault {
    /// Changes it in the sources below this folder, lets somebody look at that, and changes it back.
    pub fn tried<T>(&self, root: &Path, look: impl FnOnce() -> T) -> T {
        let path = root.join("crates").join(self.file);
        let right = std::fs::read_to_string(&path).unwrap();
        self.is_in_its_place(&right);
        std::fs::write(&path, right.replace(self.from, self.to)).unwrap();
        let seen = look();
        std::fs::write(&path, &right).unwrap();
        seen
    }

    fn is_in_its_place(&self, text: &str) {
        assert_eq!(text.matches(self.from).count(), 1, "{}: `{}` must be there once", self.file, self.from);
    }
}

/// A fault whose line is gone would keep all after it from being tried.
pub fn are_in_their_places(faults: &[Fault]) {
    for fault in faults {
        let Ok(text) = std::fs::read_to_string(crates().join(fault.file)) else {
            // The test program alone, on another kernel.
            return;
        };
        fault.is_in_its_place(&text);
    }
}

pub fn crates() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// These crates in a folder of this name, with a workspace of those of them that are in one: the programs are built for another target,
/// outside of every workspace.
pub fn sources(folder: &str, names: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    for name in names {
        copy(&crates().join(name), &root.join("crates").join(name));
    }
    let manifest = std::fs::read_to_string(crates().join("../Cargo.toml")).unwrap();
    let (head, rest) = manifest.split_once("members = [").unwrap();
    let (_, tail) = rest.split_once("]\n").unwrap();
    let members = names.iter().filter(|name| **name != "datapath-programs").map(|name| format!("\"crates/{name}\", "));
    let members: String = members.collect();
    std::fs::write(root.join("Cargo.toml"), format!("{head}members = [{members}]\n{tail}")).unwrap();
    for file in ["Cargo.lock", "rust-toolchain.toml"] {
        std::fs::copy(crates().join("..").join(file), root.join(file)).unwrap();
    }
    root
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                copy(&entry.path(), &target);
            }
        } else if std::fs::read(&target).ok() != Some(std::fs::read(entry.path()).unwrap()) {
            // What is the same keeps its time, and is not compiled again.
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
