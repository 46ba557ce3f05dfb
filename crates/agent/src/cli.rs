//! `malla agent …`: arguments, and the way into the loop.

use crate::keeping::FlowArgs;
use crate::kernel;
use crate::node_config::PortRange;
use crate::probes::ProbeArgs;
use crate::run;
use clap::{ArgAction, Args, ValueEnum};
use datapath_layouts::maps;
use ipnet::IpNet;
use policy::failsafe::Failsafe;
use std::path::PathBuf;

/// Arguments of `malla agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// Name of the Node object that this agent is for
    #[arg(long, value_name = "NAME")]
    pub node_name: String,
    /// How the Kubernetes API is reached: by its own address, never by a Service
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Folder for sockets and what must survive a restart
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: PathBuf,
    /// Folder on a bpffs where programs, maps and links are pinned
    #[arg(long, value_name = "FOLDER")]
    pub bpf_dir: PathBuf,
    /// Cgroup (v2) of what runs on this node: the socket hooks go there
    #[arg(long, value_name = "FOLDER")]
    pub cgroup: PathBuf,
    /// The node's device towards other nodes
    #[arg(long, default_value = "eth0")]
    pub device: String,
    /// How Pods of other nodes are reached
    #[arg(long, value_enum, default_value_t)]
    pub routing: RoutingArg,
    /// Ranges of Service addresses
    #[arg(long, value_delimiter = ',', default_values = ["10.96.0.0/12", "fd00:10:96::/112"], value_name = "CIDR,CIDR")]
    pub service_cidr: Vec<IpNet>,
    /// Ports that NodePorts are taken from
    #[arg(long, default_value = "30000-32767", value_name = "FIRST-LAST")]
    pub node_port_range: PortRange,
    /// Ports (and ICMP ids) that masquerade hands out; outside of net.ipv4.ip_local_port_range
    #[arg(long, default_value = "61000-65535", value_name = "FIRST-LAST")]
    pub nat_port_range: PortRange,
    /// Ports of the node that no policy about nodes shuts
    #[arg(long, value_delimiter = ',', default_values_t = Failsafe::default().ingress, value_name = "PORT/PROTOCOL,…")]
    pub failsafe_ingress: Vec<policy::failsafe::PortRange>,
    /// Ports to which the node may always speak; the API server's is always one of them
    #[arg(long, value_delimiter = ',', default_values_t = Failsafe::default().egress, value_name = "PORT/PROTOCOL,…")]
    pub failsafe_egress: Vec<policy::failsafe::PortRange>,
    /// The short way through the device's driver for what goes on to other nodes
    #[arg(long, value_enum, default_value_t)]
    pub xdp: XdpArg,
    /// Whether frames in the name of a node on the link must be from that node's device. Switch it off where nodes send by
    /// other devices than those that answer for their addresses
    #[arg(long, action = ArgAction::Set, default_value_t = true, value_name = "true|false")]
    pub verify_node_mac: bool,
    /// Sizes of the maps: `lab` is small, `node` is for production
    #[arg(long, env = "MALLA_PROFILE", value_enum, default_value_t)]
    pub profile: ProfileArg,
    /// Fewer entries in the maps of policy than the profile has: to see what happens when they are full
    #[arg(long, env = "MALLA_POLICY_ROOM", value_delimiter = ',', value_parser = policy_room, value_name = "MAP=ENTRIES")]
    pub policy_room: Vec<PolicyRoom>,
    /// A node that did not renew its Lease for so many seconds loses the Service addresses that it announces
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "SECONDS")]
    pub l2_lease_duration: u32,
    /// Milliseconds between two renewals of such a Lease; at most half of its duration
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(50..), value_name = "MILLISECONDS")]
    pub l2_lease_renew: u32,
    /// Serve flows over the network too: a folder with tls.crt, tls.key and ca.crt (as a Secret is mounted). Who has a
    /// certificate of that authority may ask
    #[arg(long, value_name = "FOLDER")]
    pub hubble_tls: Option<PathBuf>,
    /// The port for it, at the node's own address
    #[arg(long, default_value_t = 4244, value_name = "PORT")]
    pub hubble_port: u16,
    #[command(flatten)]
    pub probes: ProbeArgs,
    #[command(flatten)]
    pub flows: FlowArgs,
}

/// How Pods of other nodes are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RoutingArg {
    /// Through VXLAN tunnels between the nodes
    #[default]
    Vxlan,
    /// By the network between the nodes
    Native,
}

/// Whether and where the XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpArg {
    /// In the driver, where the device's frames have their checksums and the driver can; else nowhere
    #[default]
    Auto,
    /// Nowhere
    Off,
    /// In the driver, also of a veth
    Native,
    /// In front of the stack: to try it, it is not faster there
    Generic,
}

/// Sizes of the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// Several nodes on one machine
    #[default]
    Lab,
    /// A machine of its own
    Node,
}

/// A map of policy by its name in the kernel, and how many entries may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRoom {
    /// The map.
    pub map: &'static str,
    /// At most.
    pub entries: usize,
}

/// The maps whose room can be narrowed.
const POLICY_MAPS: [&str; 6] = [
    maps::POLICIES.name,
    maps::IDENTITIES.name,
    maps::POLICY_PEERS.name,
    maps::POLICY_CIDRS.name,
    maps::POLICY_ROWS.name,
    maps::POLICY_RANGES.name,
];

fn policy_room(text: &str) -> Result<PolicyRoom, String> {
    let wrong = || format!("{text:?} is not like policy_rows=100; maps: {}", POLICY_MAPS.join(", "));
    let (name, entries) = text.split_once('=').ok_or_else(wrong)?;
    let map = POLICY_MAPS.into_iter().find(|map| *map == name).ok_or_else(wrong)?;
    Ok(PolicyRoom { map, entries: entries.parse().map_err(|_| wrong())? })
}

/// Runs the agent until SIGTERM or SIGINT. What is pinned stays and goes on working.
///
/// # Errors
/// When it can't start.
pub fn run(args: AgentArgs) -> anyhow::Result<()> {
    kernel::limit_memory();
    start_log();
    // One thread does all the waiting and all the planning; blocking work has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(run::run(args));
    // Requests under way on other threads are not waited for: whoever sent them asks again.
    runtime.shutdown_background();
    result
}

fn start_log() {
    // The client's own complaints come a second time as errors of the watches.
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("MALLA_LOG").unwrap_or_else(|_| "info,kube_client=off".into());
    // A program that embeds the agent has its own.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}
