//! Which backend a new flow gets on a node, step by step as the programs go, with the node's real maps and the programs'
//! own functions (`datapath-logic`).

use super::maps::Lookup;
use datapath_layouts::service::{FRONTEND_ADDRESS, FRONTEND_DSR, FRONTEND_SOURCE_RANGES};
use datapath_layouts::{
    Address, AffinityKey, AffinityMemberKey, BackendKey, DropReason, Frontend, FrontendKey, RouteKind, endpoint,
};
use datapath_logic::service::{Row, Side, exact_key, is_remembered, row};
use datapath_logic::{maglev, service};
use model::Protocol;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A client, with its port where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl FromStr for Client {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let socket: SocketAddr = text.parse().map_err(|_| format!("{text:?} is no address, with or without a port"))?;
        Ok(Self { address: socket.ip(), port: Some(socket.port()) })
    }
}

/// A new flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub client: Client,
    pub target: SocketAddr,
    pub protocol: Protocol,
}

/// One node's answer.
#[derive(Debug, PartialEq, Serialize)]
pub struct Answer {
    pub node: String,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What becomes of the flow, and why.
#[derive(Debug, PartialEq, Serialize)]
pub struct Verdict {
    #[serde(flatten)]
    pub outcome: Outcome,
    pub why: Vec<String>,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It goes to this backend.
    Backend { address: IpAddr, port: u16 },
    /// To one of these.
    OneOf { backends: Vec<SocketAddr> },
    /// It is refused: a reset, or port unreachable.
    Refused { reason: &'static str },
    /// It is dropped.
    Dropped { reason: &'static str },
    /// No Service has to do with it.
    NoService,
}

/// Goes the programs' way.
///
/// # Errors
/// When a map can't be read.
pub fn explain(flow: &Flow, maps: &impl Lookup) -> anyhow::Result<Verdict> {
    let mut why = Vec::new();
    let outcome = decide(flow, maps, &mut why)?;
    Ok(Verdict { outcome, why })
}

fn decide(flow: &Flow, maps: &impl Lookup, why: &mut Vec<String>) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        flow.client.address.is_ipv4() == flow.target.is_ipv4(),
        "client and target are of different families"
    );
    let (client, address) = (Address::from_ip(flow.client.address), Address::from_ip(flow.target.ip()));
    let Some(frontend) = frontend(flow, address, maps, why)? else {
        return unused(address, maps, why);
    };
    if frontend.flags & FRONTEND_SOURCE_RANGES != 0 {
        if !maps.is_in_range(frontend.service_id, client)? {
            why.push(format!("{} is in none of the Service's loadBalancerSourceRanges", flow.client.address));
            return Ok(Outcome::Dropped { reason: DropReason::SourceRange.name() });
        }
        why.push(format!("{} is in one of the Service's loadBalancerSourceRanges", flow.client.address));
    }
    let outside = is_outside(client, maps, why)?;
    let row = row(&frontend, if outside { Side::Outside } else { Side::Inside });
    if outside && frontend.flags & FRONTEND_DSR != 0 {
        why.push(
            "direct server return: a backend on another node names only that node, which chooses among its own and answers"
                .to_owned(),
        );
    }
    why.push(format!("row {} has {} backends", row.id, row.backends));
    if row.backends == 0 {
        return Ok(if row.empty == DropReason::NoLocalBackend {
            why.push("the traffic policy is Local, and the Service's endpoints are on other nodes".to_owned());
            Outcome::Dropped { reason: row.empty.name() }
        } else {
            why.push("the Service has no endpoint that serves".to_owned());
            Outcome::Refused { reason: row.empty.name() }
        });
    }
    if frontend.affinity_seconds > 0
        && let Some(outcome) = remembered(flow, client, &frontend, &row, maps, why)?
    {
        return Ok(outcome);
    }
    if row.maglev
        && let Some(outcome) = by_table(flow, client, address, &frontend, &row, maps, why)?
    {
        return Ok(outcome);
    }
    if row.backends > 1 && !row.maglev {
        why.push("the choice is random".to_owned());
    }
    any(&row, maps)
}

/// By the address itself, or as a NodePort when it is a node's.
fn frontend(
    flow: &Flow,
    address: Address,
    maps: &impl Lookup,
    why: &mut Vec<String>,
) -> anyhow::Result<Option<Frontend>> {
    let (port, number) = (flow.target.port(), flow.protocol.number());
    if let Some(found) = maps.frontend(&exact_key(address, port, number))? {
        why.push(format!("{}/{} is a Service's", flow.target, flow.protocol));
        return Ok(Some(found));
    }
    let is_node = match maps.endpoint(address)? {
        Some(found) => found.flags & endpoint::FLAG_HOST != 0,
        None => maps.route(address)?.is_some_and(|route| route.kind == RouteKind::RemoteNode as u8),
    };
    if !is_node {
        return Ok(None);
    }
    let found = maps.frontend(&service::node_port_key(&address, port, number))?;
    if found.is_some() {
        why.push(format!("port {port}/{} is a Service's NodePort, and {} is a node", flow.protocol, flow.target.ip()));
    }
    Ok(found)
}

/// No Service has the port: whose is the address?
fn unused(address: Address, maps: &impl Lookup, why: &mut Vec<String>) -> anyhow::Result<Outcome> {
    let whole = maps.frontend(&FrontendKey::whole_address(address))?;
    let route = maps.route(address)?;
    let claimed = maps.endpoint(address)?.is_some()
        || route.is_some_and(|r| r.kind != RouteKind::World as u8 && r.kind != RouteKind::Services as u8);
    if whole.is_some_and(|entry| entry.flags & FRONTEND_ADDRESS != 0) && !claimed {
        why.push("the address is a Service's, and none has this port".to_owned());
        return Ok(Outcome::Refused { reason: DropReason::ServiceAddress.name() });
    }
    if route.is_some_and(|route| route.kind == RouteKind::Services as u8) {
        why.push("the address is in the range of Services, and none has it".to_owned());
        return Ok(Outcome::Dropped { reason: DropReason::ServiceAddress.name() });
    }
    why.push("no Service has this address and port".to_owned());
    Ok(Outcome::NoService)
}

/// What enters by the node's device is outside; what a Pod or a process of a node sends is inside.
fn is_outside(client: Address, maps: &impl Lookup, why: &mut Vec<String>) -> anyhow::Result<bool> {
    if maps.endpoint(client)?.is_some() {
        why.push("the client is on this node".to_owned());
        return Ok(false);
    }
    let kind = maps.route(client)?.and_then(|route| RouteKind::from_number(route.kind));
    let inside = match kind {
        Some(RouteKind::RemotePods | RouteKind::RemoteNode) => {
            why.push("the client is on another node, whose own maps decide first: ask there".to_owned());
            true
        }
        Some(RouteKind::LocalPods) => {
            why.push("the client's address is of this node's Pods, though no Pod has it now".to_owned());
            true
        }
        Some(RouteKind::World | RouteKind::Services) | None => {
            why.push("the client is outside of the cluster".to_owned());
            false
        }
    };
    Ok(!inside)
}

/// The backend that the client had, while it may have it.
fn remembered(
    flow: &Flow,
    client: Address,
    frontend: &Frontend,
    row: &Row,
    maps: &impl Lookup,
    why: &mut Vec<String>,
) -> anyhow::Result<Option<Outcome>> {
    let seconds = frontend.affinity_seconds;
    let Some(entry) = maps.affinity(&AffinityKey { client, service_id: row.id })? else {
        why.push(format!(
            "sessionAffinity ClientIP ({seconds} s): nothing is remembered of {} \
             (of a Pod's sockets the network namespace is remembered, not the address)",
            flow.client.address
        ));
        return Ok(None);
    };
    let backend = SocketAddr::new(entry.address.to_ip(), entry.port);
    if !is_remembered(entry.last_used_ns, maps.now_ns(), seconds) {
        why.push(format!("it had {backend}, longer than {seconds} s ago"));
        return Ok(None);
    }
    if !maps.is_member(&AffinityMemberKey { service_id: row.id, backend_id: entry.backend_id })? {
        why.push(format!("it had {backend}, which has left the Service"));
        return Ok(None);
    }
    why.push(format!("sessionAffinity ClientIP ({seconds} s): it had {backend} before"));
    Ok(Some(Outcome::Backend { address: backend.ip(), port: backend.port() }))
}

fn by_table(
    flow: &Flow,
    client: Address,
    address: Address,
    frontend: &Frontend,
    row: &Row,
    maps: &impl Lookup,
    why: &mut Vec<String>,
) -> anyhow::Result<Option<Outcome>> {
    let Some(table) = maps.maglev(row.id)? else {
        why.push("the row's Maglev table is missing: the choice is random".to_owned());
        return Ok(None);
    };
    let hash = match (frontend.affinity_seconds, flow.client.port) {
        (0, None) => {
            why.push("the Maglev table decides by the client's port: name it to know more".to_owned());
            return Ok(None);
        }
        (0, Some(port)) => {
            let ports = (port, flow.target.port());
            maglev::hash_flow(&client, &address, ports, flow.protocol.number(), frontend)
        }
        _ => maglev::hash_client(&client),
    };
    let place = maglev::place(hash);
    let slot = u32::from(table.slots[place]);
    let backend = maps.backend(&BackendKey { service_id: row.id, slot })?;
    let Some(backend) = backend.filter(|_| slot < row.backends) else {
        why.push(format!(
            "entry {place} of the Maglev table names slot {slot}, which is not there: the choice is random"
        ));
        return Ok(None);
    };
    why.push(format!("entry {place} of the Maglev table names slot {slot}: every node chooses so"));
    Ok(Some(Outcome::Backend { address: backend.address.to_ip(), port: backend.port }))
}

fn any(row: &Row, maps: &impl Lookup) -> anyhow::Result<Outcome> {
    let mut backends = Vec::new();
    for slot in 0..row.backends {
        if let Some(backend) = maps.backend(&BackendKey { service_id: row.id, slot })? {
            backends.push(SocketAddr::new(backend.address.to_ip(), backend.port));
        }
    }
    backends.sort_unstable();
    Ok(match backends[..] {
        [only] => Outcome::Backend { address: only.ip(), port: only.port() },
        _ => Outcome::OneOf { backends },
    })
}

/// For people.
pub fn text(answers: &[Answer]) -> String {
    let mut out = String::new();
    for Answer { node, verdict } in answers {
        let outcome = match &verdict.outcome {
            Outcome::Backend { address, port } => format!("to {}", SocketAddr::new(*address, *port)),
            Outcome::OneOf { backends } => {
                let all: Vec<String> = backends.iter().map(ToString::to_string).collect();
                format!("to one of {}", all.join(", "))
            }
            Outcome::Refused { reason } => format!("refused ({reason})"),
            Outcome::Dropped { reason } => format!("dropped ({reason})"),
            Outcome::NoService => "not a Service's".to_owned(),
        };
        out.push_str(&format!("{node}: {outcome}\n"));
        for line in &verdict.why {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
