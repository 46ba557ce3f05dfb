//! Rows for people and objects for scripts, from one source.

use comfy_table::{Table, presets::NOTHING};
use serde_json::{Value, json};

/// What one node has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Heads of the columns.
    pub columns: Vec<&'static str>,
    /// One per entry.
    pub entries: Vec<Entry>,
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its columns.
    pub row: Vec<String>,
    /// All of it.
    pub object: Value,
}

/// All nodes in one table; with the node's name where there are several.
pub fn table(all: &[(String, Listing)], with_node: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut header: Vec<&str> = if with_node { vec!["NODE"] } else { Vec::new() };
    header.extend(all.first().map(|(_, l)| l.columns.clone()).unwrap_or_default());
    table.set_header(header);
    for (node, listing) in all {
        for entry in &listing.entries {
            let mut row = if with_node { vec![node.clone()] } else { Vec::new() };
            row.extend(entry.row.iter().cloned());
            table.add_row(row);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// All entries, each with its node's name.
pub fn objects(all: &[(String, Listing)]) -> Vec<Value> {
    let mut out = Vec::new();
    for (node, listing) in all {
        for entry in &listing.entries {
            let mut object = entry.object.clone();
            if let Value::Object(map) = &mut object {
                map.insert("node".to_owned(), json!(node));
            }
            out.push(object);
        }
    }
    out
}

/// A MAC address.
pub fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|b| format!("{b:02x}")).join(":")
}

/// A reserved identity's name, or the number.
pub fn identity(number: u32) -> String {
    datapath_layouts::identity::reserved_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// Address and port, the IPv6 one in brackets.
pub fn socket(address: datapath_layouts::Address, port: u16) -> String {
    std::net::SocketAddr::new(address.to_ip(), port).to_string()
}

/// The kernel's monotonic clock, ns: what the datapath writes its times with.
pub fn now_ns() -> u64 {
    agent::events::monotonic_ns()
}

/// Seconds since a time of the datapath; 0 if it lies ahead.
pub fn age_seconds(now_ns: u64, then_ns: u64) -> u64 {
    now_ns.saturating_sub(then_ns) / 1_000_000_000
}
