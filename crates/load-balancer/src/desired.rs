//! What a Service should look like in the maps.

use datapath_layouts::service::{BACKEND_LOCAL, BACKEND_TERMINATING, FRONTEND_NODE_PORT};
use datapath_layouts::{Address, Backend, FrontendKey};
use model::{
    Affinity, EndpointSlice, EndpointState, Family, Node, NodeName, ObjectName, Protocol, Service, ServicePort,
};
use std::collections::BTreeMap;

/// One port of a Service in one family: what shares a row of slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Family of frontends and backends.
    pub family: Family,
}

/// What one port of a Service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Which port.
    pub port: PortKey,
    /// Its frontends; the first is the one its number is recovered by after a restart.
    pub frontends: Vec<WantedFrontend>,
    /// ClientIP affinity in seconds; 0 = none.
    pub affinity_seconds: u32,
    /// Its backends, sorted, none twice.
    pub backends: Vec<Target>,
}

/// A frontend without the numbers that the balancer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedFrontend {
    /// Its key.
    pub key: FrontendKey,
    /// `FRONTEND_*`.
    pub flags: u32,
}

/// A backend without the number that the balancer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its address.
    pub address: Address,
    /// Its port, host order.
    pub port: u16,
    /// `BACKEND_*`.
    pub flags: u8,
}

impl Target {
    /// The slot that stands for it.
    #[must_use]
    pub fn backend(&self, id: u32) -> Backend {
        Backend { address: self.address, id, port: self.port, cluster: 0, flags: self.flags }
    }
}

/// Tells this node's backends from others.
#[derive(Clone, Copy, Debug)]
pub struct Locality<'a> {
    /// The node on which the maps are.
    pub node: &'a Node,
}

impl Locality<'_> {
    /// By the endpoint's node where the slice names it, else by address.
    fn is_local(&self, node: Option<&NodeName>, address: std::net::IpAddr) -> bool {
        node.map_or_else(|| self.node.holds(address), |name| *name == self.node.name)
    }
}

/// What a Service with these slices should have. Ports of protocols that the datapath does not carry (SCTP) have nothing.
///
/// `internalTrafficPolicy` and `externalTrafficPolicy` are not looked at: every frontend reaches every backend.
#[must_use]
pub fn desired<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    locality: Locality<'_>,
) -> Vec<Desired> {
    let mut out = Vec::new();
    for port in service.ports.iter().filter(|p| p.protocol != Protocol::Sctp) {
        for family in Family::BOTH {
            let frontends = frontends(service, port, family);
            if frontends.is_empty() {
                continue;
            }
            out.push(Desired {
                port: PortKey { service: service.name.clone(), port: port.port, protocol: port.protocol, family },
                frontends,
                affinity_seconds: match service.affinity {
                    Affinity::None => 0,
                    Affinity::ClientAddress { seconds } => seconds,
                },
                backends: backends(port, slices.clone().filter(|s| s.family == family), locality),
            });
        }
    }
    out
}

fn frontends(service: &Service, port: &ServicePort, family: Family) -> Vec<WantedFrontend> {
    let protocol = port.protocol.number();
    let mut out: Vec<WantedFrontend> = Vec::new();
    let addresses = service.cluster_addresses.iter().chain(&service.external_addresses);
    for &address in addresses.filter(|&&a| Family::of(a) == family) {
        let key = FrontendKey { address: Address::from_ip(address), port: port.port, protocol, cluster: 0 };
        if !out.iter().any(|f| f.key == key) {
            out.push(WantedFrontend { key, flags: 0 });
        }
    }
    if let Some(node_port) = port.node_port.filter(|_| service.families.contains(&family)) {
        let address = match family {
            Family::V4 => Address::V4_ANY,
            Family::V6 => Address::ZERO,
        };
        let key = FrontendKey { address, port: node_port, protocol, cluster: 0 };
        out.push(WantedFrontend { key, flags: FRONTEND_NODE_PORT });
    }
    out
}

/// The ready endpoints; when there is none, those that go away but still answer (KEP-1669).
fn backends<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    locality: Locality<'_>,
) -> Vec<Target> {
    // One address can be in two slices for a moment, while the controller moves it: the better state counts.
    let mut found: BTreeMap<(Address, u16), (EndpointState, bool)> = BTreeMap::new();
    for slice in slices {
        let Some(target) = slice.ports.iter().find(|p| p.name == port.name && p.protocol == port.protocol) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().filter(|e| e.state != EndpointState::Unavailable) {
            let local = locality.is_local(endpoint.node.as_ref(), endpoint.address);
            let entry =
                found.entry((Address::from_ip(endpoint.address), target.port)).or_insert((endpoint.state, local));
            entry.0 = entry.0.max(endpoint.state);
        }
    }
    let best = found.values().map(|(state, _)| *state).max();
    found
        .into_iter()
        .filter(|(_, (state, _))| Some(*state) == best)
        .map(|((address, port), (state, local))| Target {
            address,
            port,
            flags: if local { BACKEND_LOCAL } else { 0 }
                | if state == EndpointState::ServingTerminating { BACKEND_TERMINATING } else { 0 },
        })
        .collect()
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
