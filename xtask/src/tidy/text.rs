//! Words that may not stand in any tracked file: paths of one machine, and marks of unfinished work.

use super::Source;
use crate::repository;

/// Marks of unfinished work, in Rust files. Written apart, so that this file does not hold them.
const UNFINISHED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("TO", "DO"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Folders that exist on one machine and mean nothing on another.
const HOMES: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

pub fn check(files: &[Source], complaints: &mut Vec<String>) {
    let checkout = format!("{}/", repository::root().display());
    let home = std::env::var("HOME").map(|home| home + "/").unwrap_or_default();
    let mut machine: Vec<&str> = HOMES.to_vec();
    // Short ones, such as `/` in a container, would match everything.
    machine.extend([checkout.as_str(), home.as_str()].iter().filter(|path| path.len() > 4));

    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path, number + 1);
            if let Some(path) = machine.iter().find(|path| line.contains(**path)) {
                complaints.push(format!("{place} holds a path of one machine ({path})"));
            }
            if file.path.ends_with(".rs") {
                rust_line(&place, line, complaints);
            }
            if file.path.ends_with("Cargo.lock")
                && line.starts_with("source = ")
                && !line.contains("github.com/rust-lang/crates.io-index")
            {
                complaints.push(format!("{place}: {line} is not the public registry"));
            }
        }
    }
}

fn rust_line(place: &str, line: &str, complaints: &mut Vec<String>) {
    if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
        complaints.push(format!("{place} says {mark}: finish it, or say in docs/features.md that it is open"));
    }
    if line.trim() == concat!("#[ig", "nore]") {
        complaints.push(format!("{place}: an ignored test says why: #[ignore = \"...\"]"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, line: &str) -> usize {
        let mut complaints = Vec::new();
        check(&[Source { path: path.to_owned(), text: line.to_owned() }], &mut complaints);
        complaints.len()
    }

    #[test]
    fn paths_of_a_machine() {
        assert_eq!(complaints("README.md", concat!("see /ro", "ot/x")), 1);
        assert_eq!(complaints("README.md", &format!("{}/x", repository::root().display())), 1);
        assert_eq!(complaints("README.md", "see /run/malla/malla"), 0);
    }

    #[test]
    fn unfinished_work() {
        assert_eq!(complaints("a.rs", concat!("// FIX", "ME later")), 1);
        assert_eq!(complaints("a.rs", concat!("    #[ig", "nore]")), 1);
        assert_eq!(complaints("a.rs", concat!("    #[ig", "nore = \"an hour long\"]")), 0);
        assert_eq!(complaints("Cargo.lock", "source = \"registry+https://mirror.example/index\""), 1);
    }
}
