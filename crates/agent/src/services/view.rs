//! Services as people ask about them: every endpoint with its standing on this node. The one description of it, for the
//! agent and for `malla service`.

use super::Services;
use ipnet::IpNet;
use load_balancer::{Balancer, Locality, PortKey, RowKind, Standing, members};
use model::{
    Affinity, Algorithm, Family, Forwarding, Node, NodeName, ObjectName, Protocol, Service, ServicePort, TrafficPolicy,
    Weights,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub service: ObjectName,
    /// What of it can't be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// `ClusterIP`, `NodePort` or `LoadBalancer`, by what it has.
    pub kind: String,
    /// ClusterIPs.
    pub cluster_addresses: Vec<IpAddr>,
    /// externalIPs.
    pub external_addresses: Vec<IpAddr>,
    /// Addresses of its load balancer.
    pub balancer_addresses: Vec<IpAddr>,
    /// `Cluster` or `Local`.
    pub internal_policy: String,
    /// `Cluster` or `Local`.
    pub external_policy: String,
    /// `maglev`, `random`, or `default`: random from inside, Maglev from outside.
    pub algorithm: String,
    /// Who has which weight; empty where all weigh the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub weights: String,
    /// The answers' way from another node's endpoints: `entry` (back through the node at which the client entered) or `dsr`.
    pub forwarding: String,
    /// ClientIP affinity in seconds; 0 = none.
    pub affinity_seconds: u32,
    /// Who may use the load balancer's addresses; empty = everybody.
    pub source_ranges: Vec<IpNet>,
    /// Where nodes tell their health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_port: Option<u16>,
    /// Its ports, one per family.
    pub ports: Vec<PortView>,
}

/// One port in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortView {
    /// Its name.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port at the Service's addresses.
    pub port: u16,
    /// Port at the nodes' addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// Family of frontends and endpoints.
    pub family: Family,
    /// The row of all endpoints in the maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_row: Option<u32>,
    /// The row of this node's endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_row: Option<u32>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// Whether it is on this node.
    pub local: bool,
    /// How many new flows it gets beside the others.
    #[serde(default = "default_weight")]
    pub weight: u8,
    /// Its standing where the policy is Cluster.
    pub cluster: Standing,
    /// Its standing where the policy is Local.
    pub here: Standing,
}

impl Services {
    /// All Services, or the one with this name.
    #[must_use]
    pub fn view(&self, own: &Node, only: Option<&ObjectName>) -> Vec<View> {
        let mut out: Vec<View> = match only {
            Some(name) => self.service(name).into_iter().map(|service| self.view_of(service, own)).collect(),
            None => self.services().map(|service| self.view_of(service, own)).collect(),
        };
        out.sort_by(|a, b| a.service.cmp(&b.service));
        out
    }

    fn view_of(&self, service: &Service, own: &Node) -> View {
        let mut ports = Vec::new();
        for port in &service.ports {
            for family in Family::BOTH.into_iter().filter(|family| service.families.contains(family)) {
                ports.push(self.port_view(service, port, family, own));
            }
        }
        View {
            service: service.name.clone(),
            problem: self.problems().get(&service.name).cloned(),
            kind: kind(service).to_owned(),
            cluster_addresses: service.cluster_addresses.clone(),
            external_addresses: service.external_addresses.clone(),
            balancer_addresses: service.balancer_addresses.clone(),
            internal_policy: policy(service.internal_policy).to_owned(),
            external_policy: policy(service.external_policy).to_owned(),
            algorithm: match service.algorithm {
                Algorithm::Default => "default",
                Algorithm::Random => "random",
                Algorithm::Maglev => "maglev",
            }
            .to_owned(),
            weights: service.weights.to_string(),
            forwarding: match service.forwarding {
                Forwarding::Entry => "entry",
                Forwarding::Dsr => "dsr",
            }
            .to_owned(),
            affinity_seconds: match service.affinity {
                Affinity::None => 0,
                Affinity::ClientAddress { seconds } => seconds,
            },
            source_ranges: service.source_ranges.clone(),
            health_check_port: service.health_check_port,
            ports,
        }
    }

    fn port_view(&self, service: &Service, port: &ServicePort, family: Family, own: &Node) -> PortView {
        let key = PortKey { service: service.name.clone(), port: port.port, protocol: port.protocol, family };
        let slices = self.slices_of(&service.name).filter(|slice| slice.family == family);
        let endpoints = members(port, slices, &service.weights, Locality { node: own });
        let row = |balancer: &Balancer, kind: RowKind| balancer.rows(&key)[kind as usize];
        PortView {
            name: port.name.to_string(),
            protocol: port.protocol,
            port: port.port,
            node_port: port.node_port,
            family,
            cluster_row: row(self.balancer(), RowKind::Cluster),
            local_row: row(self.balancer(), RowKind::Local),
            endpoints: endpoints
                .into_iter()
                .map(|member| EndpointView {
                    address: member.address.to_ip(),
                    port: member.port,
                    node: member.node,
                    pod: member.pod,
                    local: member.local,
                    weight: member.weight,
                    cluster: member.cluster,
                    here: member.here,
                })
                .collect(),
        }
    }
}

const fn default_weight() -> u8 {
    Weights::DEFAULT
}

fn kind(service: &Service) -> &'static str {
    if !service.balancer_addresses.is_empty() || service.health_check_port.is_some() {
        "LoadBalancer"
    } else if service.ports.iter().any(|port| port.node_port.is_some()) {
        "NodePort"
    } else {
        "ClusterIP"
    }
}

pub(super) const fn policy(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}
