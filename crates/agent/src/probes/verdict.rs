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
/// So many nodes are named.
const NAMED: usize = 10;

/// What is to be said; nothing as long as too little is known to say it. Only what lasts is in the text: it is written anew
/// when another path fails, not when one fails for another reason.
#[must_use]
pub fn statement(ledger: &Ledger) -> Option<Statement> {
    let mut failing: BTreeMap<&NodeName, BTreeSet<(Protocol, bool)>> = BTreeMap::new();
    let mut is_known = true;
    for (target, standing) in ledger.standings() {
        is_known &= standing != Standing::Unknown;
        if standing == Standing::Unreachable {
            failing.entry(&target.node).or_default().insert((target.protocol, target.address.is_ipv6()));
        }
    }
    if failing.is_empty() {
        let message = "every other node answers by ICMP and TCP".to_owned();
        return is_known.then_some(Statement { holds: true, reason: REACHABLE, message, weight: Weight::Plain });
    }
    let mut named: Vec<String> =
        failing.iter().take(NAMED).map(|(node, paths)| format!("{node} by {}", ways(paths))).collect();
    if failing.len() > NAMED {
        named.push(format!("{} more", failing.len() - NAMED));
    }
    let message = format!("can't reach {}", named.join("; "));
    Some(Statement { holds: false, reason: UNREACHABLE, message, weight: Weight::Warning("Probe") })
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
