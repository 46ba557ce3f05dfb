//! `make test`: every check and every test of the workspace, counted, with one closing line.
//!
//! The test programs are built by cargo and run here one by one, so that each is bounded in time, its output is shown
//! only when something failed, and the lab's tests, which load the whole machine, run last and alone.

pub mod programs;
mod tally;

use crate::build::{self, Profile};
use crate::needs::Purpose;
use crate::{command, preconditions, repository, setup, tidy};
use anyhow::Result;
use std::process::Command;
use std::time::Instant;
use tally::Tally;

#[derive(clap::Args)]
pub struct TestArgs {
    /// Also the long tests, which are marked as ignored, the other kernels and the fresh Debian
    #[arg(long)]
    all: bool,
    /// Only the tests of these crates, and no other checks
    #[arg(long = "package", short, value_name = "CRATE")]
    packages: Vec<String>,
}

pub fn run(args: &TestArgs) -> Result<()> {
    let started = Instant::now();
    preconditions::check()?;
    setup::run(if args.all { Purpose::All } else { Purpose::Test })?;
    let mut tally = Tally::default();
    if args.packages.is_empty() {
        checks(&mut tally);
    }
    tests(args, &mut tally);
    if args.all && args.packages.is_empty() {
        other_machines(&mut tally);
    }
    tally.finish(started.elapsed())
}

/// What is right or wrong as a whole counts as one test each.
fn checks(tally: &mut Tally) {
    tally.check("tidy", tidy::run);
    tally.check("cargo fmt --check", || command::check(command::new("cargo", &["fmt", "--all", "--check"])));
    tally.check("cargo clippy -D warnings", || {
        let flags = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
        command::check(command::new("cargo", &flags))
    });
}

fn tests(args: &TestArgs, tally: &mut Tally) {
    let mut programs = Vec::new();
    tally.check("building the tests", || {
        programs = programs::build(&args.packages)?;
        // After cargo's own build, which puts a malla-cni with a dynamic loader into the same place.
        build::static_plugin(Profile::Dev, &repository::target().join(Profile::Dev.folder()))
    });
    println!("==> running {} test programs", programs.len());
    for program in &programs {
        tally.program(program, args.all);
    }
    if args.packages.is_empty() {
        tally.check("examples in the documentation", || {
            command::check(command::new("cargo", &["test", "--workspace", "--doc", "--locked", "--quiet"]))
        });
    }
}

/// The kernels that Malla promises beside this one, and a machine with nothing on it. Each is a run of ourselves.
fn other_machines(tally: &mut Tally) {
    for kernel in ["6.1", "6.12"] {
        tally.check(&format!("the datapath on Linux {kernel}"), || {
            command::check(ourselves(&["vm", "--kernel", kernel]))
        });
    }
    tally.check("a fresh Debian 12", || command::check(ourselves(&["debootstrap-check"])));
}

fn ourselves(arguments: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "xtask".into());
    command::new(program, arguments)
}
