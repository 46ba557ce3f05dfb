//! The machine's own network: what `ip`, `nft` and sysctl tell.

use super::Snapshot;
use crate::command;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// What `ip -j` is asked for.
const TABLES: &[(&str, &[&str])] = &[
    ("addresses", &["-j", "addr"]),
    ("links", &["-j", "-d", "link"]),
    ("routes", &["-j", "route", "show", "table", "all"]),
    ("routes (IPv6)", &["-6", "-j", "route", "show", "table", "all"]),
    ("rules", &["-j", "rule"]),
    ("rules (IPv6)", &["-6", "-j", "rule"]),
];

/// Counters and lifetimes: these move by themselves.
const MOVING: &[&str] =
    &["valid_life_time", "preferred_life_time", "stats", "stats64", "expires", "used", "age", "cache", "metrics_age"];

/// sysctls that the kernel counts in, or that exist per connection and not by anybody's will.
const MOVING_SYSCTLS: &[&str] = &["nf_conntrack_count", "tcp_fastopen_key", "tcp_mem", "udp_mem"];

pub fn record(snapshot: &mut Snapshot) -> Result<()> {
    for (name, arguments) in TABLES {
        let said = command::output(command::new("ip", arguments))?;
        let mut table: Value = serde_json::from_str(if said.trim().is_empty() { "[]" } else { &said })
            .with_context(|| format!("read {name}"))?;
        still(&mut table);
        let rows = table.as_array().into_iter().flatten().map(Value::to_string);
        snapshot.insert(name, rows.collect());
    }
    if command::find("nft").is_some() {
        let rules = command::output(command::new("nft", &["list", "ruleset"]))?;
        snapshot.insert("nftables", rules.lines().enumerate().map(|(n, line)| format!("{n}: {line}")).collect());
    }
    let mut sysctls = BTreeSet::new();
    read_sysctls(Path::new("/proc/sys/net"), &mut sysctls);
    snapshot.insert("sysctls", sysctls);
    Ok(())
}

/// Takes out what moves by itself, at any depth.
fn still(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !MOVING.contains(&name.as_str()));
            fields.values_mut().for_each(still);
        }
        Value::Array(items) => items.iter_mut().for_each(still),
        _ => {}
    }
}

/// All readable ones; some may only be written, and those are nobody's state.
fn read_sysctls(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_sysctls(&path, found);
        } else if !MOVING_SYSCTLS.iter().any(|name| path.ends_with(name))
            && let Ok(value) = std::fs::read_to_string(&path)
        {
            found.insert(format!("{} = {}", path.display(), value.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_left_out() {
        let mut table =
            serde_json::json!([{"ifname": "eth0", "addr_info": [{"local": "10.0.0.1", "valid_life_time": 5}]}]);
        still(&mut table);
        assert_eq!(table.to_string(), r#"[{"addr_info":[{"local":"10.0.0.1"}],"ifname":"eth0"}]"#);
    }
}
