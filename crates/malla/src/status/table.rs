//! Status as people read it.

use super::{Node, Report};
use crate::units::{bytes, count, duration};
use agent::status::{FlowExport, Flows, Packets, State, Status};
use comfy_table::{Table, presets::NOTHING};
use model::NodeName;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The whole report.
pub fn render(report: &Report, verbose: bool) -> String {
    let mut out = overview(report);
    for node in &report.nodes {
        if let Some(error) = &node.error {
            push(&mut out, &format!("! {}: {error}", node.node));
        }
        for problem in node.status.iter().flat_map(|s| &s.problems) {
            push(&mut out, &format!("! {}: {problem}", node.node));
        }
    }
    for (node, status) in report.nodes.iter().filter_map(|n| Some((n, n.status.as_ref()?))) {
        if verbose {
            details(&mut out, node, status);
        } else {
            push(&mut out, &format!("{}: {}", node.node, adoption(status)));
            for line in origins(status) {
                push(&mut out, &format!("{}: {line}", node.node));
            }
        }
    }
    out
}

fn overview(report: &Report) -> String {
    let mut table = new_table();
    table.set_header([
        "NODE",
        "STATE",
        "UP",
        "ROUTING",
        "POD MTU",
        "PODS",
        "IDENTITIES",
        "SERVICES",
        "BACKENDS",
        "AGENT MEMORY",
        "MAP MEMORY",
        "DROPS",
        "EVENTS LOST",
    ]);
    for node in &report.nodes {
        let Some(status) = &node.status else {
            table.add_row([node.node.as_str(), "no answer"]);
            continue;
        };
        let dropped: u64 = status.drops.values().map(|d| d.packets).sum();
        table.add_row([
            node.node.clone(),
            word(status.state).to_owned(),
            duration(status.uptime_seconds),
            status.routing.clone(),
            status.mtu.pod.to_string(),
            status.counts.endpoints.to_string(),
            status.counts.identities.to_string(),
            status.counts.services.to_string(),
            status.counts.backends.to_string(),
            bytes(status.memory.agent_resident),
            bytes(status.memory.maps_total),
            count(dropped),
            count(status.events.lost + status.events.missed),
        ]);
    }
    format!("{}\n", trimmed(&table))
}

fn details(out: &mut String, node: &Node, status: &Status) {
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    push(out, &format!("\n{} (pid {}, version {})", node.node, status.pid, status.version));
    push(out, &format!("  addresses    {}", list(status.addresses.iter().map(ToString::to_string).collect())));
    push(out, &format!("  Pod ranges   {}", list(status.pod_ranges.iter().map(ToString::to_string).collect())));
    let datapath = &status.datapath;
    let mode = datapath.attach_mode.as_deref().unwrap_or("attached");
    let (device, overlay) = (&datapath.device, &datapath.overlay);
    push(out, &format!("  datapath     {mode} on {device} and {overlay}, kernel {}", datapath.kernel));
    push(out, &format!("  XDP          {}, {} packets sent on", datapath.xdp, count(datapath.xdp_sent_on.packets)));
    push(out, &format!("  pinned at    {}", datapath.bpf_dir.display()));
    let mtu = status.mtu;
    push(out, &format!("  MTU          network {}, overlay {}, Pods {}", mtu.network, mtu.overlay, mtu.pod));
    push(out, &format!("  start        {}", adoption(status)));
    for watch in &status.watches {
        let state = match (watch.connected, watch.synced) {
            (true, _) if watch.not_served => "the API does not have the kind: there is none",
            (true, true) => "in sync",
            (true, false) => "listing",
            (false, _) => "no connection",
        };
        push(out, &format!("  watch        {}: {state}, {} errors", watch.kind, watch.errors));
    }
    let policies = &status.policies;
    let stands = if policies.enforced { "enforced" } else { "as an earlier agent left it" };
    push(
        out,
        &format!(
            "  policy       {stands} at epoch {}: {} policies ({} in audit mode, {} objects with mistakes) for {} identities, \
             {} without room",
            policies.epoch,
            policies.policies,
            policies.audited,
            policies.mistaken,
            policies.subjects,
            policies.overflowing + policies.unfit_identities
        ),
    );
    for table in policies.tables.iter().filter(|table| table.used > 0) {
        push(out, &format!("  policy map   {}: {} of {}", table.name, table.used, table.room));
    }
    push(out, &format!("  other nodes  {} known by their devices", status.node_origins.by_device));
    for line in origins(status) {
        push(out, &format!("  other nodes  {line}"));
    }
    let events = status.events;
    let (written, lost, missed) = (count(events.written), count(events.lost), count(events.missed));
    push(
        out,
        &format!("  events       {written} written, {lost} lost, {} listening, {missed} missed", events.listeners),
    );
    push(out, &format!("  flows        {}", flows(&status.flows)));
    let collected = status.collected;
    push(
        out,
        &format!(
            "  collected    {} flows, {} translations, {} masquerades",
            count(collected.flows),
            count(collected.service_flows),
            count(collected.nat)
        ),
    );
    packets(out, "dropped", &status.drops);
    packets(out, "passed", &status.forwarded);
    let mut table = new_table();
    table.set_header(["  MAP", "TYPE", "ROOM", "KERNEL MEMORY"]);
    for map in &status.memory.maps {
        let name = format!("  {}", map.name);
        table.add_row([name, map.kind.clone(), map.max_entries.to_string(), bytes(map.memory_bytes)]);
    }
    push(out, &trimmed(&table));
    if !status.endpoints.is_empty() {
        let mut table = new_table();
        table.set_header(["  POD", "ID", "IDENTITY", "LINK", "ADDRESSES"]);
        for endpoint in &status.endpoints {
            let pod = endpoint.pod.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
            let addresses = endpoint.addresses.iter().map(ToString::to_string).collect();
            table.add_row([
                format!("  {pod}"),
                endpoint.id.to_string(),
                endpoint.identity.to_string(),
                endpoint.interface.clone(),
                list(addresses),
            ]);
        }
        push(out, &trimmed(&table));
    }
}

