//! The maps `frontends` and `backends`, joined.

use super::listing::{Entry, Listing, socket};
use agent::events::protocol_name;
use datapath::maps::Maps;
use datapath_layouts::service::{
    BACKEND_LOCAL, BACKEND_TERMINATING, FRONTEND_ADDRESS, FRONTEND_DSR, FRONTEND_LOCAL_EXTERNAL,
    FRONTEND_LOCAL_INTERNAL, FRONTEND_NODE_PORT,
};
use datapath_layouts::{Backend, BackendKey, Frontend, FrontendKey};
use serde_json::json;
use std::collections::BTreeMap;

pub fn read(maps: &Maps) -> anyhow::Result<Listing> {
    Ok(listing(maps.frontends.entries()?, maps.backends.entries()?))
}

fn listing(mut frontends: Vec<(FrontendKey, Frontend)>, backends: Vec<(BackendKey, Backend)>) -> Listing {
    let slots: BTreeMap<(u32, u32), Backend> = backends.into_iter().map(|(k, b)| ((k.service_id, k.slot), b)).collect();
    frontends.sort_unstable_by_key(|(k, f)| (f.service_id, f.flags, !k.address.is_v4(), k.address, k.port));
    Listing {
        columns: vec!["ID", "TYPE", "FRONTEND", "PROTOCOL", "AFFINITY", "BACKENDS"],
        entries: frontends.iter().map(|(key, frontend)| entry(key, frontend, &slots)).collect(),
    }
}

fn entry(key: &FrontendKey, frontend: &Frontend, slots: &BTreeMap<(u32, u32), Backend>) -> Entry {
    if frontend.flags & FRONTEND_ADDRESS != 0 {
        return whole_address(key);
    }
    let node_port = frontend.flags & FRONTEND_NODE_PORT != 0;
    let kind = if node_port { "NodePort" } else { "Address" };
    let inside = row(slots, frontend.service_id, frontend.backends);
    let outside = row(slots, frontend.external_id, frontend.external_backends);
    let mut text = listed(&inside, frontend.backends, frontend.flags & FRONTEND_LOCAL_INTERNAL != 0);
    if frontend.external_id != frontend.service_id {
        let outside = listed(&outside, frontend.external_backends, frontend.flags & FRONTEND_LOCAL_EXTERNAL != 0);
        text = format!("{text}\nfrom outside: {}", outside.replace('\n', "\n              "));
    }
    let direct = row(slots, frontend.local_id, frontend.local_backends);
    if frontend.flags & FRONTEND_DSR != 0 {
        let here = listed(&direct, frontend.local_backends, true);
        text = format!("{text}\nfrom other nodes (DSR): {}", here.replace('\n', "\n                        "));
    }
    let affinity =
        if frontend.affinity_seconds == 0 { "-".to_owned() } else { format!("{}s", frontend.affinity_seconds) };
    Entry {
        row: vec![
            frontend.service_id.to_string(),
            kind.to_owned(),
            socket(key.address, key.port),
            protocol_name(key.protocol).into_owned(),
            affinity,
            text,
        ],
        object: json!({
            "service_id": frontend.service_id, "external_id": frontend.external_id, "type": kind,
            "address": key.address.to_ip(), "port": key.port, "protocol": protocol_name(key.protocol).into_owned(),
            "cluster": key.cluster, "flags": frontend.flags, "affinity_seconds": frontend.affinity_seconds,
            "missing_slots": frontend.backends as usize - inside.len(),
            "backends": objects(&inside), "external_backends": objects(&outside),
            "direct_backends": objects(&direct),
        }),
    }
}

/// An address whose other ports are refused.
fn whole_address(key: &FrontendKey) -> Entry {
    let row = ["-", "Address", &key.address.to_string(), "any", "-", "any other port: refused"].map(str::to_owned);
    let object = json!({"type": "WholeAddress", "address": key.address.to_ip(), "cluster": key.cluster});
    Entry { row: row.to_vec(), object }
}

