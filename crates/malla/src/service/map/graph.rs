//! Flows as a graph: workloads and what is outside are its nodes, an edge leads from who begins to who answers. Pure.

use flow_api::extension;
use flow_api::flow::{Endpoint, Flow, TraceReason, TrafficDirection, Verdict};
use flow_api::numbers::repeats_another;
use flow_api::transport::Transport;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

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

/// Who is at an end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    /// Namespace and name. What it belongs to may be told later: its first flows can be faster.
    Pod(String, String),
    Other(Node),
}

/// What was counted of an edge.
#[derive(Debug, Default)]
struct Seen {
    services: BTreeSet<String>,
    reasons: BTreeSet<String>,
    /// By direction: most connections are seen at both ends, and are one.
    at: [Numbers; 3],
}

/// A graph that is being drawn, flow by flow.
#[derive(Debug, Default)]
pub struct Sketch {
    seen: BTreeMap<(Party, Party, String), Seen>,
    /// Of each Pod, by namespace and name: the workload's name and kind.
    workloads: BTreeMap<(String, String), (String, String)>,
}

impl Sketch {
    /// One that was seen.
    pub fn add(&mut self, flow: &Flow) {
        if repeats_another(flow) {
            return;
        }
        for end in [&flow.source, &flow.destination].into_iter().flatten() {
            if let Some(workload) = end.workloads.first() {
                let pod = (end.namespace.clone(), end.pod_name.clone());
                self.workloads.entry(pod).or_insert_with(|| (workload.name.clone(), workload.kind.clone()));
            }
        }
        if let Some(ends) = ends(flow) {
            self.seen.entry(ends).or_default().add(flow);
        }
    }

