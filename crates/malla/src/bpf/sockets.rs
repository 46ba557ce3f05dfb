//! The maps `socket_reverse` and `untranslated`.

use super::listing::{Entry, Listing, socket};
use agent::events::protocol_name;
use datapath::maps::Maps;
use datapath_layouts::{SocketReverse, SocketReverseKey};
use serde_json::json;

pub fn read(maps: &Maps) -> anyhow::Result<Listing> {
    let namespaces = maps.untranslated.entries()?.into_iter().map(|(cookie, _)| cookie).collect();
    Ok(listing(maps.socket_reverse.entries()?, namespaces))
}

/// A socket that has closed stays until its place is needed: nothing asks for it any more.
fn listing(mut sockets: Vec<(SocketReverseKey, SocketReverse)>, mut namespaces: Vec<u64>) -> Listing {
    sockets.sort_unstable_by_key(|(key, _)| key.cookie);
    namespaces.sort_unstable();
    let bound = sockets.iter().map(|(key, service)| {
        let (to, from) = (socket(key.address, key.port), socket(service.address, service.port));
        Entry {
            row: vec![
                "translated".to_owned(),
                key.cookie.to_string(),
                protocol_name(key.protocol).into_owned(),
                from.clone(),
                to.clone(),
            ],
            object: json!({
                "kind": "translated", "cookie": key.cookie, "protocol": protocol_name(key.protocol).into_owned(),
                "service": from, "backend": to,
            }),
        }
    });
    let alone = namespaces.iter().map(|cookie| Entry {
        row: ["left-alone", &cookie.to_string(), "-", "-", "-"].map(str::to_owned).to_vec(),
        object: json!({"kind": "left-alone", "namespace_cookie": cookie}),
    });
    Listing { columns: vec!["KIND", "COOKIE", "PROTOCOL", "SERVICE", "BACKEND"], entries: alone.chain(bound).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath_layouts::Address;

    #[test]
    fn namespaces_first_then_each_socket_with_its_service() {
        let address = Address::from_v4([10, 244, 1, 2]);
        let key = SocketReverseKey { cookie: 9, address, port: 8080, protocol: 17, reserved: [0; 5] };
        let service = SocketReverse { address: Address::from_v4([10, 96, 0, 7]), port: 53, ..SocketReverse::ZERO };
        let listing = listing(vec![(key, service)], vec![4100]);
        assert_eq!(listing.entries[0].row[..2], ["left-alone", "4100"]);
        assert_eq!(listing.entries[1].row, ["translated", "9", "UDP", "10.96.0.7:53", "10.244.1.2:8080"]);
        assert_eq!(listing.entries[1].object["backend"], "10.244.1.2:8080");
    }
}
