//! What masquerade made of flows that left the cluster: by that their answers are known again. Pure.
//!
//! An answer from outside comes to the node's own address, where nobody is followed: programs tell of it only when it has been
//! translated back. How it came is how the flow went out, the other way round.

use super::visits::{Visit, Way};
use agent::events::Record;
use std::net::SocketAddr;

/// Source and destination.
pub type Ends = (SocketAddr, SocketAddr);

/// A flow that left a node under that node's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    node: String,
    /// As its initiator sends it.
    inside: Ends,
    /// As it leaves.
    outside: Ends,
}

/// Of all packets' ways, those flows.
pub fn hidden(ways: &[Way]) -> Vec<Hidden> {
    let of = |visit: &Visit| {
        let (entry, exit) = (visit.entry.as_ref()?, visit.exit.as_ref()?);
        let (inside, outside) = (ends(entry), ends(exit));
        let is_hidden = leaves(exit) && inside.0 != outside.0;
        is_hidden.then(|| Hidden { node: exit.node.to_string(), inside, outside })
    };
    let mut all: Vec<Hidden> = Vec::new();
    for flow in ways.iter().flatten().filter_map(of) {
        if !all.contains(&flow) {
            all.push(flow);
        }
    }
    all
}

/// Whether a packet of an initiator leaves the node there, so that its source is hidden last of all, behind policy.
pub fn leaves(exit: &Record) -> bool {
    exit.point == "to-network" && !exit.reply
}

/// How an answer came to the node of which only the departure was told; `None` where nobody told how its flow went out.
pub fn came(flows: &[Hidden], exit: &Record) -> Option<Ends> {
    let (source, destination) = ends(exit);
    let flow = flows.iter().find(|flow| *flow.node == *exit.node.0 && flow.inside == (destination, source))?;
    Some((flow.outside.1, flow.outside.0))
}

/// Both ends, as that record has them.
pub fn ends(record: &Record) -> Ends {
    (record.source.socket(), record.destination.socket())
}
