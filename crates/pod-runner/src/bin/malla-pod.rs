//! What Pods consist of, and nothing else: what the tests of this crate execute without building the whole program.

use std::path::PathBuf;

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
    /// As `malla lab exec`, with the folder of the Pods instead of a lab.
    Exec {
        pods: PathBuf,
        namespace: String,
        pod: String,
        #[arg(last = true)]
        argv: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match MallaPod::parse().command {
        Command::Workload(args) => workloads::cli::run(args),
        Command::ContainerShim(args) => pod_runner::cli::run(args),
        Command::Exec { pods, namespace, pod, argv } => {
            let target = pod_runner::target(&pods, &namespace, &pod, None)?;
            std::process::exit(pod_runner::exec(&target, &argv)?)
        }
    }
}
