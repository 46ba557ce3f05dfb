//! `malla lab …`: arguments, and which file does what.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::{down, kubeconfig, name::LabName, node_shell, pods, spec::Routing, status, supervise, up};

/// Arguments of `malla lab`.
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make a cluster on this machine, or pick up one that is there
    #[command(after_help = UP_EXAMPLES)]
    Up(UpArgs),
    /// Remove a lab without a trace, in whatever state it is
    #[command(after_help = DOWN_EXAMPLES)]
    Down(DownArgs),
    /// Show nodes, agents, API, ports and Pods
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Print the kubeconfig for kubectl and every other client
    #[command(after_help = KUBECONFIG_EXAMPLES)]
    Kubeconfig(KubeconfigArgs),
    /// Run a command in a container of a Pod
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Print what a container wrote
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(LogsArgs),
    /// Open a shell on a node, or run a command there
    #[command(after_help = NODE_SHELL_EXAMPLES)]
    NodeShell(NodeShellArgs),
    /// Keep a lab alive (started by `up`)
    #[command(hide = true)]
    Supervise(NameArgs),
}

/// Which lab.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Which lab
    #[arg(long, env = "MALLA_LAB", default_value = crate::name::DEFAULT_NAME)]
    pub name: LabName,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Name of the lab, several can run beside each other [default: the file's, or malla]
    #[arg(long, env = "MALLA_LAB")]
    pub name: Option<String>,
    /// A kind cluster file (kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many nodes, the control plane included [default: 3]
    #[arg(long, conflicts_with = "config")]
    pub nodes: Option<u16>,
    /// Range of the Pods, a /24 and a /64 of it per node [default: 10.244.0.0/16,fd00:10:244::/56]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub pod_subnet: Option<String>,
    /// Range of the Services [default: 10.96.0.0/12,fd00:10:96::/112]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub service_subnet: Option<String>,
    /// Range of the nodes [default: 172.18.0.0/16,fc00:f853:ccd:e793::/64]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub node_subnet: Option<String>,
    /// How Pods of different nodes reach each other [default: vxlan]
    #[arg(long, value_enum)]
    pub routing: Option<Routing>,
    /// Port of the Kubernetes API on 127.0.0.1 and ::1 [default: 6443, or any free one]
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Labels that make an identity, beside the defaults: `[source:][!]pattern`, `!` leaves out; can be repeated
    #[arg(long = "identity-label", value_name = "PATTERN")]
    pub identity_labels: Vec<String>,
    /// Wait until every node is Ready
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this many seconds; the lab stays and can be waited for again
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
}

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    pub which: NameArgs,
    /// Remove every lab of this machine
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub which: NameArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    Json,
    Yaml,
}

/// Arguments of `kubeconfig`.
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    pub which: NameArgs,
    /// Print where the file is instead of what it says
    #[arg(long)]
    pub path: bool,
}

/// Which container of which Pod.
#[derive(Debug, Args)]
pub struct PodArgs {
    #[command(flatten)]
    pub which: NameArgs,
    /// Namespace of the Pod
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Container of the Pod [default: the first]
    #[arg(short, long)]
    pub container: Option<String>,
    /// Name of the Pod
    pub pod: String,
}

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    pub pod: PodArgs,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub pod: PodArgs,
    /// Go on printing what is written
    #[arg(short, long)]
    pub follow: bool,
    /// Of the run before the last restart
    #[arg(short, long)]
    pub previous: bool,
    /// Begin each line with its time
    #[arg(long)]
    pub timestamps: bool,
    /// Only this many of the last lines
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
}

/// Arguments of `node-shell`.
#[derive(Debug, Args)]
pub struct NodeShellArgs {
    #[command(flatten)]
    pub which: NameArgs,
    /// A node, or `fabric` or `outside`
    pub node: String,
    /// A command and its arguments instead of a shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Runs one lab command.
pub fn run(args: LabArgs) -> anyhow::Result<()> {
    match args.command {
        LabCommand::Up(args) => up::run(args),
        LabCommand::Down(args) => down::run(&args),
        LabCommand::Status(args) => status::run(&args),
        LabCommand::Kubeconfig(args) => kubeconfig::run(&args),
        LabCommand::Exec(args) => pods::exec(&args),
        LabCommand::Logs(args) => pods::logs(&args),
        LabCommand::NodeShell(args) => node_shell::run(&args),
        LabCommand::Supervise(args) => {
            log_to_stderr();
            supervise::run(&args.name)
        }
    }
}

/// The supervisor's standard error is its log file.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MALLA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Somebody else's subscriber is as good.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

const UP_EXAMPLES: &str = "Examples:
  malla lab up --wait                                  three nodes, ready to use
  malla lab up --config kind-cluster.yaml --wait       as a kind cluster file says
  malla lab up --nodes 5 --routing native              five nodes, no tunnel
  malla lab up --name two --node-subnet 172.19.0.0/16  a second lab beside the first
  export KUBECONFIG=$(malla lab kubeconfig --path)     then: kubectl get nodes";
const DOWN_EXAMPLES: &str = "Examples:
  malla lab down              the lab called malla
  malla lab down --name two   another one
  malla lab down --all        every lab of this machine";
const STATUS_EXAMPLES: &str = "Examples:
  malla lab status
  malla lab status -o json | jq '.nodes[].agent'";
const KUBECONFIG_EXAMPLES: &str = "Examples:
  export KUBECONFIG=$(malla lab kubeconfig --path)
  malla lab kubeconfig > ~/.kube/malla";
const EXEC_EXAMPLES: &str = "Examples:
  malla lab exec spink-6f8d-abcde -- cat /etc/resolv.conf
  malla lab exec -n team-a -c web web-0 -- ip addr";
const LOGS_EXAMPLES: &str = "Examples:
  malla lab logs spink-6f8d-abcde
  malla lab logs -f --tail 20 spink-6f8d-abcde";
const NODE_SHELL_EXAMPLES: &str = "Examples:
  malla lab node-shell worker-1
  malla lab node-shell worker-1 -- curl -s http://10.96.0.1:443
  malla lab node-shell outside -- ping -c 1 172.18.0.3";
