//! The hops that one visit stands for. Pure.

use super::advice::{self, place_of};
use super::masquerade::{self, Hidden, ends};
use super::visits::Visit;
use agent::events::{Kind, Record};
use policy::told::Named;
use serde::Serialize;
use std::net::SocketAddr;

/// Where something happened to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The lab's forwarder on the machine.
    Forwarder,
    /// A socket's own translation.
    Socket,
    /// The node's device.
    Device,
    /// A node's port became a Service.
    NodePort,
    /// A Service's address.
    Service,
    /// One of its backends was chosen.
    Backend,
    /// A translation was undone.
    Reverse,
    /// The source was hidden, or found again.
    Masquerade,
    /// Connection tracking.
    Conntrack,
    /// A policy's verdict.
    Policy,
    /// Into the tunnel.
    Encapsulation,
    /// Out of it.
    Decapsulation,
    /// By a route.
    Route,
    /// The Pod's interface.
    Pod,
    /// The node's own stack.
    Host,
    /// Here it died.
    Dropped,
}

impl Place {
    /// As people read it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Forwarder => "host forwarder",
            Self::Socket => "socket hook",
            Self::Device => "node device",
            Self::NodePort => "NodePort",
            Self::Service => "Service",
            Self::Backend => "backend choice",
            Self::Reverse => "translation undone",
            Self::Masquerade => "masquerade",
            Self::Conntrack => "conntrack",
            Self::Policy => "policy",
            Self::Encapsulation => "encapsulation",
            Self::Decapsulation => "decapsulation",
            Self::Route => "route",
            Self::Pod => "Pod interface",
            Self::Host => "host stack",
            Self::Dropped => "DROPPED",
        }
    }
}

/// One hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Since the journey's start, microseconds; of what a program did between a packet's coming and its going, when it told of it.
    /// None where only the order is known: of a socket's translation, which is before any packet, and of how a packet came that was
    /// told of only later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_us: Option<u64>,
    /// The node, or `machine`.
    pub node: String,
    /// Where.
    pub place: Place,
    /// The source before and after; the same where it stayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<(SocketAddr, SocketAddr)>,
    /// The destination before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<(SocketAddr, SocketAddr)>,
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The rule that allowed or denied, by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
}

impl Hop {
    /// A hop of which nothing else is known.
    pub fn new(node: &str, place: Place) -> Self {
        let (at_us, source, destination, rule) = (None, None, None, None);
        Self { at_us, node: node.to_owned(), place, source, destination, detail: String::new(), rule }
    }
}

/// What happened to the packet there, in the order in which the program does it; `hidden` are the flows of this journey that left
/// under a node's address.
pub fn of(visit: &Visit, start: u64, hidden: &[Hidden]) -> Vec<Hop> {
    let mut hops = Vec::new();
    let at = |record: &Record| Some(record.time_us.saturating_sub(start));
    if let Some(entry) = &visit.entry {
        hops.push(Hop { at_us: at(entry), ..arrival(entry, visit.exit.as_ref()) });
    }
    let Some(exit) = &visit.exit else { return hops };
    let mut last = None;
    if let Some(entry) = &visit.entry {
        let ((source, destination), (source_after, destination_after)) = (ends(entry), ends(exit));
        if destination != destination_after {
            hops.extend(destination_changed(entry, exit));
        }
        if source != source_after {
            let place = if exit.reply { Place::Reverse } else { Place::Masquerade };
            let hop = Hop { source: Some((source, source_after)), ..Hop::new(&exit.node.0, place) };
            if masquerade::leaves(exit) { last = Some(hop) } else { hops.push(hop) }
        }
    } else if advice::is_call(exit) {
        let asked = exit.destination.socket();
        let detail = "asked for at connect()".to_owned();
        hops.push(Hop { destination: Some((asked, asked)), detail, ..Hop::new(&exit.node.0, Place::Socket) });
    } else if exit.kind != Kind::Drop {
        hops.extend(known_again(exit, hidden));
    }
    let untimed = if visit.entry.is_some() { 0 } else { hops.len() };
    hops.extend(tracking(visit, exit));
    let told = visit.opened.as_ref().unwrap_or(exit);
    if exit.kind == Kind::Drop {
        stamp(&mut hops[untimed..], at(told));
        let rule = (exit.rule != 0).then_some(exit.rule);
        hops.push(Hop {
            at_us: at(exit),
            detail: advice::reason(exit),
            rule,
            ..Hop::new(&exit.node.0, Place::Dropped)
        });
        return hops;
    }
    hops.extend(verdicts(visit, exit));
    stamp(&mut hops[untimed..], at(told));
    // After the flow was opened.
    hops.extend(last.map(|last| Hop { at_us: at(exit), ..last }));
    hops.push(Hop { at_us: at(exit), ..departure(exit) });
    hops
}

/// What the program did by then.
fn stamp(hops: &mut [Hop], at_us: Option<u64>) {
    hops.iter_mut().for_each(|hop| hop.at_us = hop.at_us.or(at_us));
}

