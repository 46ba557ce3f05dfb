//! The way to everything: routes, and by which device a node on the link is known.

use super::state::State;
use crate::deeds::{Deed, Place};
use crate::error::Error;
use crate::topology;
use ipnet::IpNet;
use model::{Node, ObjectName};

impl State {
    /// Where the API server is. Before everything is told, what the maps say holds.
    fn find_api_servers(&mut self) {
        if self.services.is_synced() {
            self.api_servers = self.services.addresses_of(&ObjectName::new("default", "kubernetes")).collect();
        }
    }

    pub(super) fn settle_topology(&mut self) -> Result<(), Error> {
        self.find_api_servers();
        let parts = &self.parts;
        let nodes: Vec<&Node> = self.nodes.values().collect();
        let desired = topology::desired(topology::Input {
            own: &parts.own,
            nodes: &nodes,
            facts: &parts.facts,
            service_ranges: &parts.service_ranges,
            routing: parts.choices.routing,
            api_servers: &self.api_servers,
            all_nodes: self.nodes.is_synced(),
            policy: self.node_policy,
        });
        let sweep = self.nodes.is_synced();
        if self.applied.as_ref().is_some_and(|(done, swept)| *done == desired && *swept == sweep) {
            return Ok(());
        }
        let apply = topology::Apply {
            ipcache: &*parts.maps.ipcache,
            endpoints: &*parts.maps.endpoints,
            netlink: parts.netlink.as_ref(),
            sweep,
            told: &|key, before, now| {
                parts
                    .hub
                    .did(|| Deed::Found(Place { key: *key, before: before.copied(), now: now.copied(), pod: None }));
            },
        };
        self.applied = None;
        let applied = apply.apply(&desired)?;
        if applied != topology::Applied::default() {
            tracing::info!("routes: {} written, {} removed", applied.written, applied.removed);
        }
        self.applied = Some((desired, sweep));
        Ok(())
    }

    pub(super) fn settle_neighbours(&mut self) -> Result<(), Error> {
        let Some(netlink) = &self.parts.netlink else { return Ok(()) };
        let facts = &self.parts.facts;
        // Without prefixes nothing is on the link.
        let prefixes: &[IpNet] = if self.parts.verify_node_mac { &facts.addresses } else { &[] };
        let nodes = (&self.parts.own.name, self.nodes.values());
        let link = (facts.network.index, prefixes);
        self.neighbours.settle(nodes, self.nodes.is_synced(), link, netlink, &*self.parts.maps.neighbours)
    }

    /// The kernel has found a neighbour, or another in its place.
    pub fn neighbours_changed(&mut self) {
        self.neighbours.look_again();
        self.attempt("neighbours", Self::settle_neighbours);
    }
}
