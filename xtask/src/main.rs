//! `cargo xtask`: what the make targets do. The Makefile is a thin front door over these subcommands.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod command;
mod demo;
mod fresh_debian;
mod generate;
mod needs;
mod preconditions;
mod repository;
mod setup;
mod suite;
mod tidy;
mod traces;
mod vm;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

use build::Profile;
use needs::Purpose;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tries and tests Malla on this machine")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, saying what and why before it does
    Setup {
        /// What the machine is wanted for
        #[arg(long = "for", value_enum, default_value = "demo")]
        purpose: Purpose,
    },
    /// Build malla, and the static malla-cni beside it
    Build {
        #[arg(long, value_enum, default_value = "release")]
        profile: Profile,
    },
    /// Set up, build, bring up a three-node lab, apply examples/spink and curl it until both replicas have answered
    Demo,
    /// Remove the demo's lab without a trace
    DemoDown,
    /// Run every check and every test, and say how it ended
    Test(suite::TestArgs),
    /// Check the order of crates, banned dependencies and the house rules for sources
    Tidy,
    /// Write generated code anew: Hubble's messages, from crates/flow-api/proto
    Generate,
    /// Run a command and show that the machine is as it was before
    ///
    /// Example: cargo xtask clean-check -- sh -c 'make demo && make demo-down'
    CleanCheck(traces::CleanCheckArgs),
    /// Make a fresh Debian 12 and run the demo and the tests in it, from a clean clone
    DebootstrapCheck(fresh_debian::DebootstrapArgs),
    /// Measure what things cost, beside the kernel's own ways, in one run; what follows is the benchmark's own
    ///
    /// Example: cargo xtask bench services --sizes 10,50000
    Bench {
        /// Which benchmark, and its options (`services --help`)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Run the datapath's tests, or any static programs, on another kernel in an emulated machine
    ///
    /// Example: cargo xtask vm --kernel 6.1
    Vm(vm::VmArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup { purpose } => setup::run(purpose),
        Task::Build { profile } => {
            setup::run(Purpose::Build)?;
            build::run(profile).map(drop)
        }
        Task::Demo => demo::up(),
        Task::DemoDown => demo::down(),
        Task::Test(args) => suite::run(&args),
        Task::Tidy => tidy::run(),
        Task::Generate => generate::run(),
        Task::CleanCheck(args) => traces::run(&args),
        Task::DebootstrapCheck(args) => fresh_debian::run(&args),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Vm(args) => vm::run(&args),
    }
}
