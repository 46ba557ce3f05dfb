//! `malla status --all` as people read it, in one screen however large the cluster.

use super::all::{AgentWord, NodeLine, Overview, PathLine};
use super::listed::Readiness;
use super::table::{new_table, push, trimmed};
use crate::units::{count, duration, nanoseconds};
use agent::probes::{Protocol, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// The whole of it. The last line says whether all is well.
pub fn render(overview: &Overview, verbose: bool) -> String {
    let most = if verbose { usize::MAX } else { LINES };
    let mut out = nodes(overview, verbose);
    if overview.nodes.iter().all(|node| node.agent == AgentWord::NotAsked) {
        push(&mut out, "\nNo agent was asked (--socket names one): this is what nodes say of themselves in the API.");
    } else if overview.paths.is_empty() {
        push(&mut out, "\nNo node is probed by another.");
    } else {
        probes(&mut out, overview, verbose);
    }
    if !overview.troubles.is_empty() {
        push(&mut out, "");
    }
    overview.troubles.iter().take(most).for_each(|trouble| push(&mut out, &format!("! {trouble}")));
    if overview.troubles.len() > most {
        push(&mut out, &format!("! and {} more (-v tells them)", overview.troubles.len() - most));
    }
    push(&mut out, &format!("\n{}", conclusion(overview)));
    out
}

/// In one line.
pub fn conclusion(overview: &Overview) -> String {
    let (nodes, paths) = (overview.nodes.len(), &overview.paths);
    if overview.well {
        let slowest = slowest(paths).first().map_or_else(String::new, |path| format!(", the slowest {}", timed(path)));
        let asked = overview.nodes.iter().filter(|node| node.agent != AgentWord::NotAsked).count();
        let asked = if asked < nodes { format!(" ({asked} asked)") } else { String::new() };
        return format!("all is well: {nodes} nodes{asked}, {} paths{slowest}", count(paths.len() as u64));
    }
    let named: Vec<&str> = overview.troubles.iter().take(CONCLUDED).map(String::as_str).collect();
    let more = overview.troubles.len() - named.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("not well: {}{more}", named.join("; "))
}

fn nodes(overview: &Overview, verbose: bool) -> String {
    let mut table = new_table();
    table.set_header([
        "NODE",
        "AGENT",
        "VERSION",
        "UP",
        "SYNC",
        "PODS",
        "IDENTITIES",
        "SERVICES",
        "BACKENDS",
        "REACHES",
    ]);
    // In a large cluster those that are well look all the same.
    let is_large = overview.nodes.len() > LINES && !verbose;
    let mut shown = 0;
    for node in &overview.nodes {
        let is_well = match &node.told {
            Some(told) => node.agent == AgentWord::Ok && told.in_sync,
            None => {
                let is_ready = node.of_itself.as_ref().is_some_and(|said| said.readiness == Readiness::Ready);
                let reaches_all = node.said.as_ref().is_some_and(|said| said.reaches_all);
                node.agent == AgentWord::NotAsked && is_ready && reaches_all
            }
        };
        if is_large && (is_well || shown >= LINES) {
            continue;
        }
        shown += 1;
        let Some(told) = &node.told else {
            let (sync, reaches) = in_its_words(node);
            table.add_row([node.node.as_str(), node.agent.word(), "", "", sync, "", "", "", "", reaches]);
            continue;
        };
        table.add_row([
            node.node.clone(),
            node.agent.word().to_owned(),
            told.version.clone(),
            duration(told.uptime_seconds),
            sync(told),
            told.endpoints.to_string(),
            told.identities.to_string(),
            told.services.to_string(),
            told.backends.to_string(),
            reaches(node, &overview.paths),
        ]);
    }
    let hidden = overview.nodes.len() - shown;
    let hidden = if hidden > 0 { format!("and {hidden} more (-v tells them)\n") } else { String::new() };
    format!("{}\n{hidden}", trimmed(&table))
}

/// Whether it is in sync and whom it reaches, by its conditions.
fn in_its_words(node: &NodeLine) -> (&'static str, &'static str) {
    let sync = match node.of_itself.as_ref().map(|said| said.readiness) {
        Some(Readiness::Ready) => "in sync, it says",
        Some(Readiness::NotReady) => "not well, it says",
        // What it said of the others is as old.
        Some(Readiness::Unknown) => return ("unknown", "unknown"),
        None => "",
    };
    let reaches = match &node.said {
        Some(said) if said.reaches_all => "all, it says",
        Some(_) => "not all, it says",
        None => "",
    };
    (sync, reaches)
}

fn sync(told: &super::all::Told) -> String {
    if !told.disconnected.is_empty() {
        format!("no connection for {} kinds", told.disconnected.len())
    } else if !told.waiting_for.is_empty() {
        format!("waits for {} kinds", told.waiting_for.len())
    } else {
        "in sync".to_owned()
    }
}

fn reaches(node: &NodeLine, paths: &[PathLine]) -> String {
    if node.told.as_ref().is_some_and(|told| !told.probes) {
        return "probes off".to_owned();
    }
    let mut peers: BTreeMap<&str, bool> = BTreeMap::new();
    for path in paths.iter().filter(|path| path.from == node.node) {
        *peers.entry(&path.to).or_insert(true) &= path.found.state == Standing::Reachable;
    }
    format!("{} of {}", peers.values().filter(|answers| **answers).count(), peers.len())
}

fn probes(out: &mut String, overview: &Overview, verbose: bool) {
    let intervals = overview.nodes.iter().filter_map(|node| node.told.as_ref()).filter(|told| told.probes);
    let interval = intervals.map(|told| told.probe_interval_seconds).fold(0.0, f64::max);
    let paths = &overview.paths;
    let names: BTreeSet<&str> = paths.iter().flat_map(|path| [path.from.as_str(), path.to.as_str()]).collect();
    if names.len() <= MATRIX || verbose {
        push(out, &format!("\nICMP / TCP, every {interval} s; of IPv4 and IPv6 the slower:"));
        push(out, &matrix(&names, paths));
        return;
    }
    let answering = paths.iter().filter(|path| path.found.state == Standing::Reachable).count();
    let (answering, all) = (count(answering as u64), count(paths.len() as u64));
    push(out, &format!("\n{answering} of {all} paths answer, every {interval} s. The slowest:"));
    slowest(paths).iter().take(SLOWEST).for_each(|path| push(out, &format!("  {}", timed(path))));
}

fn matrix(names: &BTreeSet<&str>, paths: &[PathLine]) -> String {
    let mut cells: BTreeMap<(&str, &str), Vec<&PathLine>> = BTreeMap::new();
    for path in paths {
        cells.entry((&path.from, &path.to)).or_default().push(path);
    }
    let mut table = new_table();
    table.set_header(["FROM \\ TO"].into_iter().chain(names.iter().copied()));
    for from in names {
        let cell = |to: &&str| match cells.get(&(*from, *to)) {
            Some(_) if from == to => "-".to_owned(),
            Some(paths) => Protocol::ALL.map(|protocol| worst(paths, protocol)).join(" / "),
            None => "-".to_owned(),
        };
        table.add_row([(*from).to_owned()].into_iter().chain(names.iter().map(cell)));
    }
    trimmed(&table)
}

/// The worst of some paths of one protocol.
fn worst(paths: &[&PathLine], protocol: Protocol) -> String {
    let of: Vec<&&PathLine> = paths.iter().filter(|path| path.protocol() == protocol).collect();
    if of.iter().any(|path| path.fails()) {
        return "FAILS".to_owned();
    }
    if of.iter().any(|path| path.found.error.is_some()) {
        return "lost".to_owned();
    }
    if of.is_empty() || of.iter().any(|path| path.found.latency_seconds.is_none()) {
        return "?".to_owned();
    }
    latency(of.iter().filter_map(|path| path.found.latency_seconds).fold(0.0, f64::max))
}

/// Those that answer, the slowest first.
fn slowest(paths: &[PathLine]) -> Vec<&PathLine> {
    let mut all: Vec<&PathLine> = paths.iter().filter(|path| path.found.latency_seconds.is_some()).collect();
    all.sort_by(|a, b| {
        b.found.latency_seconds.partial_cmp(&a.found.latency_seconds).unwrap_or(std::cmp::Ordering::Equal)
    });
    all
}

fn timed(path: &PathLine) -> String {
    let (from, to, address, protocol) = (&path.from, &path.to, path.address(), path.protocol());
    format!("{} {from} -> {to} ({address}, {protocol})", latency(path.found.latency_seconds.unwrap_or_default()))
}

fn latency(seconds: f64) -> String {
    // A negative or absurd one would be somebody else's; the conversion saturates.
    nanoseconds((seconds * 1e9) as u64)
}

/// Nodes up to which the matrix fits on a screen.
const MATRIX: usize = 8;
/// Lines of nodes, and of troubles.
const LINES: usize = 20;
/// Slowest paths that are told.
const SLOWEST: usize = 5;
/// Troubles in the last line.
const CONCLUDED: usize = 3;
