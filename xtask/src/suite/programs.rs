//! Which test programs there are, and in which order they run.

use crate::command;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Crates whose tests bring up whole labs: they run last, one test at a time.
const WHOLE_LABS: &[&str] = &["pod-runner", "lab", "malla"];

/// A test program that cargo built.
pub struct Program {
    /// `crate::target`.
    pub name: String,
    pub executable: PathBuf,
    /// Tests run in their package's folder, as cargo does it.
    pub folder: PathBuf,
    pub package: String,
    /// One test after the other.
    pub alone: bool,
}

/// One line of `cargo --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds those of the named packages, or all, and returns them in the order to run: whole labs last.
pub fn build(packages: &[String]) -> Result<Vec<Program>> {
    let chosen: Vec<&str> = packages.iter().flat_map(|package| ["-p", package]).collect();
    let mut programs = build_of(if chosen.is_empty() { &["--workspace"] } else { &chosen })?;
    programs.sort_by_key(|p| {
        let last = WHOLE_LABS.iter().position(|name| *name == p.package && p.alone);
        (last, p.name.clone())
    });
    Ok(programs)
}

/// Builds what the flags for `cargo test` choose.
pub fn build_of(selection: &[&str]) -> Result<Vec<Program>> {
    let mut cargo = command::new("cargo", &["test", "--no-run", "--locked"]);
    cargo.arg("--message-format=json-render-diagnostics").args(selection);
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start cargo test --no-run")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect())
}

fn program(line: &str) -> Option<Program> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let target = message.target?;
    let folder = message.manifest_path?.parent()?.to_owned();
    let package = folder.file_name().and_then(|n| n.to_str())?.to_owned();
    // Tests beside the code (kind lib or bin) are pure; those in tests/ use real parts.
    let real = target.kind.iter().any(|kind| kind == "test");
    let alone = real && WHOLE_LABS.contains(&package.as_str());
    Some(Program {
        name: format!("{package}::{}", if real { target.name.as_str() } else { "unit" }),
        executable: message.executable?,
        folder,
        package,
        alone,
    })
}

impl Program {
    pub fn command(&self, with_ignored: bool) -> std::process::Command {
        let mut command = command::new(&self.executable, &[]);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO_PKG_NAME", &self.package);
        if self.alone {
            command.arg("--test-threads=1");
        }
        if with_ignored {
            command.arg("--include-ignored");
        }
        command
    }

    /// Longer than this it hangs, and is ended. With its long tests: each of a hundred deliberate faults builds the programs anew.
    pub fn patience(&self, with_ignored: bool) -> Duration {
        Duration::from_secs(match (with_ignored, self.alone) {
            (true, _) => 5400,
            (false, true) => 900,
            (false, false) => 300,
        })
    }

    /// Where its whole output goes.
    pub fn log(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.log", self.name.replace("::", "-")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_built() {
        let line = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/crates/lab/Cargo.toml","target":{{"name":"ends","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":"/x/t/ends-1"}}"#
            )
        };
        let whole = program(&line("test", true)).unwrap();
        assert_eq!((whole.name.as_str(), whole.alone), ("lab::ends", true));
        let unit = program(&line("lib", true)).unwrap();
        assert_eq!((unit.name.as_str(), unit.alone), ("lab::unit", false));
        assert!(program(&line("lib", false)).is_none());
        assert!(program(r#"{"reason":"build-finished","success":true}"#).is_none());
    }
}