    /// Of all that was added.
    pub fn end(self) -> Graph {
        let mut seen: BTreeMap<(Node, Node, String), Seen> = BTreeMap::new();
        for ((from, to, port), one) in self.seen {
            let [from, to] = [from, to].map(|party| node(party, &self.workloads));
            seen.entry((from, to, port)).or_default().merge(one);
        }
        let edges: Vec<Edge> = seen.into_iter().map(edge).filter(|edge| edge.numbers != Numbers::default()).collect();
        let nodes: BTreeSet<&Node> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
        Graph { nodes: nodes.into_iter().cloned().collect(), edges }
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

impl Seen {
    fn add(&mut self, flow: &Flow) {
        let direction = match flow.traffic_direction() {
            TrafficDirection::Egress => 0,
            TrafficDirection::Ingress => 1,
            TrafficDirection::Unknown => 2,
        };
        let numbers = &mut self.at[direction];
        if flow.verdict() == Verdict::Dropped {
            numbers.dropped += 1;
            self.reasons.insert(flow.drop_reason_desc().as_str_name().to_owned());
        } else if let Some(ended) = extension::ended(flow) {
            numbers.ended += 1;
            numbers.bytes_out += ended.forward_bytes;
            numbers.bytes_back += ended.reply_bytes;
        } else if flow.trace_reason() == TraceReason::New && flow.is_reply != Some(true) {
            numbers.begun += 1;
        }
        let service = if flow.is_reply == Some(true) { &flow.source_service } else { &flow.destination_service };
        let named = service.iter().filter(|service| !service.name.is_empty());
        self.services.extend(named.map(|service| format!("{}/{}", service.namespace, service.name)));
    }

    /// Another Pod's of the same workload.
    fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.reasons.extend(other.reasons);
        for (one, more) in self.at.iter_mut().zip(other.at) {
            one.begun += more.begun;
            one.dropped += more.dropped;
            one.ended += more.ended;
            one.bytes_out += more.bytes_out;
            one.bytes_back += more.bytes_back;
        }
    }
}

/// Who began, who was to answer, and where.
fn ends(flow: &Flow) -> Option<(Party, Party, String)> {
    let (ip, transport) = (flow.ip.as_ref()?, Transport::of(flow)?);
    let source = party(flow.source.as_ref(), &ip.source);
    let destination = party(flow.destination.as_ref(), &ip.destination);
    let is_reply = flow.is_reply == Some(true);
    let port = match transport.is_icmp() {
        true => transport.name().to_owned(),
        false => format!("{}/{}", transport.name(), transport.port(is_reply)),
    };
    Some(if is_reply { (destination, source, port) } else { (source, destination, port) })
}

fn party(end: Option<&Endpoint>, address: &str) -> Party {
    let other = |name: &str, kind: &str| Party::Other(Node { name: name.to_owned(), kind: kind.to_owned() });
    let Some(end) = end else { return other(address, "address") };
    if !end.pod_name.is_empty() {
        return Party::Pod(end.namespace.clone(), end.pod_name.clone());
    }
    // `reserved:world`; of several the last one says most.
    match end.labels.iter().rev().find_map(|label| label.strip_prefix("reserved:")) {
        Some(name) => other(name, "identity"),
        None => other(address, "address"),
    }
}

fn node(party: Party, workloads: &BTreeMap<(String, String), (String, String)>) -> Node {
    match party {
        Party::Other(node) => node,
        Party::Pod(namespace, name) => {
            let pod = (namespace, name);
            let (name, kind) = workloads.get(&pod).map_or((&*pod.1, "Pod"), |(name, kind)| (name, kind));
            Node { name: format!("{}/{name}", pod.0), kind: kind.to_owned() }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flow_api::flow::layer4::Protocol;
    use flow_api::flow::{CiliumEventType, DropReason, Ip, Layer4, Service, Tcp, Workload};
    use flow_api::malla::Ended;
    use flow_api::numbers::event::POLICY_VERDICT;

    fn graph(flows: &[Flow]) -> Graph {
        let mut sketch = Sketch::default();
        flows.iter().for_each(|flow| sketch.add(flow));
        sketch.end()
    }

    fn pod(name: &str) -> Endpoint {
        Endpoint { namespace: "shop".to_owned(), pod_name: name.to_owned(), ..Endpoint::default() }
    }

    /// Told with what it belongs to.
    fn owned(name: &str) -> Endpoint {
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
        let mut flows = vec![flow(world(), owned("front-1"), 80, into)];
        for front in ["front-1", "front-2"] {
            // Both ends see it; of the other one neither was told yet what it belongs to.
            flows.push(Flow {
                destination_service: Some(service.clone()),
                ..flow(owned(front), pod("back-1"), 8080, out)
            });
            flows.push(flow(pod(front), owned("back-1"), 8080, into));
        }
        let ended = Ended { forward_bytes: 100, reply_bytes: 900, ..Ended::default() };
        let end = |flow: Flow| Flow { trace_reason: 0, extensions: Some(extension::pack(&ended)), ..flow };
        flows.push(end(flow(owned("front-1"), pod("back-1"), 8080, out)));
        // The other node tells it by the last packet, which was an answer.
        let back = |tcp| Layer4 { protocol: Some(Protocol::Tcp(tcp)) };
        let answered = back(Tcp { source_port: 8080, destination_port: 40_000, ..Tcp::default() });
        let answer = |from, to| Flow { is_reply: Some(true), l4: Some(answered.clone()), ..flow(from, to, 0, into) };
        flows.push(end(answer(owned("back-1"), pod("front-1"))));
        let denied = Flow {
            verdict: Verdict::Dropped as i32,
            drop_reason_desc: DropReason::PolicyDenied as i32,
            trace_reason: 0,
            ..flow(pod("<evil>"), owned("back-1"), 8080, into)
        };
        flows.extend([denied.clone(), denied]);
        // What policy said of each begins nothing and drops nothing.
        let verdict = Some(CiliumEventType { r#type: POLICY_VERDICT, sub_type: 0 });
        let said: Vec<Flow> = flows.iter().map(|flow| Flow { event_type: verdict, ..flow.clone() }).collect();
        flows.extend(said);
        // An answer begins nothing, and leads nowhere else.
        flows.push(answer(owned("back-1"), pod("front-1")));
        graph(&flows)
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
        assert_eq!(graph(&[]), Graph::default());
        assert_eq!(graph(&[Flow::default()]), Graph::default(), "without addresses it leads nowhere");
    }
}
