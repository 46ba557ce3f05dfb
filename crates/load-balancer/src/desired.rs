//! What a Service should look like in the maps.

use crate::standing::{Locality, Member, Standing, members};
use crate::weights;
use datapath_layouts::service::{
    BACKEND_LOCAL, BACKEND_TERMINATING, FRONTEND_DSR, FRONTEND_LOCAL_EXTERNAL, FRONTEND_LOCAL_INTERNAL,
    FRONTEND_MAGLEV, FRONTEND_MAGLEV_EXTERNAL, FRONTEND_NODE_PORT, FRONTEND_SOURCE_RANGES, MAGLEV_SIZE,
};
use datapath_layouts::{Address, Backend, FrontendKey};
use ipnet::IpNet;
use model::{
    Affinity, Algorithm, EndpointSlice, Family, Forwarding, ObjectName, Protocol, Service, ServicePort, TrafficPolicy,
};
use std::collections::BTreeMap;

/// One port of a Service in one family: what shares rows of slots.
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

/// What a Service should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its ports.
    pub ports: Vec<Desired>,
    /// Its addresses: what no port serves there is refused.
    pub addresses: Vec<Address>,
    /// What of it can't be done, in words.
    pub problems: Vec<String>,
}

/// What one port of a Service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Which port.
    pub port: PortKey,
    /// Its frontends; a row's number is recovered after a restart by the first one that names the row.
    pub frontends: Vec<WantedFrontend>,
    /// ClientIP affinity in seconds; 0 = none.
    pub affinity_seconds: u32,
    /// Clients that frontends with `FRONTEND_SOURCE_RANGES` serve: of the port's family, sorted.
    pub source_ranges: Vec<IpNet>,
    /// Its rows, by [`RowKind`]; those that no frontend names are not there.
    pub rows: [Option<WantedRow>; 2],
}

impl Desired {
    /// Everything that serves, whether in the one row or the other.
    #[must_use]
    pub fn row(&self, kind: RowKind) -> Option<&WantedRow> {
        self.rows[kind as usize].as_ref()
    }
}

/// Which endpoints a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// Those that any node may use.
    Cluster = 0,
    /// Those of this node.
    Local = 1,
}

impl RowKind {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Cluster, Self::Local];

    const fn of(policy: TrafficPolicy) -> Self {
        match policy {
            TrafficPolicy::Cluster => Self::Cluster,
            TrafficPolicy::Local => Self::Local,
        }
    }
}

/// A row of backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedRow {
    /// Sorted, none twice.
    pub backends: Vec<Target>,
    /// Whether a frontend chooses from it by a Maglev table.
    pub maglev: bool,
}

impl WantedRow {
    /// The backends' weights, where they differ.
    pub(crate) fn weights(&self) -> Option<BTreeMap<(Address, u16), u8>> {
        let first = self.backends.first()?.weight;
        let differ = self.backends.iter().any(|target| target.weight != first);
        differ.then(|| self.backends.iter().map(|target| ((target.address, target.port), target.weight)).collect())
    }
}

/// A frontend without the numbers that the balancer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedFrontend {
    /// Its key.
    pub key: FrontendKey,
    /// `FRONTEND_*`; those of Maglev hold only while the row has a table.
    pub flags: u32,
    /// Row for clients of the cluster.
    pub inside: RowKind,
    /// Row for what enters from outside. With `FRONTEND_DSR` the row of this node's endpoints is named besides.
    pub outside: RowKind,
}

impl WantedFrontend {
    /// Whether it names this row.
    #[must_use]
    pub fn names(&self, kind: RowKind) -> bool {
        self.inside == kind || self.outside == kind || (kind == RowKind::Local && self.is_direct())
    }

    /// Whether another node passes on what entered there as it is.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.flags & FRONTEND_DSR != 0
    }
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
    /// How many new flows it gets beside the others of its row; not 0. It is in the row's Maglev table and nowhere else.
    pub weight: u8,
}

