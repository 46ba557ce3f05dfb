//! What became of Services, for those who ask what the agent did. Pure.
//!
//! A Service of which something is different is told whole, by each of its frontends; a port that it has no more by its number.
//! What an agent before this one had left, and nobody claims, is not told: nobody heard from this one that it was there.

use super::Services;
use super::view::policy;
use datapath_layouts::service::FRONTEND_NODE_PORT;
use datapath_layouts::{Address, Frontend, FrontendKey};
use load_balancer::host_ports;
use model::{ObjectName, Service, TrafficPolicy};
use std::sync::Arc;

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A frontend serves.
    Serves {
        /// Of the port that it is of, the same for all its frontends.
        number: u32,
        /// Which; a NodePort has the family's wildcard.
        frontend: FrontendKey,
        /// `ClusterIP`, `NodePort`, `ExternalIPs`, `LoadBalancer` or `HostPort`.
        kind: &'static str,
        /// Whose it is.
        of: Arc<Owner>,
        /// Where those are sent for whom it is: at a ClusterIP clients inside the cluster, elsewhere those outside. [`MOST_BACKENDS`]
        /// at most.
        backends: Arc<[(Address, u16)]>,
    },
    /// A port is no more.
    Gone(u32),
}

/// A Service, or the Pod whose host port it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: ObjectName,
    /// `Cluster` or `Local`, for clients outside.
    pub external: &'static str,
    /// And for those inside.
    pub internal: &'static str,
}

impl Services {
    /// What became of those that were planned since the last call.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Numbers of a Service's ports.
    pub(super) fn numbers(&self, name: &ObjectName) -> Vec<u32> {
        self.balancer.ports_of(name).map(|(number, _)| number).collect()
    }

    /// Something of a Service, whose ports had these numbers, is different now.
    pub(super) fn note(&mut self, name: &ObjectName, before: &[u32]) {
        let service = self.services.get(name);
        let told = |of: fn(&Service) -> TrafficPolicy| policy(service.map_or(TrafficPolicy::Cluster, of));
        let of = Arc::new(Owner {
            name: host_ports::pod(name).unwrap_or_else(|| name.clone()),
            external: told(|service| service.external_policy),
            internal: told(|service| service.internal_policy),
        });
        let now = self.numbers(name);
        self.news.extend(before.iter().filter(|number| !now.contains(number)).map(|number| News::Gone(*number)));
        let tables = self.balancer.tables();
        // Most frontends of a port have one row.
        let mut last: (u32, Arc<[_]>) = (0, Arc::default());
        for (number, frontends) in self.balancer.ports_of(name) {
            for key in frontends {
                let Some(frontend) = tables.frontend(key) else { continue };
                let kind = kind(service, key, frontend);
                let row = if kind == "ClusterIP" { frontend.service_id } else { frontend.external_id };
                if last.0 != row {
                    let slots = tables.slots(row).iter().take(MOST_BACKENDS);
                    last = (row, slots.map(|slot| (slot.address, slot.port)).collect());
                }
                let (of, backends) = (of.clone(), last.1.clone());
                self.news.push(News::Serves { number, frontend: *key, kind, of, backends });
            }
        }
    }
}

/// Cilium's word.
fn kind(service: Option<&Service>, key: &FrontendKey, frontend: &Frontend) -> &'static str {
    let Some(service) = service else { return "HostPort" };
    let address = key.address.to_ip();
    if frontend.flags & FRONTEND_NODE_PORT != 0 {
        "NodePort"
    } else if service.balancer_addresses.contains(&address) {
        "LoadBalancer"
    } else if service.external_addresses.contains(&address) {
        "ExternalIPs"
    } else {
        "ClusterIP"
    }
}

/// A large Service that changes and changes would otherwise fill the memory with what it was.
pub const MOST_BACKENDS: usize = 256;
