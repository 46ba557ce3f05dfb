//! `malla policy learn`: the least that would have let through what was seen. Pure.
//!
//! One `CiliumNetworkPolicy` for each kind of Pod in a namespace (those with the same labels), with a rule for each peer and
//! a comment on each rule that says which flows it is for. What was dropped is not learnt.

use flow_api::extension;
use flow_api::flow::{Endpoint, Flow, TraceReason, TrafficDirection, Verdict};
use flow_api::moment::{Moment, moment};
use flow_api::numbers::repeats_another;
use flow_api::transport::Transport;
use policy::rule::Direction;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// What was learnt.
#[derive(Debug, Default)]
pub struct Learned {
    /// Documents of YAML.
    pub yaml: String,
    pub policies: usize,
    pub rules: usize,
    /// Flows on which they are based.
    pub flows: usize,
    /// Flows of the namespace that were dropped, and are not in them.
    pub dropped: usize,
}

/// Labels by which Pods are told apart, by their key as people write it.
type Labels = BTreeMap<String, String>;

/// With whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    /// Pods; the namespace where it is another.
    Pods(Option<String>, Labels),
    /// `host`, `kube-apiserver`, …
    Entity(String),
    /// Outside.
    Address(IpAddr),
}

/// On what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    /// Protocol and number.
    Transport(&'static str, u16),
    /// Family and type.
    Icmp(&'static str, u16),
}

/// What was seen of a rule.
#[derive(Debug, Default)]
struct Seen {
    ports: BTreeSet<Port>,
    flows: usize,
    /// Who was at the other end, by name: at most [`MOST_NAMES`].
    peers: BTreeSet<String>,
    last: Option<Moment>,
}

#[derive(Debug, Default)]
struct Subject {
    /// Its Pods, by name.
    pods: BTreeSet<String>,
    workloads: BTreeSet<String>,
    rules: BTreeMap<(Direction, Peer), Seen>,
}

/// Learns, for Pods of one namespace, flow by flow.
#[derive(Debug)]
pub struct Learning<'a> {
    namespace: &'a str,
    subjects: BTreeMap<Labels, Subject>,
    flows: usize,
    dropped: usize,
}

impl<'a> Learning<'a> {
    /// Knows nothing yet.
    pub fn new(namespace: &'a str) -> Self {
        Self { namespace, subjects: BTreeMap::new(), flows: 0, dropped: 0 }
    }

    /// From one that was seen.
    pub fn add(&mut self, flow: &Flow) {
        if repeats_another(flow) {
            return;
        }
        let namespace = self.namespace;
        let (Some(source), Some(destination), Some(ip)) = (&flow.source, &flow.destination, &flow.ip) else { return };
        let is_about = [source, destination].iter().any(|end| is_pod_of(end, namespace));
        if flow.verdict() == Verdict::Dropped {
            self.dropped += usize::from(is_about);
            return;
        }
        if !begins_or_ends(flow) || !is_about {
            return;
        }
        // What an answer tells is about who had asked.
        let is_reply = flow.is_reply == Some(true);
        let ends = [(source, &*ip.source), (destination, &*ip.destination)];
        let (initiator, responder) = if is_reply { (ends[1], ends[0]) } else { (ends[0], ends[1]) };
        let Some(port) = port(flow, is_reply) else { return };
        self.flows += 1;
        for (direction, (own, _), other) in
            [(Direction::Egress, initiator, responder), (Direction::Ingress, responder, initiator)]
        {
            // A node tells what it saw; the end that is here is the one that it knows all of.
            let judged =
                if direction == Direction::Egress { TrafficDirection::Egress } else { TrafficDirection::Ingress };
            if !is_pod_of(own, namespace) || flow.traffic_direction() != judged {
                continue;
            }
            let Some(peer) = peer(other.0, other.1, namespace) else { continue };
            let subject = self.subjects.entry(labels(own)).or_default();
            subject.pods.insert(own.pod_name.clone());
            subject.workloads.extend(own.workloads.iter().map(|workload| workload.name.clone()));
            let seen = subject.rules.entry((direction, peer)).or_default();
            seen.ports.insert(port.clone());
            seen.flows += 1;
            if seen.peers.len() < MOST_NAMES {
                seen.peers.insert(called(other.0, other.1));
            }
            seen.last = seen.last.max(flow.time.as_ref().map(moment));
        }
    }

