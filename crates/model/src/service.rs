//! Services and what stands behind them.

use crate::{Family, NodeName, ObjectName, Protocol};
use serde::{Deserialize, Serialize};
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
    /// `spec.externalIPs` and the load balancer's addresses (ipMode VIP).
    pub external_addresses: Vec<IpAddr>,
    /// Families of its NodePorts: `spec.ipFamilies`.
    pub families: Vec<Family>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `spec.sessionAffinity`.
    pub affinity: Affinity,
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
    /// The Pod behind it, where the slice says so.
    pub pod: Option<ObjectName>,
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