fn packets(out: &mut String, what: &str, all: &BTreeMap<String, Packets>) {
    for (name, value) in all {
        push(out, &format!("  {what:<12} {name}: {} packets, {}", count(value.packets), bytes(value.bytes)));
    }
}

fn adoption(status: &Status) -> String {
    let a = &status.adoption;
    format!(
        "adopted {} maps, {} links and {} Pods; made {} maps and {} links",
        a.maps_adopted.len(),
        a.links_adopted.len(),
        a.pods_adopted,
        a.maps_created.len(),
        a.links_created.len()
    )
}

/// Of which nodes it is not known what is theirs.
fn origins(status: &Status) -> Vec<String> {
    let names = |nodes: &[NodeName]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (unknown, by_address) = (&status.node_origins.unknown, &status.node_origins.by_address);
    let mut out = Vec::new();
    if !unknown.is_empty() {
        out.push(format!("shut out until they answer on the link: {}", names(unknown)));
    }
    if !by_address.is_empty() {
        out.push(format!("known by their addresses alone, which can be forged: {}", names(by_address)));
    }
    out
}

const fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Starting => "starting",
        State::Degraded => "degraded",
    }
}

pub fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// Without the blanks that fill the last column.
pub fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

pub fn push(out: &mut String, line: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{line}");
}

/// What is observed, and what of it is kept.
fn flows(flows: &Flows) -> String {
    let observed = match flows.observed.as_str() {
        "drops" => "not observed, drops are",
        "packets" => "observed, and each packet (somebody traces)",
        _ => "observed",
    };
    let mut left = String::new();
    for (name, export) in [("export", &flows.export), ("OTLP", &flows.otlp)] {
        if *export != FlowExport::default() {
            let (missed, lost) = (count(export.missed), count(export.lost));
            left += &format!("; {name}: {missed} came too fast, {lost} refused");
        }
    }
    let Some(log) = &flows.log else { return format!("{observed}; none are kept on disk{left}") };
    let since = jiff::Timestamp::from_second(log.oldest_seconds).ok().filter(|_| log.oldest_seconds > 0);
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    let mut text = format!("{observed}; on disk {} in {}{since}", count(log.rows), bytes(log.bytes));
    for (number, why) in [(log.behind, "came too fast for it"), (log.refused, "were refused by the disk")] {
        if number > 0 {
            text += &format!(", {} {why}", count(number));
        }
    }
    if flows.sampling > 1 {
        text += &format!("; of forwarded connections one of {}, {} left out", flows.sampling, count(flows.left_out));
    }
    if log.damaged > 0 {
        text += &format!("; {} parts can't be read", log.damaged);
    }
    text + &left
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent::status::FlowLog;

    #[test]
    fn what_is_kept_and_lost_is_told_by_its_reason() {
        let mut told = Flows { observed: "drops".into(), sampling: 1, ..Flows::default() };
        assert_eq!(flows(&told), "not observed, drops are; none are kept on disk");
        told.observed = "flows".into();
        told.log = Some(FlowLog { bytes: 1 << 20, rows: 7, oldest_seconds: 1_780_000_000, ..FlowLog::default() });
        assert_eq!(flows(&told), "observed; on disk 7 in 1.0 MiB since 2026-05-28T20:26:40Z");
        let log = FlowLog { behind: 3, refused: 4, damaged: 1, ..told.log.unwrap() };
        (told.log, told.sampling, told.left_out) = (Some(log), 10, 90);
        told.otlp = FlowExport { missed: 5, lost: 6 };
        assert_eq!(
            flows(&told),
            "observed; on disk 7 in 1.0 MiB since 2026-05-28T20:26:40Z, 3 came too fast for it, 4 were refused by the disk; \
             of forwarded connections one of 10, 90 left out; 1 parts can't be read; OTLP: 5 came too fast, 6 refused"
        );
    }
}
