//! What every client must see: the Service as it was written, in; who may answer, out. It knows nothing of maps, rows or
//! programs, only what `docs/services.md` promises.

use std::collections::{BTreeMap, BTreeSet};

pub const NODES: [&str; 3] = ["control-plane", "worker-1", "worker-2"];
pub const NODE_ADDRESSES: [[&str; 2]; 3] = [
    ["172.18.0.2", "fc00:f853:ccd:e793::2"],
    ["172.18.0.3", "fc00:f853:ccd:e793::3"],
    ["172.18.0.4", "fc00:f853:ccd:e793::4"],
];
/// The echo servers, by the node on which they are.
pub const SERVERS: [(&str, usize); 8] =
    [("s0", 0), ("s1", 1), ("s2", 1), ("s3", 2), ("s4", 2), ("live-0", 1), ("live-1", 2), ("live-2", 1)];
/// So many of them are always there; the others come and go.
pub const LASTING: usize = 5;
/// The fabric's routes for addresses that no node has: at these nodes what comes from outside enters.
pub const BALANCER_ENTRY: usize = 1;
pub const EXTERNAL_ENTRY: usize = 0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    Cluster,
    Local,
}

/// Who is in the load balancer's source ranges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ranges {
    Everybody,
    Outside,
    Pods,
}

/// What its slice says of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    NotReady,
    /// It goes away and still serves.
    Terminating,
    Ready,
}

#[derive(Clone, Debug)]
pub struct Service {
    /// Its place: addresses and node port follow from it.
    pub slot: usize,
    pub kind: Kind,
    /// IPv4, IPv6.
    pub families: [bool; 2],
    pub port: u16,
    pub internal: Policy,
    pub external: Policy,
    pub affinity: bool,
    pub algorithm: Option<&'static str>,
    pub external_ip: bool,
    pub ranges: Ranges,
    /// By number in [`SERVERS`].
    pub endpoints: BTreeMap<usize, State>,
    /// Where its slices come from.
    pub slices: Slices,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slices {
    /// Written by the test, for Pods that stay.
    ByHand,
    /// The same; [`ANCHOR`] stays ready in all of them, and connections to it must never break.
    Anchored,
    /// Written by the controller, for Pods that come and go.
    Selected,
}

/// The server that connections through the anchored Service are to.
pub const ANCHOR: usize = 1;
/// The anchored Service's port for raw TCP, and its node port.
pub const ANCHOR_PORT: u16 = 90;
pub const ANCHOR_NODE_PORT: u16 = 30_190;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// A Pod on this node whose sockets are translated when they connect.
    Socket(usize),
    /// A Pod on this node whose sockets no hook sees: its packets carry the service's address.
    Packet(usize),
    /// A process of this node.
    Process(usize),
    Outside,
}

/// By which address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    ClusterIp,
    /// A port that the Service has not.
    Unused,
    NodePort(usize),
    Balancer,
    External,
}

#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub client: Client,
    pub entry: Entry,
    /// 0 is IPv4, 1 is IPv6.
    pub family: usize,
    pub datagram: bool,
}

/// What the client must see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Each of these, and nobody else; with affinity one of them alone.
    By { servers: BTreeSet<&'static str>, one: bool },
    /// At once.
    Refused,
    /// Neither an answer nor a refusal.
    Silence,
    /// No answer, however: the address or port is nobody's.
    Nobody,
}

impl Client {
    /// Where its packets meet the first program; from outside that is where the address leads.
    const fn node(self, entry: Entry) -> usize {
        match (self, entry) {
            (Self::Socket(node) | Self::Packet(node) | Self::Process(node), _) => node,
            (Self::Outside, Entry::NodePort(node)) => node,
            (Self::Outside, Entry::Balancer) => BALANCER_ENTRY,
            (Self::Outside, _) => EXTERNAL_ENTRY,
        }
    }
}