fn row(slots: &BTreeMap<(u32, u32), Backend>, id: u32, count: u32) -> Vec<Backend> {
    slots.range((id, 0)..(id, count)).map(|(_, backend)| *backend).collect()
}

fn objects(backends: &[Backend]) -> Vec<serde_json::Value> {
    let object = |b: &Backend| {
        json!({
            "id": b.id, "address": b.address.to_ip(), "port": b.port,
            "local": b.flags & BACKEND_LOCAL != 0, "terminating": b.flags & BACKEND_TERMINATING != 0,
        })
    };
    backends.iter().map(object).collect()
}

/// `dropped`: what an empty row means.
fn listed(backends: &[Backend], count: u32, dropped: bool) -> String {
    let shown = backends.iter().map(|b| {
        let ending = if b.flags & BACKEND_TERMINATING != 0 { " (terminating)" } else { "" };
        let here = if b.flags & BACKEND_LOCAL != 0 { " (local)" } else { "" };
        format!("{}{here}{ending}", socket(b.address, b.port))
    });
    let mut text = shown.collect::<Vec<_>>().join("\n");
    if text.is_empty() {
        text = if dropped { "none here: dropped" } else { "none: refused" }.to_owned();
    }
    let missing = count as usize - backends.len();
    if missing > 0 {
        text.push_str(&format!("\n{missing} slots missing"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath_layouts::Address;

    #[test]
    fn frontends_show_their_slots_and_what_is_missing() {
        let key = |address, port| FrontendKey { address, port, protocol: 6, cluster: 0 };
        let frontends = vec![
            (key(Address::V4_ANY, 30080), Frontend { flags: FRONTEND_NODE_PORT, ..Frontend::with_row(4, 2) }),
            (key(Address::from_v4([10, 96, 0, 7]), 80), Frontend { affinity_seconds: 60, ..Frontend::with_row(4, 3) }),
            (key(Address::from_v4([10, 96, 0, 8]), 80), Frontend::with_row(5, 0)),
        ];
        let backend = |last, flags| Backend {
            address: Address::from_v4([10, 244, 1, last]),
            port: 8080,
            id: 1,
            flags,
            cluster: 0,
        };
        let at = |slot| BackendKey { service_id: 4, slot };
        let backends = vec![
            (at(0), backend(2, BACKEND_LOCAL)),
            (at(1), backend(3, 0)),
            (BackendKey { service_id: 9, slot: 0 }, backend(9, 0)),
        ];
        let listing = listing(frontends, backends);
        assert_eq!(
            listing.entries[0].row[2..],
            ["10.96.0.7:80", "TCP", "60s", "10.244.1.2:8080 (local)\n10.244.1.3:8080\n1 slots missing"]
        );
        assert_eq!(listing.entries[1].row[1..3], ["NodePort", "0.0.0.0:30080"]);
        assert_eq!(listing.entries[2].row[5], "none: refused");
    }

    #[test]
    fn another_row_for_outside_and_whole_addresses_are_told() {
        let address = Address::from_v4([10, 96, 0, 7]);
        let local = Frontend {
            external_id: 5,
            external_backends: 0,
            flags: FRONTEND_LOCAL_EXTERNAL,
            ..Frontend::with_row(4, 1)
        };
        let frontends = vec![
            (FrontendKey { address, port: 80, protocol: 6, cluster: 0 }, local),
            (FrontendKey::whole_address(address), Frontend { flags: FRONTEND_ADDRESS, ..Frontend::ZERO }),
        ];
        let backend = Backend { address: Address::from_v4([10, 244, 1, 2]), port: 8080, id: 1, flags: 0, cluster: 0 };
        let listing = listing(frontends, vec![(BackendKey { service_id: 4, slot: 0 }, backend)]);
        assert_eq!(listing.entries[0].row[2..], ["10.96.0.7", "any", "-", "any other port: refused"]);
        assert_eq!(listing.entries[1].row[5], "10.244.1.2:8080\nfrom outside: none here: dropped");
        assert_eq!(listing.entries[1].object["external_backends"], json!([]));
    }
}
