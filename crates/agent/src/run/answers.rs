//! The state in words: `GET /v1/status`.

use super::state::State;
use crate::error::chain;
use crate::kernel::resident_bytes;
use crate::node_conditions::{Statement, ready};
use crate::node_config::pod_mtu;
use crate::status::{Counts, Datapath, Endpoint, Events, MapUsage, Memory, Mtu, Packets, State as Word, Status};
use datapath_layouts::{DropReason, ObservationPoint, Routing, StatsValue, stats};
use load_balancer::host_ports::described;
use policy::snapshot::{PodFacts, Snapshot};
use std::collections::BTreeMap;
use std::net::IpAddr;

impl State {
    /// Everything that the agent says of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let parts = &self.parts;
        let config = parts.loaded.config();
        let mut problems = self.problems();
        let maps = parts.loaded.usages().unwrap_or_else(|error| {
            problems.push(chain(&error));
            Vec::new()
        });
        let counters = parts.loaded.stats().unwrap_or_else(|error| {
            problems.push(chain(&error));
            Vec::new()
        });
        let endpoints = self.endpoints(&mut problems);
        Status {
            node: parts.own.name.clone(),
            state: self.word(&problems),
            problems,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            routing: routing_name(parts.choices.routing).to_owned(),
            mtu: Mtu { network: config.network_mtu, overlay: config.overlay_mtu, pod: pod_mtu(&config) },
            addresses: parts.own.addresses.clone(),
            pod_ranges: parts.own.pod_ranges.clone(),
            datapath: Datapath { xdp_sent_on: packets(&counters, stats::XDP_SENT_ON), ..parts.datapath.clone() },
            adoption: parts.adoption.clone(),
            watches: parts.watches.now(),
            counts: self.counts(endpoints.len()),
            policies: self.policies.view(parts.maps.policy.epoch().unwrap_or_default()),
            node_origins: self.neighbours.origins().clone(),
            connectivity: parts.probes.view(),
            endpoints,
            memory: memory(maps),
            drops: drops(&counters),
            forwarded: forwarded(&counters),
            events: self.events(&counters),
            flows: self.parts.keeping.status(config.observation),
            collected: parts.collected.now(),
        }
    }

    /// The agent's state and problems as the Node's condition has them. What [`status`](Self::status) alone asks the kernel for,
    /// counters and what maps cost, is not asked for: that comes too often. That there is no connection to the API could be told only
    /// when it is over, by all nodes at once; a heartbeat that is missing tells it.
    #[must_use]
    pub(super) fn readiness(&self) -> Statement {
        let mut problems = self.own_problems();
        self.endpoints(&mut problems);
        let watches = self.parts.watches.now();
        let waiting = watches.iter().filter(|watch| !watch.synced && !watch.not_served);
        let waiting: Vec<&str> = waiting.map(|watch| watch.kind.as_str()).collect();
        ready::statement(self.word(&problems), &problems, &waiting)
    }

    /// With these problems, in one word.
    fn word(&self, problems: &[String]) -> Word {
        match (problems.is_empty(), self.is_settled()) {
            (false, _) => Word::Degraded,
            (true, true) => Word::Ok,
            (true, false) => Word::Starting,
        }
    }

    /// Policy as this node has it, with the Pods of the cluster.
    #[must_use]
    pub fn policy_snapshot(&self) -> Snapshot {
        let by_address = |address: IpAddr| {
            let found = self.nodes.values().find(|node| node.addresses.contains(&address));
            found.map(|node| node.name.0.clone())
        };
        let mut pods: Vec<PodFacts> = self
            .identities
            .published()
            .map(|one| PodFacts {
                namespace: one.pod.namespace.clone(),
                name: one.pod.name.clone(),
                identity: one.identity,
                addresses: one.addresses.clone(),
                node: one.node.and_then(by_address),
            })
            .collect();
        pods.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let mut pod_ranges: Vec<_> = self.nodes.values().flat_map(|node| node.pod_ranges.iter().copied()).collect();
        pod_ranges.sort_unstable();
        let api_servers = self.api_servers.iter().copied().collect();
        Snapshot { node: self.parts.own.name.0.clone(), pods, pod_ranges, api_servers, ..self.policies.snapshot() }
    }

    /// What needs attention, each in one line.
    fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        let watches = self.parts.watches.now();
        let away: Vec<_> = watches.iter().filter(|w| !w.connected && w.last_error.is_some()).collect();
        if let Some(error) = away.first().and_then(|w| w.last_error.as_deref()) {
            let kinds: Vec<&str> = away.iter().map(|w| w.kind.as_str()).collect();
            out.push(format!("no connection to the Kubernetes API for {}: {error}", kinds.join(", ")));
        }
        out.extend(self.own_problems());
        out
    }

    /// But for the way to the API.
    fn own_problems(&self) -> Vec<String> {
        let mut out: Vec<String> = self.failures.iter().map(|(what, text)| format!("{what}: {text}")).collect();
        out.extend(self.services.problems().iter().map(|(name, text)| format!("{}: {text}", described(name))));
        out.extend(self.parts.sockets.problems());
        out.extend(self.policies.problems());
        out.extend(self.parts.troubles.now());
        if self.identities.is_synced() && self.nodes.is_synced() {
            out.extend(self.identities.peers.problems());
        }
        for (what, why) in &self.parts.adoption.not_adopted {
            out.push(format!("{what} could not be taken over: {why}"));
        }
        if self.parts.netlink.is_some() {
            out.extend(forwarding_problems());
        }
        out
    }

    pub(super) fn endpoints(&self, problems: &mut Vec<String>) -> Vec<Endpoint> {
        let mut out = Vec::new();
        for pod in self.parts.pods.list() {
            let attached = self.parts.pods.has_programs(&pod.interface);
            if !attached {
                problems.push(format!("the programs of Pod link {} are not attached", pod.interface));
            }
            out.push(Endpoint {
                id: pod.id,
                pod: pod.name,
                identity: pod.identity,
                addresses: pod.addresses,
                interface: pod.interface,
                attached,
            });
        }
        out
    }

    fn counts(&self, endpoints: usize) -> Counts {
        let (frontends, backends) = self.services.balancer().tables().len();
        Counts {
            nodes: self.nodes.count(),
            services: self.services.services().count(),
            endpoint_slices: self.services.slices().count(),
            frontends,
            backends,
            ipcache: self.parts.maps.ipcache.entries().map_or(0, |entries| entries.len()),
            endpoints,
            identities: self.identities.count(),
            remote_pods: self.identities.peers.count(),
        }
    }

    fn events(&self, counters: &[(u32, StatsValue)]) -> Events {
        let slot = |number| counters.iter().find(|(slot, _)| *slot == number).map_or(0, |(_, value)| value.packets);
        Events {
            written: slot(stats::EVENTS_WRITTEN),
            lost: slot(stats::EVENTS_LOST),
            read: self.parts.hub.seen(),
            listeners: self.parts.hub.listeners(),
            missed: self.parts.hub.missed(),
        }
    }
}

