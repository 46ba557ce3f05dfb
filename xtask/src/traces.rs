//! `clean-check`: runs a command and shows that the machine is as it was before, down to its addresses, rules,
//! sysctls, namespaces, mounts, pins, cgroups and processes.

mod kernel;
mod network;

use crate::preconditions;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct CleanCheckArgs {
    /// The command, for example: sh -c 'make demo && make demo-down'
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The kernel frees namespaces, and what lies in them, in the background.
const SETTLE: Duration = Duration::from_secs(10);

/// What the machine looked like: for each aspect, its lines.
pub type Snapshot = BTreeMap<&'static str, BTreeSet<String>>;

pub fn run(args: &CleanCheckArgs) -> Result<()> {
    preconditions::root()?;
    // Whatever the command leaves running becomes our child, so that other people's processes are not mistaken for it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("become the subreaper")?;
    let before = snapshot()?;
    let status = Command::new(&args.command[0]).args(&args.command[1..]).status();
    let status = status.with_context(|| format!("start {}", args.command[0]))?;
    let differences = settled(&before)?;
    for difference in &differences {
        eprintln!("{difference}");
    }
    if !differences.is_empty() {
        bail!("{} things are not as they were before", differences.len());
    }
    if !status.success() {
        bail!("nothing was left behind, but the command ended with {status}");
    }
    let things: usize = before.values().map(BTreeSet::len).sum();
    let aspects: Vec<_> = before.keys().copied().collect();
    println!("Nothing was left behind: {things} lines of {} are equal to before.", aspects.join(", "));
    Ok(())
}

fn snapshot() -> Result<Snapshot> {
    let mut snapshot = Snapshot::new();
    network::record(&mut snapshot)?;
    kernel::record(&mut snapshot)?;
    Ok(snapshot)
}

/// Differences that stay for longer than the kernel needs to free things.
fn settled(before: &Snapshot) -> Result<Vec<String>> {
    let started = Instant::now();
    loop {
        let differences = compare(before, &snapshot()?);
        if differences.is_empty() || started.elapsed() > SETTLE {
            return Ok(differences);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn compare(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut differences = Vec::new();
    let nothing = BTreeSet::new();
    for aspect in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (before.get(aspect).unwrap_or(&nothing), after.get(aspect).unwrap_or(&nothing));
        differences.extend(new.difference(old).map(|line| format!("{aspect}: left behind: {line}")));
        differences.extend(old.difference(new).map(|line| format!("{aspect}: gone: {line}")));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_came_and_what_went() {
        let snapshot = |lines: &[&str]| Snapshot::from([("links", lines.iter().map(|l| (*l).to_owned()).collect())]);
        assert!(compare(&snapshot(&["lo"]), &snapshot(&["lo"])).is_empty());
        assert_eq!(
            compare(&snapshot(&["lo", "a"]), &snapshot(&["lo", "b"])),
            ["links: left behind: b", "links: gone: a"]
        );
    }
}