    /// What was learnt of all that was added.
    pub fn end(self) -> Learned {
        let mut names = BTreeMap::new();
        let documents = self.subjects.iter();
        let yaml = documents.map(|(labels, subject)| document(self.namespace, labels, subject, &mut names)).collect();
        Learned {
            yaml,
            policies: self.subjects.len(),
            rules: self.subjects.values().map(|subject| subject.rules.len()).sum(),
            flows: self.flows,
            dropped: self.dropped,
        }
    }
}

fn is_pod_of(end: &Endpoint, namespace: &str) -> bool {
    end.namespace == namespace && !end.pod_name.is_empty()
}

/// Single packets in between say nothing new.
fn begins_or_ends(flow: &Flow) -> bool {
    flow.trace_reason() == TraceReason::New || flow.verdict() == Verdict::Audit || extension::ended(flow).is_some()
}

/// The responder's; ICMP: the type with which it began.
fn port(flow: &Flow, is_reply: bool) -> Option<Port> {
    let transport = Transport::of(flow)?;
    let port = transport.port(is_reply);
    Some(match transport.name() {
        "icmp" | "icmpv6" if is_reply => return None,
        "icmp" => Port::Icmp("IPv4", port),
        "icmpv6" => Port::Icmp("IPv6", port),
        "tcp" => Port::Transport("TCP", port),
        "udp" => Port::Transport("UDP", port),
        _ => Port::Transport("SCTP", port),
    })
}

/// What tells Pods apart: their own labels; the account of those that have none.
fn labels(end: &Endpoint) -> Labels {
    let all = || end.labels.iter().filter_map(|label| label.strip_prefix("k8s:")?.split_once('='));
    let own: Labels = all()
        .filter(|(key, _)| !key.starts_with("io.cilium.k8s.") && !key.starts_with("io.kubernetes.pod."))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    if !own.is_empty() {
        return own;
    }
    all().filter(|(key, _)| *key == ACCOUNT).map(|(key, value)| (format!("k8s:{key}"), value.to_owned())).collect()
}

fn peer(end: &Endpoint, address: &str, namespace: &str) -> Option<Peer> {
    if !end.namespace.is_empty() && end.labels.iter().any(|label| label.starts_with("k8s:")) {
        let other = (end.namespace != namespace).then(|| end.namespace.clone());
        return Some(Peer::Pods(other, labels(end)));
    }
    let reserved: Vec<&str> = end.labels.iter().filter_map(|label| label.strip_prefix("reserved:")).collect();
    let is = |name: &str| reserved.contains(&name);
    let entity = ["kube-apiserver", "host", "remote-node", "health", "ingress"].into_iter().find(|name| is(name));
    match entity {
        Some(name) => Some(Peer::Entity(name.to_owned())),
        None => address.parse().ok().map(Peer::Address),
    }
}

fn called(end: &Endpoint, address: &str) -> String {
    if end.pod_name.is_empty() { address.to_owned() } else { format!("{}/{}", end.namespace, end.pod_name) }
}

fn document(namespace: &str, labels: &Labels, subject: &Subject, names: &mut BTreeMap<String, u32>) -> String {
    let mut out = String::new();
    let name = name(labels, subject, names);
    let pods = some(&subject.pods);
    let _ = writeln!(out, "---\n# For {pods}.\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy");
    let _ = writeln!(out, "metadata:\n  name: {}\n  namespace: {}\nspec:", quoted(&name), quoted(namespace));
    let _ = writeln!(out, "  endpointSelector:\n    matchLabels:{}", mapping(labels, 6));
    for (direction, field, from) in [(Direction::Ingress, "ingress", "from"), (Direction::Egress, "egress", "to")] {
        let rules = subject.rules.iter().filter(|((of, _), _)| *of == direction);
        let _ = writeln!(out, "  {field}:");
        let mut is_empty = true;
        for ((_, peer), seen) in rules {
            is_empty = false;
            rule(&mut out, from, peer, seen);
        }
        if is_empty {
            let _ = writeln!(out, "  # Nothing was seen: nothing is allowed.\n  - {{}}");
        }
    }
    out
}

