//! Paths that fail, in as few lines as say it: a node that is down is one line, not one per node that misses it.

use super::all::PathLine;
use crate::units::few;
use agent::probes::Protocol;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A line for each node that reaches nobody, and for each that others can't reach.
pub fn failures(paths: &[PathLine], now: Timestamp) -> Vec<String> {
    let alone = reaching_nobody(paths);
    let mut lines = Vec::new();
    for (from, protocols) in by_node(&alone) {
        let of: Vec<&PathLine> =
            paths.iter().filter(|path| path.from == *from && protocols.contains(&path.protocol())).collect();
        lines.push(format!("{from} reaches nobody by {}{}", words(&protocols), why(&of, now)));
    }
    // By whom, how and why; the same nodes by another protocol or address are the same line.
    let mut from: BTreeMap<(&str, Protocol, IpAddr), Vec<&PathLine>> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.fails() && !alone.contains(&(path.from.as_str(), path.protocol()))) {
        from.entry((&path.to, path.protocol(), path.address())).or_default().push(path);
    }
    let mut groups: BTreeMap<(&str, Vec<&str>), Vec<&PathLine>> = BTreeMap::new();
    for ((to, ..), failing) in from {
        let nodes = failing.iter().map(|path| path.from.as_str()).collect();
        groups.entry((to, nodes)).or_default().extend(failing);
    }
    for ((to, from), failing) in groups {
        let protocols = failing.iter().map(|path| path.protocol()).collect();
        let addresses: BTreeSet<String> = failing.iter().map(|path| path.address().to_string()).collect();
        let (addresses, by) = (Vec::from_iter(addresses).join(", "), words(&protocols));
        lines.push(format!("{to} ({addresses}) can't be reached by {by} from {}{}", few(&from), why(&failing, now)));
    }
    lines
}

/// Nodes with at least two others, none of which they reach by a protocol: the trouble is at their end.
fn reaching_nobody(paths: &[PathLine]) -> BTreeSet<(&str, Protocol)> {
    let mut ways: BTreeMap<(&str, Protocol), (BTreeSet<&str>, bool)> = BTreeMap::new();
    for path in paths {
        let (peers, all_fail) = ways.entry((&path.from, path.protocol())).or_insert((BTreeSet::new(), true));
        peers.insert(&path.to);
        *all_fail &= path.fails();
    }
    ways.into_iter().filter(|(_, (peers, all_fail))| *all_fail && peers.len() >= 2).map(|(key, _)| key).collect()
}

fn by_node<'a>(alone: &BTreeSet<(&'a str, Protocol)>) -> BTreeMap<&'a str, BTreeSet<Protocol>> {
    let mut nodes: BTreeMap<&str, BTreeSet<Protocol>> = BTreeMap::new();
    for (node, protocol) in alone {
        nodes.entry(node).or_default().insert(*protocol);
    }
    nodes
}

fn words(protocols: &BTreeSet<Protocol>) -> String {
    protocols.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// Reasons, and when somebody was heard last on any of the paths.
fn why(paths: &[&PathLine], now: Timestamp) -> String {
    let reasons: BTreeSet<&str> = paths.iter().filter_map(|path| path.found.error.as_deref()).collect();
    let mut text = String::new();
    if !reasons.is_empty() {
        let reasons: Vec<&str> = reasons.into_iter().collect();
        text = format!(": {}", few(&reasons));
    }
    match paths.iter().filter_map(|path| path.found.last_answer).max() {
        Some(last) => {
            let ago = u64::try_from(now.duration_since(last).as_secs()).unwrap_or(0);
            format!("{text}; last answer {} ago", crate::units::duration(ago))
        }
        None => format!("{text}; never an answer since the agent started"),
    }
}
