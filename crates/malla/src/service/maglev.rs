//! Maglev tables: how they share the flows, and whether the nodes agree.

use super::maps::Lookup;
use super::{NodeServices, tables};
use agent::services::PortView;
use datapath_layouts::BackendKey;
use model::{Family, ObjectName, Protocol};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One port's tables.
#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    pub service: ObjectName,
    pub port: u16,
    pub protocol: Protocol,
    pub family: Family,
    /// Whether all nodes that have a table send each flow to the same backend.
    pub nodes_agree: bool,
    pub nodes: Vec<NodeTable>,
}

/// One node's.
#[derive(Debug, PartialEq, Serialize)]
pub struct NodeTable {
    pub node: String,
    /// No table: backends are chosen at random.
    pub has_table: bool,
    /// Entries that each backend has.
    pub entries: BTreeMap<SocketAddr, usize>,
    /// Entries whose slot does not exist: there the choice is random.
    pub dangling: usize,
    #[serde(skip)]
    chosen: Vec<Option<SocketAddr>>,
}

/// Reads the tables of every port.
///
/// # Errors
/// When a map can't be read.
pub fn report<L: Lookup>(
    nodes: &[NodeServices],
    open: impl Fn(&str) -> anyhow::Result<L>,
) -> anyhow::Result<Vec<Report>> {
    let mut reports: BTreeMap<(u16, u8, Family), Report> = BTreeMap::new();
    for node in nodes {
        let maps = open(&node.node)?;
        for view in &node.services {
            for port in &view.ports {
                let report =
                    reports.entry((port.port, port.protocol.number(), port.family)).or_insert_with(|| Report {
                        service: view.service.clone(),
                        port: port.port,
                        protocol: port.protocol,
                        family: port.family,
                        nodes_agree: true,
                        nodes: Vec::new(),
                    });
                report.nodes.push(read(&node.node, port, &maps)?);
            }
        }
    }
    let mut out: Vec<Report> = reports.into_values().collect();
    for report in &mut out {
        let mut with = report.nodes.iter().filter(|node| node.has_table);
        let first = with.next();
        report.nodes_agree = with.all(|node| Some(&node.chosen) == first.map(|first| &first.chosen));
    }
    Ok(out)
}

fn read(node: &str, port: &PortView, maps: &impl Lookup) -> anyhow::Result<NodeTable> {
    let mut out = NodeTable {
        node: node.to_owned(),
        has_table: false,
        entries: BTreeMap::new(),
        dangling: 0,
        chosen: Vec::new(),
    };
    let Some(row) = port.cluster_row else { return Ok(out) };
    let Some(table) = maps.maglev(row)? else { return Ok(out) };
    out.has_table = true;
    let mut slots: BTreeMap<u16, Option<SocketAddr>> = BTreeMap::new();
    for slot in table.slots {
        let backend = match slots.get(&slot) {
            Some(known) => *known,
            None => {
                let found = maps.backend(&BackendKey { service_id: row, slot: u32::from(slot) })?;
                let found = found.map(|b| SocketAddr::new(b.address.to_ip(), b.port));
                slots.insert(slot, found);
                found
            }
        };
        match backend {
            Some(backend) => *out.entries.entry(backend).or_default() += 1,
            None => out.dangling += 1,
        }
        out.chosen.push(backend);
    }
    Ok(out)
}

/// For people.
pub fn table(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        let family = match report.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let tabled = report.nodes.iter().filter(|node| node.has_table).count();
        let verdict = match (tabled, report.nodes_agree) {
            (0, _) => "no table: backends are chosen at random",
            (_, true) => "every node agrees",
            (_, false) => "nodes differ",
        };
        out.push_str(&format!("{} {}/{} {family}: {verdict}\n", report.service, report.port, report.protocol));
        let mut table = tables::table(&["NODE", "BACKEND", "ENTRIES", "SHARE"]);
        for node in &report.nodes {
            let whole = node.chosen.len().max(1);
            for (backend, entries) in &node.entries {
                let share = format!("{:.1} %", *entries as f64 * 100.0 / whole as f64);
                table.add_row([node.node.clone(), backend.to_string(), entries.to_string(), share]);
            }
            if node.dangling > 0 {
                table.add_row([node.node.clone(), "random".to_owned(), node.dangling.to_string(), "-".to_owned()]);
            }
        }
        out.push_str(&tables::text(&table));
    }
    out
}
