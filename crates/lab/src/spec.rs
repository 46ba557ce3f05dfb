//! What a lab is to be: every choice made, every range checked. Pure.
//!
//! A [`LabSpec`] is written to `state.json` before anything is created, and is all that a later `up`, `down` or a new
//! supervisor needs to know.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    kind_file::{KindCluster, KindNode, KindPort, Role},
    name::{CONTROL_PLANE, InvalidName, LabName, worker},
    subnets::{SubnetError, Subnets},
};

/// A lab, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabSpec {
    pub name: LabName,
    /// The control plane first, then the workers by number.
    pub nodes: Vec<NodeSpec>,
    pub subnets: Subnets,
    pub routing: Routing,
    /// Port of the Kubernetes API on the machine's loopback; `None` until `up` picks one.
    pub api_port: Option<u16>,
    pub ports: Vec<PortMapping>,
    /// Patterns beside the defaults that keep or leave out labels of Pods' identities, as Cilium's `--labels`.
    #[serde(default)]
    pub identity_labels: Vec<String>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub name: String,
    /// Labels from the cluster file, beside those every node gets.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How Pods of different nodes reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Routing {
    /// In VXLAN between the nodes.
    #[default]
    Vxlan,
    /// By routes to the nodes, without encapsulation.
    Native,
}

impl Routing {
    /// As the agent's `--routing` wants it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Native => "native",
        }
    }
}

/// A port of the machine's loopback that leads to a port of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub node: String,
    pub node_port: u16,
    /// `None` until `up` picks a free one.
    pub host_port: Option<u16>,
    pub protocol: Protocol,
    /// Loopback addresses only.
    pub listen: Vec<IpAddr>,
}

/// What the forwarder can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// What the user asked for: options win over the cluster file, the file over the defaults.
#[derive(Debug, Default)]
pub struct Requested {
    pub name: Option<String>,
    pub nodes: Option<u16>,
    pub kind: Option<KindCluster>,
    pub pod_subnet: Option<String>,
    pub service_subnet: Option<String>,
    pub node_subnet: Option<String>,
    pub routing: Option<Routing>,
    pub api_port: Option<u16>,
    pub identity_labels: Vec<String>,
}

/// Why there can be no such lab.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    #[error(transparent)]
    IdentityLabels(#[from] identity::FilterError),
    #[error("{0} nodes: a lab has 1 to {MOST_NODES}")]
    NodeCount(usize),
    #[error("the cluster file has {0} control planes: a lab has exactly one, make the others workers")]
    ControlPlanes(usize),
    #[error("{place}: listenAddress {address:?} is no IP address")]
    ListenAddress { place: String, address: String },
    #[error("{place}: {protocol} port {port} of the machine is mapped twice, to different targets")]
    MappedTwice { place: String, protocol: Protocol, port: u16 },
    #[error("TCP port {0} is asked for by both the Kubernetes API (--api-port, apiServerPort) and a port mapping")]
    ApiPortMapped(u16),
}

impl Requested {
    /// The lab that was asked for, and notes on what could not be taken literally.
    pub fn resolve(self) -> Result<(LabSpec, Vec<String>), SpecError> {
        let kind = self.kind.unwrap_or_default();
        let mut notes = kind.notes;
        let name = match self.name.or(kind.name) {
            Some(name) => name.parse()?,
            None => crate::name::DEFAULT_NAME.parse()?,
        };
        let (nodes, ports) = match self.nodes {
            Some(count) => (numbered_nodes(usize::from(count)), Vec::new()),
            None if kind.nodes.is_empty() => (numbered_nodes(DEFAULT_NODES), Vec::new()),
            None => nodes_of_file(kind.nodes, &mut notes)?,
        };
        if !(1..=MOST_NODES).contains(&nodes.len()) {
            return Err(SpecError::NodeCount(nodes.len()));
        }
        let subnets = Subnets::resolve(
            nodes.len(),
            self.node_subnet.as_deref(),
            self.pod_subnet.or(kind.pod_subnet).as_deref(),
            self.service_subnet.or(kind.service_subnet).as_deref(),
        )?;
        let api_port = self.api_port.filter(|port| *port != 0).or(kind.api_port);
        if let Some(port) = api_port
            && ports.iter().any(|mapping| mapping.protocol == Protocol::Tcp && mapping.host_port == Some(port))
        {
            return Err(SpecError::ApiPortMapped(port));
        }
        let routing = self.routing.unwrap_or_default();
        let identity_labels = self.identity_labels;
        identity::Filter::with(identity_labels.iter().map(String::as_str))?;
        Ok((LabSpec { name, nodes, subnets, routing, api_port, ports, identity_labels }, notes))
    }
}

