//! `bench`: what things cost, always as ratios between set-ups that were measured side by side in one run.
//!
//! Everything lives in network namespaces of threads that end with the program; nothing of the machine is touched.

mod cgroup;
mod flows;
mod packets;
mod policy;
mod rounds;
mod services;
mod updates;
mod worker;
mod written;

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
    /// Nanoseconds per packet in the Pod's program, by the number of Services and backends
    Packets(packets::PacketsArgs),
    /// From lists and events of the API to the kernel's maps: the first time, after a restart, one change
    Updates(updates::UpdatesArgs),
    /// What policy costs per packet, by the number of rows and policies, and what its changes cost
    Policy(policy::PolicyArgs),
    /// What the log of flows costs to write and to keep, and how fast it answers
    Flows(flows::FlowsArgs),
}

fn main() -> ExitCode {
    let done = match Bench::parse().what {
        What::Services(args) => services::run(&args),
        What::Packets(args) => packets::run(&args),
        What::Updates(args) => updates::run(&args),
        What::Policy(args) => policy::run(&args),
        What::Flows(args) => flows::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