impl Service {
    /// Addresses, IPv4 first.
    pub fn address(&self, entry: Entry) -> [String; 2] {
        let slot = self.slot + 1;
        match entry {
            Entry::ClusterIp | Entry::Unused => [format!("10.96.77.{slot}"), format!("fd00:10:96::77{slot:02}")],
            Entry::NodePort(node) => NODE_ADDRESSES[node].map(str::to_owned),
            Entry::Balancer => [format!("192.0.2.{slot}"), format!("2001:db8:2::{slot}")],
            Entry::External => [format!("198.51.100.{slot}"), format!("2001:db8:51::{slot}")],
        }
    }

    pub fn target_port(&self, entry: Entry) -> u16 {
        match entry {
            Entry::NodePort(_) => self.node_port(),
            Entry::Unused => 82,
            _ => self.port,
        }
    }

    pub fn node_port(&self) -> u16 {
        30_200 + u16::try_from(self.slot).unwrap()
    }

    pub fn name(&self) -> String {
        format!("chaos-{}", self.slot)
    }

    /// Whether the Service has such an address at all.
    pub fn has(&self, entry: Entry) -> bool {
        match entry {
            Entry::ClusterIp | Entry::Unused => true,
            Entry::NodePort(_) => self.kind != Kind::ClusterIp,
            Entry::Balancer => self.kind == Kind::LoadBalancer,
            Entry::External => self.external_ip,
        }
    }

    /// The same addresses when the Service is no more.
    pub fn gone(&self) -> Self {
        Self { families: [false, false], ..self.clone() }
    }

    pub fn expect(&self, path: Path) -> Expect {
        // An address of a family that the Service has not is nobody's; an external one is its own either way.
        let family = self.families[path.family];
        if !self.has(path.entry) || !family {
            return Expect::Nobody;
        }
        if path.entry == Entry::Unused {
            return Expect::Refused;
        }
        if path.entry == Entry::Balancer {
            match (self.ranges, path.client) {
                (Ranges::Everybody, _)
                | (Ranges::Outside, Client::Outside)
                | (Ranges::Pods, Client::Socket(_) | Client::Packet(_)) => {}
                (_, Client::Process(_)) => return Expect::Nobody,
                _ => return Expect::Silence,
            }
        }
        let policy = match (path.entry, path.client) {
            (Entry::ClusterIp, _) => self.internal,
            (_, Client::Outside) => self.external,
            _ => Policy::Cluster,
        };
        let node = path.client.node(path.entry);
        let here = |(server, _): &(&usize, &State)| SERVERS[**server].1 == node;
        let servers = match policy {
            Policy::Cluster => best(self.endpoints.iter()),
            Policy::Local => best(self.endpoints.iter().filter(here)),
        };
        let elsewhere = self.endpoints.iter().any(|pair| !here(&pair) && *pair.1 != State::NotReady);
        match (servers.is_empty(), policy) {
            (false, _) => Expect::By { servers, one: self.affinity },
            (true, Policy::Local) if elsewhere => Expect::Silence,
            (true, _) => Expect::Refused,
        }
    }
}

/// The ready ones; where there is none, those that go away and still serve (KEP-1669).
fn best<'a>(endpoints: impl Iterator<Item = (&'a usize, &'a State)> + Clone) -> BTreeSet<&'static str> {
    let of =
        |state| endpoints.clone().filter(move |(_, s)| **s == state).map(|(server, _)| SERVERS[*server].0).collect();
    let ready: BTreeSet<_> = of(State::Ready);
    if ready.is_empty() { of(State::Terminating) } else { ready }
}

/// Tries after which a server of so many that is never seen is missing by chance once in a million.
pub fn tries(servers: usize) -> usize {
    match servers {
        0 | 1 => 2,
        many => {
            let many = many as f64;
            (((1e-6 / many).ln() / (1.0 - 1.0 / many).ln()).ceil()) as usize
        }
    }
}
