//! Flows as a graph: workloads and what is outside are its nodes, an edge leads from who begins to who answers. Pure.

use flow_api::extension;
use flow_api::flow::layer4::Protocol;
use flow_api::flow::{Endpoint, Flow, TraceReason, TrafficDirection, Verdict};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Who talks to whom.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// Someone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Node {
    /// `namespace/name`, or what is outside: `world`, `host`, `192.0.2.1`.
    pub name: String,
    /// `Deployment`, … `Pod`, `identity`, `address`.
    pub kind: String,
}

/// What one begins with another at one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    pub from: Node,
    pub to: Node,
    /// `tcp/8080`.
    pub port: String,
    /// Services by which it was called.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<String>,
    #[serde(flatten)]
    pub numbers: Numbers,
    /// Why some were dropped.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub reasons: BTreeSet<String>,
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Flows that began.
    pub begun: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Flows that ended, over which the bytes are summed up.
    pub ended: u64,
    pub bytes_out: u64,
    pub bytes_back: u64,
}

/// What one end's node has counted of an edge.
#[derive(Default)]
struct Seen {
    services: BTreeSet<String>,
    reasons: BTreeSet<String>,
    /// By direction: most connections are seen at both ends, and are one.
    at: [Numbers; 3],
}

impl Graph {
    /// Of these flows.
    pub fn of(flows: &[Flow]) -> Self {
        let workloads = workloads(flows);
        let mut seen: BTreeMap<(Node, Node, String), Seen> = BTreeMap::new();
        for flow in flows {
            let Some((from, to, port)) = ends(flow, &workloads) else { continue };
            add(seen.entry((from, to, port)).or_default(), flow);
        }
        let edges: Vec<Edge> = seen.into_iter().map(edge).filter(|edge| edge.numbers != Numbers::default()).collect();
        let nodes: BTreeSet<&Node> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
        Self { nodes: nodes.into_iter().cloned().collect(), edges }
    }
}

impl Edge {
    /// Whether nothing passed.
    pub fn is_denied(&self) -> bool {
        self.numbers.begun == 0 && self.numbers.ended == 0 && self.numbers.dropped > 0
    }
}

fn edge(((from, to, port), seen): ((Node, Node, String), Seen)) -> Edge {
    let most = |of: fn(&Numbers) -> u64| seen.at.iter().map(of).max().unwrap_or_default();
    let numbers = Numbers {
        begun: most(|one| one.begun),
        // A packet is dropped at one place.
        dropped: seen.at.iter().map(|one| one.dropped).sum(),
        ended: most(|one| one.ended),
        bytes_out: most(|one| one.bytes_out),
        bytes_back: most(|one| one.bytes_back),
    };
    Edge { from, to, port, services: seen.services, numbers, reasons: seen.reasons }
}

fn add(seen: &mut Seen, flow: &Flow) {
    let direction = match flow.traffic_direction() {
        TrafficDirection::Egress => 0,
        TrafficDirection::Ingress => 1,
        TrafficDirection::Unknown => 2,
    };
    let numbers = &mut seen.at[direction];
    if flow.verdict() == Verdict::Dropped {
        numbers.dropped += 1;
        seen.reasons.insert(flow.drop_reason_desc().as_str_name().to_owned());
    } else if let Some(ended) = extension::ended(flow) {
        numbers.ended += 1;
        numbers.bytes_out += ended.forward_bytes;
        numbers.bytes_back += ended.reply_bytes;
    } else if flow.trace_reason() == TraceReason::New && flow.is_reply != Some(true) {
        numbers.begun += 1;
    }
    let service = if flow.is_reply == Some(true) { &flow.source_service } else { &flow.destination_service };
    let named = service.iter().filter(|service| !service.name.is_empty());
    seen.services.extend(named.map(|service| format!("{}/{}", service.namespace, service.name)));
}

/// What each Pod belongs to, of all whose own node says so.
fn workloads(flows: &[Flow]) -> HashMap<(&str, &str), (&str, &str)> {
    let ends = flows.iter().flat_map(|flow| [&flow.source, &flow.destination]).flatten();
    ends.filter_map(|end| {
        let workload = end.workloads.first()?;
        Some(((&*end.namespace, &*end.pod_name), (&*workload.name, &*workload.kind)))
    })
    .collect()
}

/// Who began, who was to answer, and where.
fn ends(flow: &Flow, workloads: &HashMap<(&str, &str), (&str, &str)>) -> Option<(Node, Node, String)> {
    let ip = flow.ip.as_ref()?;
    let source = node(flow.source.as_ref(), &ip.source, workloads);
    let destination = node(flow.destination.as_ref(), &ip.destination, workloads);
    let is_reply = flow.is_reply == Some(true);
    let port =
        |name: &str, source: u32, destination: u32| format!("{name}/{}", if is_reply { source } else { destination });
    let port = match flow.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Tcp(tcp) => port("tcp", tcp.source_port, tcp.destination_port),
        Protocol::Udp(udp) => port("udp", udp.source_port, udp.destination_port),
        Protocol::Sctp(sctp) => port("sctp", sctp.source_port, sctp.destination_port),
        Protocol::IcmPv4(_) => "icmp".to_owned(),
        Protocol::IcmPv6(_) => "icmpv6".to_owned(),
        _ => return None,
    };
    Some(if is_reply { (destination, source, port) } else { (source, destination, port) })
}