fn rule(out: &mut String, from: &str, peer: &Peer, seen: &Seen) {
    let last = seen.last.and_then(|(seconds, _)| jiff::Timestamp::from_second(seconds).ok());
    let last = last.map_or_else(String::new, |time| format!(", the last at {time}"));
    let flows = if seen.flows == 1 { "1 flow".to_owned() } else { format!("{} flows", seen.flows) };
    let _ = writeln!(out, "  # {flows}{last}; {from} {}.", some(&seen.peers));
    let peer = match peer {
        Peer::Pods(namespace, labels) => {
            let mut labels = labels.clone();
            if let Some(namespace) = namespace {
                labels.insert("k8s:io.kubernetes.pod.namespace".to_owned(), namespace.clone());
            }
            format!("{from}Endpoints:\n    - matchLabels:{}", mapping(&labels, 8))
        }
        Peer::Entity(name) => format!("{from}Entities: [{}]", quoted(name)),
        Peer::Address(address) => {
            format!("{from}CIDR: [{}]", quoted(&format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })))
        }
    };
    let transport: Vec<_> = seen.ports.iter().filter(|port| matches!(port, Port::Transport(..))).collect();
    let icmp: Vec<_> = seen.ports.iter().filter(|port| matches!(port, Port::Icmp(..))).collect();
    // One rule can't have both.
    for (ports, head) in [(transport, "toPorts:\n    - ports:"), (icmp, "icmps:\n    - fields:")] {
        if ports.is_empty() {
            continue;
        }
        let _ = writeln!(out, "  - {peer}");
        let _ = writeln!(out, "    {head}");
        for port in ports {
            let _ = match port {
                Port::Transport(protocol, port) => writeln!(out, "      - {{port: \"{port}\", protocol: {protocol}}}"),
                Port::Icmp(family, kind) => writeln!(out, "      - {{family: {family}, type: {kind}}}"),
            };
        }
    }
}

/// By what people call them.
fn name(labels: &Labels, subject: &Subject, names: &mut BTreeMap<String, u32>) -> String {
    let of_label = ["app.kubernetes.io/name", "app", "k8s-app", "name"].into_iter().find_map(|key| labels.get(key));
    let own = subject.workloads.first().or(of_label).or(subject.pods.first());
    let lower = own.map_or("", String::as_str).to_lowercase();
    let is_fine = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let text: String = lower.chars().map(|letter| if is_fine(letter) { letter } else { '-' }).take(200).collect();
    let base = format!("learned-{}", text.trim_matches('-'));
    let base = base.trim_end_matches('-').to_owned();
    let number = names.entry(base.clone()).or_default();
    *number += 1;
    if *number == 1 { base } else { format!("{base}-{number}") }
}

/// A mapping of YAML after its key.
fn mapping(labels: &Labels, indent: usize) -> String {
    if labels.is_empty() {
        return " {}".to_owned();
    }
    let line = |(key, value): (&String, &String)| format!("\n{:indent$}{}: {}", "", quoted(key), quoted(value));
    labels.iter().map(line).collect()
}

/// Every string of JSON is one of YAML, and none of them is a number, `yes`, or a comment.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn some(names: &BTreeSet<String>) -> String {
    // Names come from outside: no line of a comment may end in them.
    let clean = |name: &String| name.chars().filter(|letter| !letter.is_control()).collect::<String>();
    let mut all: Vec<String> = names.iter().take(EXAMPLES).map(clean).collect();
    if names.len() > EXAMPLES {
        let least = if names.len() < MOST_NAMES { "" } else { "at least " };
        all.push(format!("{least}{} more", names.len() - EXAMPLES));
    }
    all.join(", ")
}

/// Names that a comment has.
const EXAMPLES: usize = 3;
/// Names that are told apart, so that a comment says how many there were: some 30 kB for each rule at most.
const MOST_NAMES: usize = 1000;

/// By which Pods without labels are told apart.
const ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";

#[cfg(test)]
#[path = "learn_tests.rs"]
pub mod tests;
