//! docs/features.md names tests as `crate::program::test`, where program is `unit` (tests beside the code) or a file
//! of the crate's tests/ folder. A name that leads nowhere is a claim that nothing shows.

use super::Source;

const PAGE: &str = "docs/features.md";

pub fn check(files: &[Source], complaints: &mut Vec<String>) {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        complaints.push(format!("{PAGE} is missing"));
        return;
    };
    for (number, line) in page.text.lines().enumerate() {
        for reference in line.split('`').skip(1).step_by(2).filter(|quoted| is_reference(quoted)) {
            for name in names(reference) {
                if !exists(&name, files) {
                    complaints.push(format!("{PAGE}:{}: there is no test {name}", number + 1));
                }
            }
        }
    }
}

/// Three parts at least; `kubernetes_api::cli` and the like in prose are none.
fn is_reference(quoted: &str) -> bool {
    quoted.matches("::").count() >= 2 && !quoted.contains(' ') | quoted.contains('{')
}

/// `a::b::{c, d}` means `a::b::c` and `a::b::d`.
fn names(reference: &str) -> Vec<String> {
    match reference.split_once('{') {
        Some((front, list)) => {
            list.trim_end_matches('}').split(',').map(|last| format!("{front}{}", last.trim())).collect()
        }
        None => vec![reference.to_owned()],
    }
}

fn exists(name: &str, files: &[Source]) -> bool {
    let parts: Vec<&str> = name.split("::").collect();
    let [package, program, .., test] = parts.as_slice() else { return false };
    // As Rust writes it; the folder has a hyphen.
    let package = package.replace('_', "-");
    let folders = [format!("crates/{package}/"), format!("{package}/")];
    let mine = |path: &str, inside: &str| folders.iter().any(|folder| path.starts_with(&format!("{folder}{inside}")));
    let is_there = |file: &Source| match *program {
        "unit" => mine(&file.path, "src/"),
        program => mine(&file.path, &format!("tests/{program}.rs")) || mine(&file.path, &format!("tests/{program}/")),
    };
    // `fn name(` is a test; a file or module of that name stands for all the tests in it.
    let signature = format!("fn {test}(");
    let (as_file, as_folder) = (format!("/{test}.rs"), format!("/{test}/"));
    files
        .iter()
        .filter(|file| is_there(file))
        .any(|file| file.text.contains(&signature) || file.path.ends_with(&as_file) || file.path.contains(&as_folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(line: &str) -> Vec<String> {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let files = [
            source(PAGE, line),
            source("crates/lab/tests/ends.rs", "#[test]\nfn it_ends() {}\n"),
            source("crates/lab/src/plan.rs", "fn plan() {}"),
        ];
        let mut complaints = Vec::new();
        check(&files, &mut complaints);
        complaints
    }

    #[test]
    fn every_named_test_has_to_exist() {
        assert!(complaints("| x | `lab::ends::it_ends`, `lab::unit::plan` |").is_empty());
        assert!(complaints("| x | `make test`, `a::b` |").is_empty());
        assert_eq!(complaints("| x | `lab::ends::{it_ends, it_starts}` |").len(), 1);
        assert_eq!(complaints("| x | `lab::elsewhere::it_ends` |").len(), 1);
        assert_eq!(complaints("| x | `lan::ends::it_ends` |").len(), 1);
    }
}
