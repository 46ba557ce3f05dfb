//! What the node says of its paths in a condition of its Node object. Pure.

use super::ledger::Ledger;
use super::view::{Protocol, Standing};
use crate::node_conditions::{Statement, Weight};
use model::NodeName;
use std::collections::{BTreeMap, BTreeSet};

/// Type of the condition; False where another node can't be reached.
pub const CONDITION: &str = "malla.dev/Connectivity";
/// Reasons of the condition.
const REACHABLE: &str = "NodesReachable";
const UNREACHABLE: &str = "NodesUnreachable";
const WITHOUT_PATH: &str = "NodesWithoutPath";
/// So many nodes are named.
const NAMED: usize = 10;

/// What is to be said; nothing as long as too little is known to say it. Only what lasts is in the text: it is written anew
/// when another path fails, not when one fails for another reason. Who has no address to probe has not answered either.
#[must_use]
pub fn statement(ledger: &Ledger, without_address: &BTreeSet<NodeName>) -> Option<Statement> {
    let mut failing: BTreeMap<&NodeName, BTreeSet<(Protocol, bool)>> = BTreeMap::new();
    let (mut is_known, mut is_alone) = (true, true);
    for (target, standing) in ledger.standings() {
        is_alone = false;
        is_known &= standing != Standing::Unknown;
        if standing == Standing::Unreachable {
            failing.entry(&target.node).or_default().insert((target.protocol, target.address.is_ipv6()));
        }
    }
    if failing.is_empty() && without_address.is_empty() {
        let message = if is_alone { "there is no other node" } else { "every other node answers by ICMP and TCP" };
        let message = message.to_owned();
        return is_known.then_some(Statement { holds: true, reason: REACHABLE, message, weight: Weight::Plain });
    }
    let mut parts = Vec::new();
    if !failing.is_empty() {
        let nodes = failing.iter().map(|(node, paths)| format!("{node} by {}", ways(paths)));
        parts.push(format!("can't reach {}", some_of(nodes)));
    }
    if !without_address.is_empty() {
        parts.push(format!("no address to probe: {}", some_of(without_address.iter().map(NodeName::to_string))));
    }
    let message = parts.join("; ");
    // A Node has no address yet while it joins: no reason for an Event.
    let (reason, weight) =
        if failing.is_empty() { (WITHOUT_PATH, Weight::Plain) } else { (UNREACHABLE, Weight::Warning("Probe")) };
    Some(Statement { holds: false, reason, message, weight })
}

fn some_of(nodes: impl ExactSizeIterator<Item = String>) -> String {
    let more = nodes.len().saturating_sub(NAMED);
    let mut named: Vec<String> = nodes.take(NAMED).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join("; ")
}

/// Such as `ICMP (IPv4) and TCP (IPv4, IPv6)`.
fn ways(paths: &BTreeSet<(Protocol, bool)>) -> String {
    let families = |protocol| {
        let names = paths.iter().filter(|path| path.0 == protocol).map(|path| if path.1 { "IPv6" } else { "IPv4" });
        names.collect::<Vec<_>>().join(", ")
    };
    let ways = Protocol::ALL.map(|protocol| (protocol, families(protocol)));
    let ways = ways.iter().filter(|(_, families)| !families.is_empty());
    ways.map(|(protocol, families)| format!("{protocol} ({families})")).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
