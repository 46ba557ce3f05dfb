//! `malla`: the one binary. This file only names the subcommands; what they do lives in the crates they come from.
#![forbid(unsafe_code)]

mod advice;
mod agents;
mod bpf;
mod completion;
mod endpoint;
mod identity;
mod list;
mod monitor;
mod observe;
mod pem;
mod policy;
mod relay;
mod server_address;
mod service;
mod status;
mod trace;
mod units;
mod watch;
mod xml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The whole network of Kubernetes in one program.
#[derive(Parser)]
#[command(name = "malla", version, propagate_version = true)]
struct Malla {
    #[command(subcommand)]
    command: Command,
}

/// One variant per role or everyday command; each crate brings its own arguments and `run`.
#[derive(Subcommand)]
enum Command {
    /// A whole cluster on this machine: nodes as network namespaces, the real datapath
    Lab(lab::cli::LabArgs),
    /// How the agents do: state, memory, drops, what they adopted
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// What happens to packets, as it happens
    #[command(after_help = monitor::EXAMPLES)]
    Monitor(monitor::MonitorArgs),
    /// A connection's packets, hop by hop, through every node that they cross
    #[command(after_help = trace::EXAMPLES)]
    Trace(trace::TraceArgs),
    /// Flows that were seen: by name, from all nodes, with the flags of `hubble observe`
    #[command(after_help = observe::EXAMPLES)]
    Observe(Box<observe::ObserveArgs>),
    /// Which nodes tell flows, and of which namespaces
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Nodes that tell flows, as they come and go
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::WatchArgs),
    /// The flows of all nodes at one place, for `hubble`, its UI and `malla observe --server`
    #[command(after_help = relay::EXAMPLES)]
    Relay(relay::RelayArgs),
    /// What is in the pinned maps, with or without an agent
    #[command(after_help = bpf::EXAMPLES)]
    Bpf(bpf::BpfArgs),
    /// What Services have and serve, which backend a client gets, and why
    #[command(after_help = service::EXAMPLES)]
    Service(service::ServiceArgs),
    /// Which number stands for which labels
    #[command(after_help = identity::EXAMPLES)]
    Identity(identity::IdentityArgs),
    /// The Pods of each node, and who they are
    #[command(after_help = endpoint::EXAMPLES)]
    Endpoint(endpoint::EndpointArgs),
    /// Policies before they are in force: what is wrong with them, and what they mean
    #[command(after_help = policy::EXAMPLES)]
    Policy(policy::PolicyArgs),
    /// Print a script that completes commands in a shell
    #[command(after_help = completion::EXAMPLES)]
    Completion(completion::CompletionArgs),
    /// The embedded Kubernetes API server of a lab
    #[command(hide = true)]
    Apiserver(kubernetes_api::cli::ApiserverArgs),
    /// The agent of a node (started by `malla lab up`)
    Agent(Box<agent::cli::AgentArgs>),
    /// The lab's DNS: the cluster's names, and those of the outside host
    #[command(hide = true)]
    Dns(cluster_dns::cli::DnsArgs),
    /// What a built-in image executes.
    #[command(hide = true)]
    Workload(workloads::cli::WorkloadArgs),
    /// The parent process of one container.
    #[command(hide = true)]
    ContainerShim(pod_runner::cli::ShimArgs),
}

fn main() -> ExitCode {
    match run(Malla::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // One line, causes included; `{:?}` would add a backtrace where one is asked for by the environment.
            eprintln!("malla: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(args) => return status::run(&args),
        Command::Policy(args) => return policy::run(&args),
        Command::Trace(args) => return trace::run(&args),
        Command::Monitor(args) => monitor::run(&args),
        Command::Observe(args) => observe::run(&args),
        Command::List(args) => list::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Agent(args) => agent::cli::run(*args),
        Command::Bpf(args) => bpf::run(&args),
        Command::Service(args) => service::run(&args),
        Command::Identity(args) => identity::run(&args),
        Command::Endpoint(args) => endpoint::run(&args),
        Command::Completion(args) => completion::run::<Malla>(&args),
        Command::Lab(args) => lab::cli::run(args),
        Command::Apiserver(args) => kubernetes_api::cli::run(args),
        Command::Dns(args) => cluster_dns::cli::run(args),
        Command::Workload(args) => workloads::cli::run(args),
        Command::ContainerShim(args) => pod_runner::cli::run(args),
    }?;
    Ok(ExitCode::SUCCESS)
}