impl Target {
    /// The slot that stands for it.
    #[must_use]
    pub fn backend(&self, id: u32) -> Backend {
        Backend { address: self.address, id, port: self.port, cluster: 0, flags: self.flags }
    }
}

/// What a Service with these slices should have.
#[must_use]
pub fn desired<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    locality: Locality<'_>,
) -> Wanted {
    let mut out = Wanted { problems: service.misunderstood.clone(), ..Wanted::default() };
    for port in &service.ports {
        for family in Family::BOTH {
            let members = members(port, slices.clone().filter(|s| s.family == family), &service.weights, locality);
            let mut frontends = frontends(service, port, family, &members);
            if port.protocol == Protocol::Sctp {
                refuse_other_ports(&mut frontends, &members, &mut out.problems);
            }
            if frontends.is_empty() {
                continue;
            }
            out.problems.extend(too_many_for_weights(port, family, &members));
            let ranges = service.source_ranges.iter().filter(|range| Family::of(range.addr()) == family);
            out.ports.push(Desired {
                port: PortKey { service: service.name.clone(), port: port.port, protocol: port.protocol, family },
                affinity_seconds: match service.affinity {
                    Affinity::None => 0,
                    Affinity::ClientAddress { seconds } => seconds,
                },
                source_ranges: ranges.copied().collect(),
                rows: RowKind::BOTH.map(|kind| row(kind, &frontends, &members)),
                frontends,
            });
        }
    }
    out.addresses = addresses(service).map(|(address, _)| Address::from_ip(address)).collect();
    out.addresses.sort_unstable();
    out.addresses.dedup();
    out
}

/// Where an address comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Cluster,
    External,
    Balancer,
}

fn addresses(service: &Service) -> impl Iterator<Item = (std::net::IpAddr, Origin)> {
    let of = |list: &'_ [std::net::IpAddr], origin| list.iter().map(move |&a| (a, origin)).collect::<Vec<_>>();
    let cluster = of(&service.cluster_addresses, Origin::Cluster).into_iter();
    // What is both is guarded as the load balancer's.
    cluster
        .chain(of(&service.balancer_addresses, Origin::Balancer))
        .chain(of(&service.external_addresses, Origin::External))
}

fn frontends(service: &Service, port: &ServicePort, family: Family, members: &[Member]) -> Vec<WantedFrontend> {
    let protocol = port.protocol.number();
    let weighted = are_weighted(members);
    let elsewhere = members.iter().any(|m| !m.local && m.cluster.is_usable());
    let with = |key: FrontendKey, origin: Option<Origin>, flags: u32| {
        let external = RowKind::of(service.external_policy);
        let (inside, outside) = match origin {
            Some(Origin::Cluster) => (RowKind::of(service.internal_policy), RowKind::of(service.internal_policy)),
            // Clients of the cluster reach all endpoints by external addresses too, as if they had gone out and come back
            // by a balancer that knows better (kube-proxy's short cut).
            _ => (RowKind::Cluster, external),
        };
        let mut flags = flags;
        if inside == RowKind::Local && elsewhere {
            flags |= FRONTEND_LOCAL_INTERNAL;
        }
        if outside == RowKind::Local && elsewhere {
            flags |= FRONTEND_LOCAL_EXTERNAL;
        }
        if origin == Some(Origin::Balancer) && !service.source_ranges.is_empty() {
            flags |= FRONTEND_SOURCE_RANGES;
        }
        flags |= match (service.algorithm, outside) {
            // A table is the only thing that knows weights. By chance or by table: each flow has its own hash.
            _ if weighted => FRONTEND_MAGLEV | FRONTEND_MAGLEV_EXTERNAL,
            (Algorithm::Maglev, _) => FRONTEND_MAGLEV | FRONTEND_MAGLEV_EXTERNAL,
            (Algorithm::Random, _) => 0,
            // Nodes can agree only where they have the same endpoints; and what enters by a ClusterIP is rare.
            (Algorithm::Default, RowKind::Cluster) if origin != Some(Origin::Cluster) => FRONTEND_MAGLEV_EXTERNAL,
            (Algorithm::Default, _) => 0,
        };
        // Where the policy is Local, nothing goes to another node that could answer from there.
        let passes = origin != Some(Origin::Cluster) && outside == RowKind::Cluster;
        if passes && service.forwarding == Forwarding::Dsr {
            flags |= FRONTEND_DSR;
        }
        WantedFrontend { key, flags, inside, outside }
    };
    let mut out: Vec<WantedFrontend> = Vec::new();
    for (address, origin) in addresses(service).filter(|&(a, _)| Family::of(a) == family) {
        let key = FrontendKey { address: Address::from_ip(address), port: port.port, protocol, cluster: 0 };
        if !out.iter().any(|f| f.key == key) {
            out.push(with(key, Some(origin), 0));
        }
    }
    if let Some(node_port) = port.node_port.filter(|_| service.families.contains(&family)) {
        let address = match family {
            Family::V4 => Address::V4_ANY,
            Family::V6 => Address::ZERO,
        };
        let key = FrontendKey { address, port: node_port, protocol, cluster: 0 };
        out.push(with(key, None, FRONTEND_NODE_PORT));
    }
    out
}

