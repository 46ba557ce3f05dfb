//! `debootstrap-check`: what a newcomer gets. Makes a Debian 12 with nothing but make, git and TLS certificates, lends it
//! cargo's and rustup's folders, clones this checkout into it, and runs the make targets there.
//!
//! It all happens in mount and PID namespaces that die with us: whatever happens, no mount and no process stays.

mod inside;
mod tree;

use crate::needs::Purpose;
use crate::{command, preconditions, repository, setup};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct DebootstrapArgs {
    /// What to run in the clone; several run one after the other
    #[arg(long = "run", value_name = "COMMAND", default_values = ["make demo", "make demo", "make demo-down", "make test"])]
    commands: Vec<String>,
    /// Keep the tree in target/fresh-debian for looking into
    #[arg(long)]
    keep: bool,
    /// The second half, inside the namespaces: not for calling by hand
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// Where the clone lies in the fresh tree.
const CLONE: &str = "/src/malla";

pub fn run(args: &DebootstrapArgs) -> Result<()> {
    if let Some(root) = &args.inside {
        return inside::run(root, &args.commands);
    }
    preconditions::check()?;
    preconditions::port_is_free(30080).context("the lab inside needs the port too")?;
    if Path::new("/run/malla/malla").exists() {
        bail!("a lab named malla is up, and the one inside needs its cgroups' names: run `make demo-down` first");
    }
    setup::run(Purpose::All)?;
    let root = repository::target().join("fresh-debian");
    tree::remove(&root)?;
    // No lab malla is up, so cgroups of that name are what a run that was killed left behind.
    let is_ours = |path: &Path| path.components().any(|part| part.as_os_str() == "malla-malla");
    remove_cgroups(&lab_cgroups().into_iter().filter(|path| is_ours(path)).collect::<Vec<_>>())?;
    let before = lab_cgroups();
    let done = make(&root).and_then(|()| in_namespaces(&root, args));
    // Processes are gone with their PID namespace by now; cgroups are the machine's, and stay until someone removes them.
    let leftovers: Vec<PathBuf> = lab_cgroups().into_iter().filter(|path| !before.contains(path)).collect();
    remove_cgroups(&leftovers)?;
    if !args.keep {
        tree::remove(&root)?;
    }
    done?;
    if !leftovers.is_empty() {
        bail!("everything ran, but {} cgroups were left behind", leftovers.len());
    }
    println!("Everything ran on a fresh Debian 12: {}.", args.commands.join(", "));
    Ok(())
}

fn make(root: &Path) -> Result<()> {
    tree::bootstrap(root)?;
    let clone = root.join(CLONE.trim_start_matches('/'));
    let mut git = command::new("git", &["clone", "--quiet", "--no-hardlinks"]);
    git.arg(repository::root()).arg(clone);
    command::check(git)
}

/// Calls this program again as the first process of new mount and PID namespaces. Two safety lines: `setpriv` ends
/// unshare when we die, and unshare then ends the first process, with which the kernel ends all others.
fn in_namespaces(root: &Path, args: &DebootstrapArgs) -> Result<()> {
    let mut wrapped =
        command::new("setpriv", &["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    wrapped.args(["--pid", "--fork", "--kill-child"]);
    wrapped.arg(std::env::current_exe().context("find ourselves")?);
    wrapped.args(["debootstrap-check", "--inside"]).arg(root);
    for command in &args.commands {
        wrapped.args(["--run", command]);
    }
    command::check(wrapped)
}

/// Children before parents.
fn remove_cgroups(cgroups: &[PathBuf]) -> Result<()> {
    for cgroup in cgroups.iter().rev() {
        println!("removing cgroup {}", cgroup.display());
        std::fs::remove_dir(cgroup).with_context(|| format!("remove cgroup {}", cgroup.display()))?;
    }
    Ok(())
}

/// The cgroups of labs, parents before children.
fn lab_cgroups() -> Vec<PathBuf> {
    fn below(folder: &Path, inside_lab: bool, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let is_lab = inside_lab || entry.file_name().to_string_lossy().starts_with("malla-");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if is_lab {
                    found.push(entry.path());
                }
                below(&entry.path(), is_lab, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), false, &mut found);
    found
}
