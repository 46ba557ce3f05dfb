//! The maps `frontends` and `backends`, joined.

use super::listing::{Entry, Listing, socket};
use agent::events::protocol_name;
use datapath::maps::Maps;
use datapath_layouts::service::{BACKEND_LOCAL, BACKEND_TERMINATING, FRONTEND_NODE_PORT};
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
    let node_port = frontend.flags & FRONTEND_NODE_PORT != 0;
    let kind = if node_port { "NodePort" } else { "Address" };
    let of_service = slots.range((frontend.service_id, 0)..(frontend.service_id, frontend.backends));
    let backends: Vec<&Backend> = of_service.map(|(_, backend)| backend).collect();
    let shown = backends.iter().map(|b| {
        let ending = if b.flags & BACKEND_TERMINATING != 0 { " (terminating)" } else { "" };
        let here = if b.flags & BACKEND_LOCAL != 0 { " (local)" } else { "" };
        format!("{}{here}{ending}", socket(b.address, b.port))
    });
    let mut text = shown.collect::<Vec<_>>().join("\n");
    if text.is_empty() {
        text = "none: refused".to_owned();
    }
    let missing = frontend.backends as usize - backends.len();
    if missing > 0 {
        text.push_str(&format!("\n{missing} slots missing"));
    }
    let affinity =
        if frontend.affinity_seconds == 0 { "-".to_owned() } else { format!("{}s", frontend.affinity_seconds) };
    Entry {
        row: vec![
            frontend.service_id.to_string(),
            kind.to_owned(),
            socket(key.address, key.port),
            protocol_name(key.protocol),
            affinity,
            text,
        ],
        object: json!({
            "service_id": frontend.service_id, "type": kind, "address": key.address.to_ip(), "port": key.port,
            "protocol": protocol_name(key.protocol), "cluster": key.cluster, "affinity_seconds": frontend.affinity_seconds,
            "missing_slots": missing,
            "backends": backends.iter().map(|b| json!({
                "id": b.id, "address": b.address.to_ip(), "port": b.port,
                "local": b.flags & BACKEND_LOCAL != 0, "terminating": b.flags & BACKEND_TERMINATING != 0,
            })).collect::<Vec<_>>(),
        }),
    }
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
}