/// Whether those that serve have different weights: else there is nothing to weigh.
fn are_weighted(members: &[Member]) -> bool {
    let mut serving = members.iter().filter(|m| m.cluster.serves() || m.here.serves()).map(|m| m.weight);
    let first = serving.next();
    serving.any(|weight| Some(weight) != first)
}

fn too_many_for_weights(port: &ServicePort, family: Family, members: &[Member]) -> Option<String> {
    let count = members.iter().filter(|m| m.cluster.serves()).count();
    (count > MAGLEV_SIZE && are_weighted(members)).then(|| {
        format!(
            "annotation {}: weights don't hold for port {}/{} ({family:?}): it has {count} endpoints, and there is room for \
             {MAGLEV_SIZE}",
            weights::ANNOTATION,
            port.port,
            port.protocol
        )
    })
}

/// SCTP's checksum covers the whole packet, so the datapath does not change its ports: a frontend with another port than
/// its backends' can't be served, and half of the backends would be worse than none.
fn refuse_other_ports(frontends: &mut Vec<WantedFrontend>, members: &[Member], problems: &mut Vec<String>) {
    frontends.retain(|frontend| {
        let other = members.iter().find(|m| m.port != frontend.key.port);
        if let Some(member) = other {
            let key = &frontend.key;
            let what =
                if frontend.flags & FRONTEND_NODE_PORT == 0 { key.address.to_string() } else { "node".to_owned() };
            problems.push(format!(
                "SCTP port {} ({what}) is not served: an endpoint has port {}, and SCTP keeps its port",
                key.port, member.port
            ));
        }
        other.is_none()
    });
}

/// The row, when a frontend names it.
fn row(kind: RowKind, frontends: &[WantedFrontend], members: &[Member]) -> Option<WantedRow> {
    if !frontends.iter().any(|f| f.names(kind)) {
        return None;
    }
    let maglev = frontends.iter().any(|f| {
        let outside = f.outside == kind || (kind == RowKind::Local && f.is_direct());
        (f.inside == kind && f.flags & FRONTEND_MAGLEV != 0) || (outside && f.flags & FRONTEND_MAGLEV_EXTERNAL != 0)
    });
    let backends = members.iter().filter_map(|member| {
        let standing = match kind {
            RowKind::Cluster => member.cluster,
            RowKind::Local => member.here,
        };
        standing.serves().then(|| Target {
            address: member.address,
            port: member.port,
            flags: if member.local { BACKEND_LOCAL } else { 0 }
                | if standing == Standing::LastResort { BACKEND_TERMINATING } else { 0 },
            weight: member.weight,
        })
    });
    Some(WantedRow { backends: backends.collect(), maglev })
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