/// The host's stack must forward, or replies from Pods of other nodes end here.
fn forwarding_problems() -> impl Iterator<Item = String> {
    let families: [&[&str]; 2] = [&["ipv4", "ip_forward"], &["ipv6", "conf", "all", "forwarding"]];
    families.into_iter().filter_map(|name| {
        let value = netlink::sysctl::read(name).ok()?;
        (value == "0").then(|| format!("net.{} is 0: the host does not forward packets", name.join(".")))
    })
}

fn memory(maps: Vec<MapUsage>) -> Memory {
    Memory { agent_resident: resident_bytes(), maps_total: maps.iter().map(|m| m.memory_bytes).sum(), maps }
}

/// Counters of dropped packets, by Hubble's names; those that are 0 are left out.
#[must_use]
pub fn drops(counters: &[(u32, StatsValue)]) -> BTreeMap<String, Packets> {
    let reasons = counters.iter().filter(|(slot, value)| *slot < stats::FORWARDED && value.packets > 0);
    reasons
        .map(|(slot, value)| {
            let reason = u8::try_from(*slot).ok().and_then(DropReason::from_number);
            let name = reason.map_or_else(|| format!("REASON_{slot}"), |r| r.name().to_owned());
            (name, Packets { packets: value.packets, bytes: value.bytes })
        })
        .collect()
}

fn packets(counters: &[(u32, StatsValue)], slot: u32) -> Packets {
    let value = counters.iter().find(|(s, _)| *s == slot).map_or(StatsValue::ZERO, |(_, value)| *value);
    Packets { packets: value.packets, bytes: value.bytes }
}

/// Counters of forwarded packets, by observation point; those that are 0 are left out.
#[must_use]
pub fn forwarded(counters: &[(u32, StatsValue)]) -> BTreeMap<String, Packets> {
    let points = counters.iter().filter_map(|(slot, value)| {
        let number = slot.checked_sub(stats::FORWARDED).and_then(|n| u8::try_from(n).ok())?;
        let point = ObservationPoint::from_number(number)?;
        (value.packets > 0).then(|| (point.name().to_owned(), Packets { packets: value.packets, bytes: value.bytes }))
    });
    points.collect()
}

/// As the command line has it.
#[must_use]
pub const fn routing_name(routing: Routing) -> &'static str {
    match routing {
        Routing::Overlay => "vxlan",
        Routing::Native => "native",
    }
}
