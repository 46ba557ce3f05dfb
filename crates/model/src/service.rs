//! Services and what stands behind them.

use crate::{Family, NodeName, ObjectName, Protocol, Weights};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names one (Service, port, family) and its slots in this node's maps. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceId(pub u32);

/// Names one backend (address and port) in this node's maps while it exists. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendId(pub u32);

/// A Service, reduced to what a node needs. ExternalName and headless ones have no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// `spec.clusterIPs` without `None`.
    pub cluster_addresses: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_addresses: Vec<IpAddr>,
    /// The load balancer's addresses (ipMode VIP).
    pub balancer_addresses: Vec<IpAddr>,
    /// Families of its NodePorts: `spec.ipFamilies`.
    pub families: Vec<Family>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `spec.sessionAffinity`.
    pub affinity: Affinity,
    /// `spec.internalTrafficPolicy`: who serves clients of the ClusterIP (KEP-2086).
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`: who serves clients that come from outside to anything else.
    pub external_policy: TrafficPolicy,
    /// `spec.loadBalancerSourceRanges`: who may use the load balancer's addresses; empty = everybody.
    pub source_ranges: Vec<IpNet>,
    /// `spec.healthCheckNodePort`: where each node says whether it has endpoints; only with a load balancer and the
    /// external policy Local.
    pub health_check_port: Option<u16>,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// How many new flows each endpoint gets beside the others.
    pub weights: Weights,
    /// What nodes have said in its status that they can't do of it.
    pub reported: BTreeMap<NodeName, Box<str>>,
    /// Which way the answers of another node's backend take.
    pub forwarding: Forwarding,
    /// What of the object could not be understood, in words; the rest holds.
    pub misunderstood: Vec<String>,
}

/// Which endpoints serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All of the cluster.
    #[default]
    Cluster,
    /// Those of the node at which the packet is.
    Local,
}

/// How the backend of a new connection is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// From inside at random; from outside by a Maglev table, so that every node chooses the same.
    #[default]
    Default,
    /// At random.
    Random,
    /// By a Maglev table.
    Maglev,
}

/// How a backend on another node than the one at which its client entered answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Back through the node at which the client entered.
    #[default]
    Entry,
    /// Straight from its own node (direct server return).
    Dsr,
}

impl Service {
    /// A Service without addresses and ports: what is not asked for.
    #[must_use]
    pub const fn new(name: ObjectName) -> Self {
        Self {
            name,
            cluster_addresses: Vec::new(),
            external_addresses: Vec::new(),
            balancer_addresses: Vec::new(),
            families: Vec::new(),
            ports: Vec::new(),
            affinity: Affinity::None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            source_ranges: Vec::new(),
            health_check_port: None,
            algorithm: Algorithm::Default,
            weights: Weights(Vec::new()),
            reported: BTreeMap::new(),
            forwarding: Forwarding::Entry,
            misunderstood: Vec::new(),
        }
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty when the Service has one port without a name.
    pub name: Box<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port at the Service's addresses.
    pub port: u16,
    /// Port at every node's addresses.
    pub node_port: Option<u16>,
}

/// Whether a client comes back to the same backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// No.
    None,
    /// By client address, for so many seconds after its last flow.
    ClientAddress {
        /// Seconds.
        seconds: u32,
    },
}

/// A part of a Service's endpoints, of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The slice's own name.
    pub name: ObjectName,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: ObjectName,
    /// Family of its addresses.
    pub family: Family,
    /// Ports that every endpoint of the slice serves.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice; matched with the Service's port by name and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name; empty when unnamed.
    pub name: Box<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port at the endpoint.
    pub port: u16,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address. (Further addresses of one endpoint have no meaning; KEP-752.)
    pub address: IpAddr,
    /// What it can take.
    pub state: EndpointState,
    /// The node it runs on, where the slice says so.
    pub node: Option<NodeName>,
    /// The zone it is in, where the slice says so.
    pub zone: Option<Box<str>>,
    /// The Pod behind it, where the slice says so.
    pub pod: Option<ObjectName>,
    /// Whom it should serve, where the slice says so.
    pub hints: Hints,
}

/// For whom an endpoint is meant (KEP-2433; KEP-3015 for nodes). Empty = nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Zones (`topology.kubernetes.io/zone`).
    pub zones: Vec<Box<str>>,
    /// Nodes.
    pub nodes: Vec<NodeName>,
}

/// What an endpoint can take; better ones are greater (KEP-1672).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointState {
    /// Nothing.
    Unavailable,
    /// It goes away but still answers: taken when no ready one is left (KEP-1669).
    ServingTerminating,
    /// New flows.
    Ready,
}
