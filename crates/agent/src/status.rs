//! What an agent says of itself: `GET /v1/status`. The one description of it, for the agent and for `malla status`.

use crate::cluster::WatchState;
use crate::collector::Collected;
use crate::neighbours::Origins;
use crate::probes::Connectivity;
use ipnet::IpNet;
use model::{NodeName, ObjectName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// The same, in short, as a condition of the Node: its type, and how old its heartbeat may be.
pub use crate::node_conditions::ready::{CONDITION as AGENT_READY, STALE as AGENT_STALE};

/// An agent and its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node.
    pub node: NodeName,
    /// In one word.
    pub state: State,
    /// What keeps it from being `ok`, each in one line.
    pub problems: Vec<String>,
    /// Version of the agent.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs, seconds.
    pub uptime_seconds: u64,
    /// `vxlan` or `native`.
    pub routing: String,
    /// Largest packets.
    pub mtu: Mtu,
    /// The node's addresses.
    pub addresses: Vec<IpAddr>,
    /// Its Pods' ranges.
    pub pod_ranges: Vec<IpNet>,
    /// The datapath.
    pub datapath: Datapath,
    /// What the agent found when it started.
    pub adoption: Adoption,
    /// The watches of the API.
    pub watches: Vec<WatchState>,
    /// Policy, as far as it is in the maps.
    #[serde(default)]
    pub policies: Policies,
    /// How far it is known which node sent what.
    #[serde(default)]
    pub node_origins: Origins,
    /// What probes of the other nodes have found.
    #[serde(default)]
    pub connectivity: Connectivity,
    /// Pods of this node.
    pub endpoints: Vec<Endpoint>,
    /// How many of what.
    pub counts: Counts,
    /// What it costs.
    pub memory: Memory,
    /// Dropped packets by reason (Hubble's names).
    pub drops: BTreeMap<String, Packets>,
    /// Forwarded packets by observation point.
    pub forwarded: BTreeMap<String, Packets>,
    /// Events.
    pub events: Events,
    /// What is done with flows.
    #[serde(default)]
    pub flows: Flows,
    /// What was collected since the start.
    pub collected: Collected,
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Everything is as the API wants it.
    Ok,
    /// The agent has not seen everything yet; what is pinned works.
    Starting,
    /// Something needs attention: see the problems.
    Degraded,
}

/// Largest packets, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mtu {
    /// Of the network device.
    pub network: u32,
    /// Inside of the overlay.
    pub overlay: u32,
    /// Of a Pod.
    pub pod: u32,
}

/// The datapath as it is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datapath {
    /// How programs are attached: `tcx` or `clsact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach_mode: Option<String>,
    /// Where maps and links are pinned.
    pub bpf_dir: PathBuf,
    /// Running kernel.
    pub kernel: String,
    /// The cgroup that the socket hooks are on.
    pub cgroup: PathBuf,
    /// The network device.
    pub device: String,
    /// The overlay device.
    pub overlay: String,
    /// Where the XDP program runs (`native on eth0`), or `off:` and why.
    pub xdp: String,
    /// What it sent on to other nodes; a part of what was forwarded.
    pub xdp_sent_on: Packets,
}

/// What was there already when the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// Maps taken over with their content.
    pub maps_adopted: Vec<String>,
    /// Maps made.
    pub maps_created: Vec<String>,
    /// Links taken over.
    pub links_adopted: Vec<String>,
    /// Links made.
    pub links_created: Vec<String>,
    /// What could not be taken over, and why.
    pub not_adopted: Vec<(String, String)>,
    /// Pods that went on running.
    pub pods_adopted: usize,
}

/// A Pod of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its number.
    pub id: u32,
    /// The Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// Its security identity, as the map has it.
    pub identity: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Host side of its link.
    pub interface: String,
    /// Its programs are attached.
    pub attached: bool,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes known.
    pub nodes: usize,
    /// Services with addresses.
    pub services: usize,
    /// EndpointSlices.
    pub endpoint_slices: usize,
    /// Entries of `frontends`.
    pub frontends: usize,
    /// Entries of `backends`.
    pub backends: usize,
    /// Entries of `ipcache`.
    pub ipcache: usize,
    /// Pods of this node.
    pub endpoints: usize,
    /// Identities known.
    pub identities: usize,
    /// Addresses of other nodes' Pods whose identity is in `ipcache`.
    pub remote_pods: usize,
}

/// Policy on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// All objects were told, and a plan of them is in the maps. Until then stands what an earlier agent wrote.
    pub enforced: bool,
    /// Reading of the policy clock: changes with every change that is in the maps; flows are judged anew by it.
    pub epoch: u32,
    /// Policies that objects became.
    pub policies: usize,
    /// Those of them in audit mode.
    pub audited: usize,
    /// Objects of which a version can't be read.
    pub mistaken: usize,
    /// Identities of this node's Pods, each with its own entries.
    pub subjects: usize,
    /// Those of them, by direction, for whom there is no room: everything is denied there.
    pub overflowing: usize,
    /// Identities for which there is no room: unknown, and denied wherever a deny could apply.
    pub unfit_identities: usize,
    /// The maps.
    pub tables: Vec<TableUse>,
}

/// How full a map of policy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// Its name.
    pub name: String,
    /// Entries.
    pub used: usize,
    /// Entries it has room for.
    pub room: usize,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident memory of the agent.
    pub agent_resident: u64,
    /// Kernel memory of all maps.
    pub maps_total: u64,
    /// Per map.
    pub maps: Vec<MapUsage>,
}

/// What a map costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapUsage {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Entries it has room for.
    pub max_entries: u32,
    /// Kernel memory, bytes.
    pub memory_bytes: u64,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

/// What is done with flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flows {
    /// What the programs tell: `drops` alone, `flows` too, or all `packets`.
    pub observed: String,
    /// Of forwarded connections one of so many is kept and exported; 1: all.
    pub sampling: u32,
    /// Flows that the log has left out therefore, since the agent started.
    pub left_out: u64,
    /// The log on disk; `None`: there is none, or it is not open yet.
    pub log: Option<FlowLog>,
    /// What the file of the export has not got.
    pub export: FlowExport,
    /// What the receiver of OTLP has not got.
    pub otlp: FlowExport,
}

/// Flows that were to leave the node, since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowExport {
    /// That came faster than they could be exported.
    pub missed: u64,
    /// That were refused, or could not be written.
    pub lost: u64,
}

/// The log of flows on disk. Numbers of flows are since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowLog {
    /// Bytes of all its files.
    pub bytes: u64,
    /// Flows and losses in it.
    pub rows: u64,
    /// Time of the oldest, seconds since 1970; 0: it is empty.
    pub oldest_seconds: i64,
    /// Flows that came faster than they could be written.
    pub behind: u64,
    /// Flows that the disk did not take.
    pub refused: u64,
    /// Parts that can't be read.
    pub damaged: u64,
}

/// Events since the datapath was loaded (`written`, `lost`) or since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Written into the ring.
    pub written: u64,
    /// Found no room in the ring.
    pub lost: u64,
    /// Read by this agent.
    pub read: u64,
    /// Listeners now.
    pub listeners: usize,
    /// Lines that listeners were too slow for.
    pub missed: u64,
}

/// Answer of `GET /v1/backends/<address>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// Slots for new flows that name the address.
    pub references: usize,
    /// Slots that name it only because nothing else is left (it is terminating).
    pub last_resort: usize,
}
