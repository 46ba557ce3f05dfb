//! Banned crates and licences, as deny.toml lists them, held against what is really built.

use crate::needs::STATIC_TARGET;
use crate::{command, repository};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

pub fn check(complaints: &mut Vec<String>) -> Result<()> {
    let deny = std::fs::read_to_string(repository::root().join("deny.toml")).context("read deny.toml")?;
    let banned = banned(&deny);
    let licences = strings(section(&deny, "[licenses]"));
    for manifest in ["Cargo.toml", "crates/datapath-programs/Cargo.toml"] {
        if !repository::root().join(manifest).exists() {
            continue;
        }
        let lock = manifest.replace(".toml", ".lock");
        if !repository::root().join(&lock).exists() {
            complaints.push(format!("{lock} is missing: every build would choose other versions"));
            continue;
        }
        for (name, expression) in tree(&["--workspace", "--manifest-path", manifest])? {
            if let Some((_, reason)) = banned.iter().find(|(crate_name, _)| *crate_name == name) {
                complaints.push(format!("{manifest}: {name} is banned: {reason}"));
            }
            if !is_allowed(&expression, &licences) {
                complaints
                    .push(format!("{manifest}: {name} has the licence `{expression}`, which deny.toml does not list"));
            }
        }
    }
    // No compiler of C makes what `cargo xtask vm` takes to other kernels; who builds one in breaks that, and nothing else.
    let on_other_kernels = tree(&["--package", "datapath", "--all-features", "--target", STATIC_TARGET])?;
    if on_other_kernels.iter().any(|(name, _)| name == "cc") {
        complaints
            .push(format!("the tests of datapath need C for {STATIC_TARGET}: `cargo tree -p datapath -i cc` says why"));
    }
    Ok(())
}

/// Every crate that is built, with its licence.
fn tree(of: &[&str]) -> Result<BTreeSet<(String, String)>> {
    let mut tree = command::new("cargo", &["tree", "--locked", "--prefix", "none"]);
    tree.args(of).args(["--edges", "normal,build,dev", "--format", "{p}|{l}"]);
    let said = command::output(tree)?;
    let pairs = said.lines().filter_map(|line| {
        let (package, licence) = line.split_once('|')?;
        let licence = licence.trim_end_matches("(*)").trim();
        Some((package.split_whitespace().next()?.to_owned(), licence.to_owned()))
    });
    Ok(pairs.collect())
}

/// From one heading of deny.toml to the next.
fn section<'a>(deny: &'a str, heading: &str) -> &'a str {
    let rest = deny.split_once(heading).map_or("", |(_, rest)| rest);
    rest.find("\n[").map_or(rest, |end| &rest[..end])
}

/// Name and reason of each banned crate: one line each.
fn banned(deny: &str) -> Vec<(&str, &str)> {
    let lines = section(deny, "[bans]").lines().filter(|line| line.contains("crate = "));
    lines
        .filter_map(|line| {
            let mut quoted = line.split('"').skip(1).step_by(2);
            Some((quoted.next()?, quoted.next().unwrap_or("no reason given")))
        })
        .collect()
}

/// All quoted strings.
fn strings(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect()
}

/// An SPDX expression is allowed if one of its alternatives has only allowed terms. `/` is how old manifests write OR.
fn is_allowed(expression: &str, licences: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ");
    // `A AND (B OR C)` asks for A and for one of B and C: without its parentheses it would read `(A AND B) OR C`.
    if let Some((before, rest)) = expression.split_once('(')
        && let Some((inside, after)) = rest.split_once(')')
    {
        return inside.split(" OR ").any(|choice| is_allowed(&format!("{before}{choice}{after}"), licences));
    }
    expression.split(" OR ").any(|choice| choice.split(" AND ").all(|term| licences.contains(&term.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        let ok = |expression| is_allowed(expression, &["MIT", "Apache-2.0", "Unicode-3.0"]);
        assert!(ok("MIT"));
        assert!(ok("MIT/Apache-2.0"));
        assert!(ok("GPL-3.0 OR MIT"));
        assert!(ok("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(!ok("MIT AND GPL-3.0"));
        assert!(!ok("GPL-3.0"));
        assert!(!ok(""));
    }

    #[test]
    fn bans_are_read_with_their_reasons() {
        let deny =
            "[bans]\ndeny = [\n { crate = \"ring\", reason = \"why\" },\n]\n[licenses]\nallow = [\"MIT\"]\n# \"X\"\n";
        assert_eq!(banned(deny), [("ring", "why")]);
        assert_eq!(strings(section(deny, "[licenses]")), ["MIT"]);
    }
}