impl LabSpec {
    /// Where the node stands in [`LabSpec::nodes`].
    #[must_use]
    pub fn node_index(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Whether an `up` with the wishes of `wanted` means this lab, ports that were picked by `up` aside.
    #[must_use]
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let mut wanted = wanted.clone();
        wanted.api_port = wanted.api_port.or(self.api_port);
        if wanted.ports.len() == self.ports.len() {
            for (wanted, have) in wanted.ports.iter_mut().zip(&self.ports) {
                wanted.host_port = wanted.host_port.or(have.host_port);
            }
        }
        *self == wanted
    }
}

fn numbered_nodes(count: usize) -> Vec<NodeSpec> {
    (0..count).map(|index| NodeSpec { name: node_name(index), labels: BTreeMap::new() }).collect()
}

fn node_name(index: usize) -> String {
    if index == 0 { CONTROL_PLANE.to_owned() } else { worker(index) }
}

fn nodes_of_file(
    listed: Vec<KindNode>,
    notes: &mut Vec<String>,
) -> Result<(Vec<NodeSpec>, Vec<PortMapping>), SpecError> {
    let control_planes = listed.iter().filter(|node| node.role == Role::ControlPlane).count();
    if control_planes != 1 {
        return Err(SpecError::ControlPlanes(control_planes));
    }
    let mut listed = listed;
    listed.sort_by_key(|node| node.role == Role::Worker); // stable: workers keep the file's order
    let mut nodes = Vec::new();
    let mut ports: Vec<PortMapping> = Vec::new();
    for (index, node) in listed.into_iter().enumerate() {
        let name = node_name(index);
        for port in node.ports {
            add_port(&mut ports, &name, &port, notes)?;
        }
        nodes.push(NodeSpec { name, labels: node.labels });
    }
    Ok((nodes, ports))
}

fn add_port(
    ports: &mut Vec<PortMapping>,
    node: &str,
    port: &KindPort,
    notes: &mut Vec<String>,
) -> Result<(), SpecError> {
    let protocol = if port.udp { Protocol::Udp } else { Protocol::Tcp };
    let listen = loopback_of(port, notes)?;
    let mapping = PortMapping {
        node: node.to_owned(),
        node_port: port.container_port,
        host_port: port.host_port,
        protocol,
        listen,
    };
    for other in ports.iter_mut().filter(|other| other.host_port.is_some()) {
        let same_port = (other.protocol, other.host_port) == (mapping.protocol, mapping.host_port);
        if !same_port || !other.listen.iter().any(|address| mapping.listen.contains(address)) {
            continue;
        }
        if (&other.node, other.node_port) == (&mapping.node, mapping.node_port) {
            // Said twice (the slip of a mapping at the top level and under its node): one mapping.
            for address in mapping.listen {
                if !other.listen.contains(&address) {
                    other.listen.push(address);
                }
            }
            return Ok(());
        }
        let place = port.place.clone();
        return Err(SpecError::MappedTwice { place, protocol, port: mapping.host_port.unwrap_or_default() });
    }
    ports.push(mapping);
    Ok(())
}

/// The loopback addresses to listen on. kind's default is every address of the machine; a lab is for its own machine.
fn loopback_of(port: &KindPort, notes: &mut Vec<String>) -> Result<Vec<IpAddr>, SpecError> {
    let Some(text) = &port.listen_address else { return Ok(LOOPBACK.to_vec()) };
    let address: IpAddr =
        text.parse().map_err(|_| SpecError::ListenAddress { place: port.place.clone(), address: text.clone() })?;
    if address.is_loopback() {
        return Ok(vec![address]);
    }
    notes.push(format!(
        "{}: listenAddress {address} is narrowed to 127.0.0.1 and ::1: a lab is reachable from its own machine only",
        port.place
    ));
    Ok(LOOPBACK.to_vec())
}

/// Both families' loopback.
pub const LOOPBACK: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
/// One control plane and two workers, as in the walk from `curl` to the Pod.
const DEFAULT_NODES: usize = 3;
/// A /24 of the default Pod range for each would allow 256; every node is a process of its own on one machine.
const MOST_NODES: usize = 100;

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