fn arrival(entry: &Record, exit: Option<&Record>) -> Hop {
    let (source, destination) = ends(entry);
    let (place, detail) = match &*entry.point {
        "from-endpoint" => (Place::Pod, format!("out of {}", advice::party(&entry.source))),
        "from-overlay" => {
            let by = exit.and_then(|record| record.tunnel).map_or_else(String::new, |node| format!(" from {node}"));
            (Place::Decapsulation, format!("VXLAN{by}"))
        }
        "from-host" => (Place::Host, "sent by the node itself".to_owned()),
        _ => (Place::Device, String::new()),
    };
    let (source, destination) = (Some((source, source)), Some((destination, destination)));
    Hop { source, destination, detail, ..Hop::new(&entry.node.0, place) }
}

fn destination_changed(entry: &Record, exit: &Record) -> Vec<Hop> {
    let (node, change) = (&exit.node.0, (entry.destination.socket(), exit.destination.socket()));
    if exit.reply {
        return vec![Hop { destination: Some(change), ..Hop::new(node, Place::Masquerade) }];
    }
    let name = exit.service.as_ref().and_then(|service| service.name.as_ref());
    let detail = name.map_or_else(|| "a Service".to_owned(), |name| format!("of Service {name}"));
    let place = if entry.destination.node.is_some() { Place::NodePort } else { Place::Service };
    let backend = exit.destination.pod.as_ref().map_or_else(String::new, ToString::to_string);
    vec![
        Hop { destination: Some((change.0, change.0)), detail, ..Hop::new(node, place) },
        Hop { destination: Some(change), detail: backend, ..Hop::new(node, Place::Backend) },
    ]
}

/// An answer to a port that masquerade had taken.
fn known_again(exit: &Record, hidden: &[Hidden]) -> Vec<Hop> {
    let (node, (source, destination)) = (&exit.node.0, ends(exit));
    let detail = "known again by the port that masquerade had taken".to_owned();
    let Some((from, to)) = masquerade::came(hidden, exit) else {
        return vec![Hop { detail, ..Hop::new(node, Place::Masquerade) }];
    };
    let arrival = Hop { source: Some((from, from)), destination: Some((to, to)), ..Hop::new(node, Place::Device) };
    let back = Hop { destination: Some((to, destination)), detail, ..Hop::new(node, Place::Masquerade) };
    let undone = (from != source).then(|| Hop { source: Some((from, source)), ..Hop::new(node, Place::Reverse) });
    [arrival, back].into_iter().chain(undone).collect()
}

fn tracking(visit: &Visit, exit: &Record) -> Option<Hop> {
    let detail = if visit.opened.is_some() {
        "opens a flow"
    } else if exit.reply {
        "a reply in a known flow"
    } else if exit.kind == Kind::Drop || exit.point == "to-host" {
        return None; // whether it was looked for can't be told from here
    } else {
        "of a known flow"
    };
    Some(Hop { detail: detail.to_owned(), ..Hop::new(&exit.node.0, Place::Conntrack) })
}

/// Told where a flow is opened at a Pod's end: later packets go by what was remembered then. Between two Pods of one node, both
/// ends are judged there.
fn verdicts(visit: &Visit, exit: &Record) -> Vec<Hop> {
    let Some(opened) = &visit.opened else { return Vec::new() };
    // A flow that had been held back is told again without its ends' rules: what let it pass is the one that decided.
    let resumed = opened.egress_rule == 0 && opened.ingress_rule == 0;
    let decided = |here: bool| if resumed && here { (&opened.decided_by, opened.rule) } else { (&None, 0) };
    let told = |side, known: (&Option<Named>, u32), decided: (&Option<Named>, u32)| {
        let (name, number) = if known.1 == 0 { decided } else { known };
        let detail = match (name, number) {
            (Some(rule), _) => format!("{side}: allowed by {rule}"),
            (None, 0) => format!("{side}: passes without a rule"),
            (None, number) => format!("{side}: allowed by rule {number}, which is not there any more"),
        };
        Hop { detail, rule: (number != 0).then_some(number), ..Hop::new(&exit.node.0, Place::Policy) }
    };
    let egress = (place_of(visit) == "from-endpoint")
        .then(|| told("egress", (&opened.egress_allowed_by, opened.egress_rule), decided(!opened.ingress)));
    let ingress = (exit.point == "to-endpoint")
        .then(|| told("ingress", (&opened.ingress_allowed_by, opened.ingress_rule), decided(opened.ingress)));
    egress.into_iter().chain(ingress).collect()
}

fn departure(exit: &Record) -> Hop {
    let (source, destination) = ends(exit);
    let (place, detail) = match &*exit.point {
        "to-endpoint" => (Place::Pod, format!("into {}", advice::party(&exit.destination))),
        "to-overlay" => {
            let node = exit.tunnel.map_or_else(String::new, |node| format!(" to {node}"));
            (Place::Encapsulation, format!("VXLAN{node}"))
        }
        "to-network" => (Place::Route, "out by the node's device".to_owned()),
        _ => (Place::Host, "the node itself".to_owned()),
    };
    let (source, destination) = (Some((source, source)), Some((destination, destination)));
    Hop { source, destination, detail, ..Hop::new(&exit.node.0, place) }
}
