//! The two hidden subcommands of `malla` that Pods consist of, and nothing else: what the tests of this crate execute
//! without building the whole program.

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct MallaPod {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Workload(workloads::cli::WorkloadArgs),
    ContainerShim(pod_runner::cli::ShimArgs),
}

fn main() -> anyhow::Result<()> {
    match MallaPod::parse().command {
        Command::Workload(args) => workloads::cli::run(args),
        Command::ContainerShim(args) => pod_runner::cli::run(args),
    }
}
