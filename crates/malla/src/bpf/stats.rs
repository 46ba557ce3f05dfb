//! The map `stats`, and what every map costs.

use super::listing::{Entry, Listing};
use crate::units::{bytes, count};
use datapath::maps::Maps;
use datapath_layouts::{StatsValue, stats};
use serde_json::json;

pub fn read(maps: &Maps) -> anyhow::Result<Listing> {
    let mut entries = counters(&maps.stats.read_all()?);
    for usage in maps.usages()? {
        entries.push(Entry {
            row: vec![
                "map".to_owned(),
                usage.name.clone(),
                format!("{} entries", count(u64::from(usage.max_entries))),
                bytes(usage.memory_bytes),
            ],
            object: json!({
                "kind": "map", "name": usage.name, "type": usage.kind, "max_entries": usage.max_entries,
                "memory_bytes": usage.memory_bytes, "key_size": usage.key_size, "value_size": usage.value_size,
            }),
        });
    }
    Ok(Listing { columns: vec!["KIND", "NAME", "PACKETS", "BYTES"], entries })
}

fn counters(all: &[(u32, StatsValue)]) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut push = |kind: &str, name: &str, packets: u64, size: Option<u64>| {
        out.push(Entry {
            row: vec![kind.to_owned(), name.to_owned(), count(packets), size.map_or_else(|| "-".to_owned(), bytes)],
            object: json!({"kind": kind, "name": name, "packets": packets, "bytes": size}),
        });
    };
    for (kind, values) in [("dropped", agent::run::drops(all)), ("passed", agent::run::forwarded(all))] {
        for (name, value) in values {
            push(kind, &name, value.packets, Some(value.bytes));
        }
    }
    let special = [
        (stats::EVENTS_WRITTEN, "events written"),
        (stats::EVENTS_LOST, "events lost"),
        (stats::FLOWS_CREATED, "flows created"),
        (stats::NAT_EXHAUSTED, "masquerade without a free port"),
        (stats::QUIET_DROPS, "neighbour chatter dropped"),
    ];
    for (slot, name) in special {
        let value = all.iter().find(|(number, _)| *number == slot).map_or(0, |(_, value)| value.packets);
        push("count", name, value, None);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_points_and_counts_have_names() {
        let value = |packets| StatsValue { packets, bytes: packets * 10 };
        let all =
            [(133, value(2)), (134, value(0)), (stats::FORWARDED + 101, value(5)), (stats::EVENTS_LOST, value(7))];
        let rows: Vec<String> = counters(&all).into_iter().map(|e| e.row[..3].join(" ")).collect();
        assert_eq!(rows[..2], ["dropped POLICY_DENIED 2", "passed to-endpoint 5"]);
        assert!(rows.contains(&"count events lost 7".to_owned()) && !rows.iter().any(|r| r.contains("INVALID_PACKET")));
    }
}
