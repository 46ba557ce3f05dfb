//! The maps `conntrack` and `half_open`.

use super::listing::{Entry, Listing, age_seconds, identity, now_ns, socket};
use crate::units::{bytes, duration};
use agent::events::protocol_name;
use datapath::maps::Maps;
use datapath_layouts::flow::{flow_flags, flow_state, half_state};
use datapath_layouts::{Address, Flow, FlowKey};
use serde_json::{Value, json};

pub fn read(maps: &Maps) -> anyhow::Result<Listing> {
    let mut flows = maps.conntrack.entries()?;
    flows.extend(maps.half_open.entries()?);
    Ok(listing(flows, now_ns()))
}

fn listing(mut flows: Vec<(FlowKey, Flow)>, now: u64) -> Listing {
    flows.sort_unstable_by_key(|(_, flow)| flow.created_ns);
    Listing {
        columns: vec!["PROTOCOL", "STATE", "FROM", "TO", "SERVICE", "SENT", "RECEIVED", "AGE", "IDLE", "FLAGS"],
        entries: flows.iter().map(|(key, flow)| entry(key, flow, now)).collect(),
    }
}

fn entry(key: &FlowKey, flow: &Flow, now: u64) -> Entry {
    let (low, high) = ((key.low, key.low_port), (key.high, key.high_port));
    let (from, to) = if flow.flags & flow_flags::INITIATOR_HIGH != 0 { (high, low) } else { (low, high) };
    let service = (flow.flags & (flow_flags::SERVICE | flow_flags::ASKED) != 0)
        .then(|| socket(flow.service_address, flow.service_port));
    let last_seen = flow.forward.last_seen_ns.max(flow.reply.last_seen_ns);
    let (age, idle) = (age_seconds(now, flow.created_ns), age_seconds(now, last_seen));
    let flags = flags(flow.flags);
    Entry {
        row: vec![
            protocol_name(key.protocol).into_owned(),
            state(flow.state).to_owned(),
            format!("{} ({})", socket(from.0, from.1), identity(flow.source_identity)),
            format!("{} ({})", socket(to.0, to.1), identity(flow.destination_identity)),
            service.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} in {}", bytes(flow.forward.bytes), flow.forward.packets),
            format!("{} in {}", bytes(flow.reply.bytes), flow.reply.packets),
            duration(age),
            duration(idle),
            if flags.is_empty() { "-".to_owned() } else { flags.join(",") },
        ],
        object: json!({
            "protocol": protocol_name(key.protocol), "state": state(flow.state),
            "from": {"address": from.0.to_ip(), "port": from.1, "identity": flow.source_identity},
            "to": {"address": to.0.to_ip(), "port": to.1, "identity": flow.destination_identity},
            "service": service, "forward_packets": flow.forward.packets, "forward_bytes": flow.forward.bytes,
            "reply_packets": flow.reply.packets, "reply_bytes": flow.reply.bytes, "age_seconds": age, "idle_seconds": idle,
            "handshake_ns": flow.handshake_ns, "flags": flags, "entry_node": some(flow.entry_node),
            "judged": {"source": half(flow.source.state), "destination": half(flow.destination.state)},
        }),
    }
}

fn some(address: Address) -> Value {
    if address.is_zero() { Value::Null } else { json!(address.to_ip()) }
}

const fn state(number: u8) -> &'static str {
    match number {
        flow_state::NEW => "new",
        flow_state::ESTABLISHED => "established",
        flow_state::SYN_RECEIVED => "syn-received",
        flow_state::CLOSING => "closing",
        flow_state::CLOSED => "closed",
        flow_state::RESET => "reset",
        _ => "unknown",
    }
}

const fn half(number: u8) -> &'static str {
    match number {
        half_state::ACCEPTED => "accepted",
        half_state::DENIED => "denied",
        _ => "not here",
    }
}

fn flags(bits: u16) -> Vec<&'static str> {
    let names = [
        (flow_flags::VIA_ENTRY, "via-entry-node"),
        (flow_flags::FORWARDED, "forwarded"),
        (flow_flags::MIDSTREAM, "midstream"),
        (flow_flags::ASKED, "translated-at-socket"),
        (flow_flags::REFUSED, "refused"),
        (flow_flags::END_REPORTED, "end-reported"),
    ];
    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initiator_stands_first() {
        let key = FlowKey {
            low: Address::from_v4([10, 244, 1, 2]),
            high: Address::from_v4([10, 244, 2, 2]),
            low_port: 8080,
            high_port: 4000,
            protocol: 6,
            ..FlowKey::ZERO
        };
        let flow = Flow {
            flags: flow_flags::INITIATOR_HIGH | flow_flags::MIDSTREAM,
            state: 1,
            source_identity: 3,
            ..Flow::ZERO
        };
        let row = entry(&key, &flow, 61_000_000_000).row;
        assert_eq!(row[..4], ["TCP", "established", "10.244.2.2:4000 (unmanaged)", "10.244.1.2:8080 (unknown)"]);
        assert_eq!(row[7..], ["1m1s", "1m1s", "midstream"]);
    }
}
