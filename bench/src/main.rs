//! `bench`: what things cost, always as ratios between set-ups that were measured side by side in one run.
//!
//! Everything lives in network namespaces of threads that end with the program; nothing of the machine is touched.

mod cgroup;
mod services;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Benchmarks of Malla's datapath beside the kernel's own ways.
#[derive(Parser)]
#[command(name = "bench")]
struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Connection set-up and requests through Services, beside rules of kube-proxy's shape in iptables and nftables
    Services(services::ServicesArgs),
}

fn main() -> ExitCode {
    let What::Services(args) = Bench::parse().what;
    match services::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
