//! The nodes' real maps: whether they have taken what was written, and what is left in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use datapath::maps::Maps;
use datapath_layouts::{Address, BackendKey, FrontendKey};
use serde_json::json;

use crate::{
    api::{Api, SERVICES, SLICES},
    cluster::{Cluster, wait_until},
    model::NODES,
};

/// How long a node may need to take what was written, an agent that was just killed included.
const PATIENCE: Duration = Duration::from_secs(30);
const MARKER: &str = "10.96.78.1";

/// The maps of every node.
pub struct Kernel(Vec<(&'static str, Maps)>);

/// What is in one node's maps of Services. All of it belongs to Services that exist.
#[derive(PartialEq, Eq, Debug)]
pub struct Census {
    frontends: BTreeSet<String>,
    /// Entries of backends, maglev, affinity_member and source_ranges.
    sizes: BTreeMap<&'static str, usize>,
}

impl Kernel {
    pub fn of(cluster: &Cluster) -> Self {
        let open = |node| (node, Maps::open(&cluster.folder().join("bpf").join(node)).unwrap());
        Self(NODES.map(open).into())
    }

    /// Writes a Service and a slice that nothing else is like, and waits until every node has them: what was written
    /// before came by the same watches.
    pub fn settle(&self, api: &Api, number: u16, backend: &str) {
        let (port, target) = (10_000 + number, 20_000 + number);
        let labels = json!({"kubernetes.io/service-name": "marker"});
        api.apply(SERVICES, "marker", &json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "marker", "namespace": "default"},
            "spec": {"clusterIP": MARKER, "clusterIPs": [MARKER], "ports": [{"name": "marker", "port": port, "protocol": "TCP"}]},
        }));
        api.apply(
            SLICES,
            "marker",
            &json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "marker", "namespace": "default", "labels": labels},
                "endpoints": [{"addresses": [backend], "conditions": {"ready": true}}],
                "ports": [{"name": "marker", "port": target, "protocol": "TCP"}],
            }),
        );
        let address = Address::from_ip(MARKER.parse::<IpAddr>().unwrap());
        let key = FrontendKey { address, port, protocol: 6, cluster: 0 };
        for (node, maps) in &self.0 {
            wait_until(&format!("what was written last, on {node},"), PATIENCE, || {
                let Some(frontend) = maps.frontends.get(&key).unwrap() else { return false };
                let first = BackendKey { service_id: frontend.service_id, slot: 0 };
                frontend.backends == 1 && maps.backends.get(&first).unwrap().is_some_and(|slot| slot.port == target)
            });
        }
    }

    pub fn census(&self) -> Vec<Census> {
        let one = |(_, maps): &(&'static str, Maps)| {
            let frontends = maps.frontends.entries().unwrap();
            // The marker has another port each time.
            let named = frontends.iter().filter(|(key, _)| key.address.to_string() != MARKER);
            Census {
                frontends: named.map(|(key, _)| format!("{} {}/{}", key.address, key.port, key.protocol)).collect(),
                sizes: BTreeMap::from([
                    ("frontends", frontends.len()),
                    ("backends", maps.backends.entries().unwrap().len()),
                    ("maglev", maps.maglev.entries().unwrap().len()),
                    ("affinity_member", maps.affinity_member.entries().unwrap().len()),
                    ("source_ranges", maps.source_ranges.entries().unwrap().len()),
                ]),
            }
        };
        self.0.iter().map(one).collect()
    }

    /// Flows and clients that are remembered for a backend that is in no row any more.
    pub fn orphans(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut all: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for (node, maps) in &self.0 {
            let there: BTreeSet<_> = maps
                .backends
                .entries()
                .unwrap()
                .iter()
                .map(|(key, slot)| (key.service_id, slot.address, slot.port))
                .collect();
            for (key, flow) in maps.service_flows.entries().unwrap() {
                if !there.contains(&(flow.service_id, flow.address, flow.port)) {
                    all.entry("service_flows").or_default().push(format!("{node}: {key:?} {flow:?}"));
                }
            }
            for (key, had) in maps.affinity.entries().unwrap() {
                if !there.contains(&(key.service_id, had.address, had.port)) {
                    all.entry("affinity").or_default().push(format!("{node}: {key:?} {had:?}"));
                }
            }
        }
        all
    }

    /// Sizes of the tables that forget by themselves, to be read by people.
    pub fn remembered(&self) -> String {
        let one = |(node, maps): &(&str, Maps)| {
            let (flows, sockets) =
                (maps.service_flows.entries().unwrap().len(), maps.socket_reverse.entries().unwrap().len());
            format!(
                "{node}: {flows} service_flows, {sockets} socket_reverse, {} affinity",
                maps.affinity.entries().unwrap().len()
            )
        };
        self.0.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