fn node(end: Option<&Endpoint>, address: &str, workloads: &HashMap<(&str, &str), (&str, &str)>) -> Node {
    let called = |name: String, kind: &str| Node { name, kind: kind.to_owned() };
    let Some(end) = end else { return called(address.to_owned(), "address") };
    if !end.pod_name.is_empty() {
        return match workloads.get(&(&*end.namespace, &*end.pod_name)) {
            Some((name, kind)) => called(format!("{}/{name}", end.namespace), kind),
            None => called(format!("{}/{}", end.namespace, end.pod_name), "Pod"),
        };
    }
    // `reserved:world`; of several the last one says most.
    match end.labels.iter().rev().find_map(|label| label.strip_prefix("reserved:")) {
        Some(name) => called(name.to_owned(), "identity"),
        None => called(address.to_owned(), "address"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flow_api::flow::{DropReason, Ip, Layer4, Service, Tcp, Workload};
    use flow_api::malla::Ended;

    fn pod(name: &str) -> Endpoint {
        Endpoint { namespace: "shop".to_owned(), pod_name: name.to_owned(), ..Endpoint::default() }
    }

    /// As its own node tells it.
    fn own(name: &str) -> Endpoint {
        let workload = name.rsplit_once('-').unwrap().0.to_owned();
        Endpoint { workloads: vec![Workload { name: workload, kind: "Deployment".to_owned() }], ..pod(name) }
    }

    fn world() -> Endpoint {
        Endpoint { labels: vec!["reserved:world".to_owned()], identity: 2, ..Endpoint::default() }
    }

    fn flow(from: Endpoint, to: Endpoint, port: u32, direction: TrafficDirection) -> Flow {
        let tcp = Tcp { source_port: 40_000, destination_port: port, ..Tcp::default() };
        Flow {
            verdict: Verdict::Forwarded as i32,
            trace_reason: TraceReason::New as i32,
            source: Some(from),
            destination: Some(to),
            ip: Some(Ip { source: "10.0.0.1".to_owned(), destination: "10.0.0.2".to_owned(), ..Ip::default() }),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            traffic_direction: direction as i32,
            ..Flow::default()
        }
    }

    /// A web shop: two Pods of a front call a back through its Service, the world calls the front, somebody may not.
    pub fn shop() -> Graph {
        let (out, into) = (TrafficDirection::Egress, TrafficDirection::Ingress);
        let service = Service { namespace: "shop".to_owned(), name: "back".to_owned() };
        let mut flows = vec![flow(world(), own("front-1"), 80, into)];
        for front in ["front-1", "front-2"] {
            // Both ends see it: each knows its own workload.
            flows.push(Flow {
                destination_service: Some(service.clone()),
                ..flow(own(front), pod("back-1"), 8080, out)
            });
            flows.push(flow(pod(front), own("back-1"), 8080, into));
        }
        let ended = Ended { forward_bytes: 100, reply_bytes: 900, ..Ended::default() };
        let end = |flow: Flow| Flow { trace_reason: 0, extensions: Some(extension::pack(&ended)), ..flow };
        flows.push(end(flow(own("front-1"), pod("back-1"), 8080, out)));
        // The other node tells it by the last packet, which was an answer.
        let back = |tcp| Layer4 { protocol: Some(Protocol::Tcp(tcp)) };
        let answered = back(Tcp { source_port: 8080, destination_port: 40_000, ..Tcp::default() });
        let answer = |from, to| Flow { is_reply: Some(true), l4: Some(answered.clone()), ..flow(from, to, 0, into) };
        flows.push(end(answer(own("back-1"), pod("front-1"))));
        let denied = Flow {
            verdict: Verdict::Dropped as i32,
            drop_reason_desc: DropReason::PolicyDenied as i32,
            trace_reason: 0,
            ..flow(pod("<evil>"), own("back-1"), 8080, into)
        };
        flows.extend([denied.clone(), denied]);
        // An answer begins nothing, and leads nowhere else.
        flows.push(answer(own("back-1"), pod("front-1")));
        Graph::of(&flows)
    }

    #[test]
    fn pods_are_their_workloads_and_a_connection_that_both_ends_see_is_one() {
        let graph = shop();
        let names: Vec<_> = graph.nodes.iter().map(|node| format!("{} {}", node.name, node.kind)).collect();
        assert_eq!(names, ["shop/<evil> Pod", "shop/back Deployment", "shop/front Deployment", "world identity"]);
        let told: Vec<_> = graph.edges.iter().map(|e| (&*e.from.name, &*e.to.name, &*e.port, e.numbers)).collect();
        let begun = |begun| Numbers { begun, ..Numbers::default() };
        let called = Numbers { ended: 1, bytes_out: 100, bytes_back: 900, ..begun(2) };
        assert_eq!(
            told,
            [
                ("shop/<evil>", "shop/back", "tcp/8080", Numbers { dropped: 2, ..Numbers::default() }),
                ("shop/front", "shop/back", "tcp/8080", called),
                ("world", "shop/front", "tcp/80", begun(1)),
            ]
        );
        assert_eq!(graph.edges[1].services, BTreeSet::from(["shop/back".to_owned()]));
        assert_eq!(graph.edges[0].reasons, BTreeSet::from(["POLICY_DENIED".to_owned()]));
        assert!(graph.edges[0].is_denied() && !graph.edges[1].is_denied());
    }

    #[test]
    fn nothing_seen_is_an_empty_map() {
        assert_eq!(Graph::of(&[]), Graph::default());
        assert_eq!(Graph::of(&[Flow::default()]), Graph::default(), "without addresses it leads nowhere");
    }
}
