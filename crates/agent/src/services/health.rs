//! What a node's health checks say: pure.

use model::{EndpointSlice, EndpointState, Family, Node, ObjectName, Service, Weights};
use std::collections::{BTreeMap, HashSet};

/// Who is asked about at a port, and what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The Service.
    pub service: ObjectName,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// What is said at each port (`spec.healthCheckNodePort`).
pub type HealthChecks = BTreeMap<u16, Health>;

/// Ready endpoints on this node, each counted once though it has two addresses; those that go away don't count, so that
/// the load balancer leaves the node before they are gone, and neither do those of weight 0.
#[must_use]
pub fn local_endpoints<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    weights: &Weights,
    own: &Node,
) -> usize {
    let count = |family: Family| {
        let endpoints = slices.clone().filter(|s| s.family == family).flat_map(|s| &s.endpoints);
        let here = endpoints.filter(|e| {
            e.state == EndpointState::Ready
                && weights.of(e) > 0
                && e.node.as_ref().map_or_else(|| own.holds(e.address), |node| *node == own.name)
        });
        here.map(|e| e.address).collect::<HashSet<_>>().len()
    };
    Family::BOTH.map(count).into_iter().max().unwrap_or(0)
}

/// Takes what one Service says now; answers whether anything is different.
pub fn update(checks: &mut HealthChecks, name: &ObjectName, service: Option<&Service>, local: usize) -> bool {
    let port = service.and_then(|service| service.health_check_port);
    let new = Health { service: name.clone(), local_endpoints: local };
    let same = |at: u16, held: &Health| Some(at) == port && *held == new;
    let old: Vec<u16> = checks.iter().filter(|(_, held)| held.service == *name).map(|(port, _)| *port).collect();
    if old.iter().all(|at| same(*at, &checks[at])) && old.len() == usize::from(port.is_some()) {
        return false;
    }
    for port in old {
        checks.remove(&port);
    }
    if let Some(port) = port {
        checks.insert(port, new);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Endpoint, Hints};

    fn slice(family: Family, endpoints: &[(&str, EndpointState, &str)]) -> EndpointSlice {
        EndpointSlice {
            name: ObjectName::new("default", "s-1"),
            service: ObjectName::new("default", "s"),
            family,
            ports: vec![],
            endpoints: endpoints
                .iter()
                .map(|(address, state, node)| Endpoint {
                    address: address.parse().unwrap(),
                    state: *state,
                    node: Some((*node).into()),
                    zone: None,
                    pod: None,
                    hints: Hints::default(),
                })
                .collect(),
        }
    }

    #[test]
    fn ready_ones_of_this_node_count_once() {
        let own = Node {
            name: "worker-1".into(),
            addresses: vec![],
            pod_ranges: vec![],
            zone: None,
            labels: Default::default(),
        };
        let slices = [
            slice(
                Family::V4,
                &[
                    ("10.244.1.2", EndpointState::Ready, "worker-1"),
                    ("10.244.1.3", EndpointState::ServingTerminating, "worker-1"),
                    ("10.244.2.2", EndpointState::Ready, "worker-2"),
                ],
            ),
            slice(Family::V4, &[("10.244.1.2", EndpointState::Ready, "worker-1")]),
            slice(Family::V6, &[("fd00::2", EndpointState::Ready, "worker-1")]),
        ];
        let none = Weights::default();
        assert_eq!(local_endpoints(slices.iter(), &none, &own), 1);
        assert_eq!(local_endpoints([].iter(), &none, &own), 0);
        let drained = load_balancer::weights::parse("node/worker-1=0").unwrap();
        assert_eq!(local_endpoints(slices.iter(), &drained, &own), 0);
    }

    #[test]
    fn ports_follow_their_service() {
        let mut checks = HealthChecks::new();
        let name = ObjectName::new("default", "s");
        let with = |port| Service { health_check_port: port, ..Service::new(name.clone()) };
        assert!(!update(&mut checks, &name, Some(&with(None)), 3));
        assert!(update(&mut checks, &name, Some(&with(Some(31000))), 3));
        assert!(!update(&mut checks, &name, Some(&with(Some(31000))), 3));
        assert!(update(&mut checks, &name, Some(&with(Some(31000))), 2));
        assert!(update(&mut checks, &name, Some(&with(Some(31001))), 2));
        assert_eq!(checks.keys().copied().collect::<Vec<_>>(), [31001]);
        assert!(update(&mut checks, &name, None, 2) && checks.is_empty());
    }
}
