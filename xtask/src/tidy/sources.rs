//! Rules for Rust files: how long they are, what they are called, and who may write `unsafe`.

use super::Source;
use std::path::Path;

/// Past this a file is asking to be split; it is reported.
const LONG: usize = 500;
/// Past this it is a complaint.
const TOO_LONG: usize = 800;

/// Crates without `#![forbid(unsafe_code)]`, and why. Everything else has it.
const UNSAFE: &[(&str, &str)] = &[
    ("network-namespace", "setns on a thread of its own"),
    ("datapath", "bpf(2), and reading what the kernel wrote into ring buffers and maps"),
    ("l2-announce", "packet sockets, which no safe crate offers"),
    ("agent", "the cookie of its network namespace and the allocator's limits, which no safe crate offers"),
    ("pod-runner", "entering namespaces between fork and exec, where only bare system calls are allowed"),
    ("bench", "a mount namespace for a thread of its own, which no safe crate offers"),
    ("datapath-programs", "every eBPF program is a C function with raw pointers"),
];

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "common", "misc"];

pub fn check(files: &[Source], complaints: &mut Vec<String>) {
    for file in files.iter().filter(|f| f.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        // Nobody reads what a program wrote; what it was written from is short.
        if lines > TOO_LONG && !file.path.contains("/generated/") {
            complaints.push(format!("{} has {lines} lines: split it", file.path));
        }
        if let Some(word) = file.path.split(['/', '.', '_', '-']).find(|part| EMPTY_NAMES.contains(part)) {
            complaints.push(format!("{}: `{word}` names nothing; find the noun", file.path));
        }
        if let Some(name) = crate_of_root(&file.path) {
            let forbids = file.text.contains("#![forbid(unsafe_code)]");
            let listed = UNSAFE.iter().any(|(listed, _)| *listed == name);
            if !forbids && !listed {
                complaints.push(format!(
                    "{} lacks #![forbid(unsafe_code)], and {name} is not on tidy's list of exceptions",
                    file.path
                ));
            }
            if forbids && listed {
                complaints
                    .push(format!("{} forbids unsafe code: take {name} off tidy's list of exceptions", file.path));
            }
        }
    }
}

pub fn long_files(files: &[Source]) -> Vec<String> {
    let rust = files.iter().filter(|f| f.path.ends_with(".rs"));
    let lengths = rust.map(|file| (file.text.lines().count(), &file.path));
    lengths
        .filter(|(lines, _)| (LONG + 1..=TOO_LONG).contains(lines))
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect()
}

/// The crate whose root this file is. A binary beside a library is a root of its own.
fn crate_of_root(path: &str) -> Option<&str> {
    let (folder, file) = path.split_once("/src/")?;
    let is_root = matches!(file, "lib.rs" | "main.rs") || (file.starts_with("bin/") && file.matches('/').count() == 1);
    if is_root { Path::new(folder).file_name()?.to_str() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        check(&[Source { path: path.to_owned(), text: text.to_owned() }], &mut complaints);
        complaints
    }

    #[test]
    fn roots_forbid_unsafe_code_unless_listed() {
        assert_eq!(complaints("crates/ipam/src/lib.rs", "").len(), 1);
        assert!(complaints("crates/ipam/src/lib.rs", "#![forbid(unsafe_code)]").is_empty());
        assert!(complaints("crates/ipam/src/plan.rs", "").is_empty());
        assert!(complaints("crates/datapath/src/lib.rs", "").is_empty());
        assert_eq!(complaints("crates/datapath/src/lib.rs", "#![forbid(unsafe_code)]").len(), 1);
    }

    #[test]
    fn names_and_lengths() {
        assert_eq!(complaints("crates/ipam/src/utils.rs", "").len(), 1);
        assert_eq!(complaints("crates/ipam/src/plan.rs", &"x\n".repeat(TOO_LONG + 1)).len(), 1);
        assert!(complaints("crates/ipam/src/generated/plan.rs", &"x\n".repeat(TOO_LONG + 1)).is_empty());
        let long = Source { path: "a/src/b.rs".into(), text: "x\n".repeat(LONG + 1) };
        assert_eq!(long_files(&[long]), ["a/src/b.rs has 501 lines"]);
    }
}
