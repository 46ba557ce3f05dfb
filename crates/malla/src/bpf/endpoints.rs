//! The map `endpoints`.

use super::listing::{Entry, Listing, identity, mac};
use datapath::maps::Maps;
use datapath_layouts::endpoint::FLAG_HOST;
use datapath_layouts::{AddressKey, Endpoint};
use serde_json::json;

pub fn read(maps: &Maps) -> anyhow::Result<Listing> {
    Ok(listing(maps.endpoints.entries()?))
}

fn listing(mut entries: Vec<(AddressKey, Endpoint)>) -> Listing {
    entries.sort_unstable_by_key(|(key, _)| (!key.address.is_v4(), key.address));
    Listing {
        columns: vec!["ADDRESS", "KIND", "ID", "IDENTITY", "IFINDEX", "POD MAC", "HOST MAC", "MTU"],
        entries: entries.iter().map(|(key, endpoint)| entry(key, endpoint)).collect(),
    }
}

fn entry(key: &AddressKey, e: &Endpoint) -> Entry {
    let host = e.flags & FLAG_HOST != 0;
    let kind = if host { "host" } else { "pod" };
    let or_dash = |text: String| if host { "-".to_owned() } else { text };
    Entry {
        row: vec![
            key.address.to_string(),
            kind.to_owned(),
            or_dash(e.id.to_string()),
            identity(e.identity),
            or_dash(e.ifindex.to_string()),
            or_dash(mac(e.mac)),
            or_dash(mac(e.host_mac)),
            or_dash(e.mtu.to_string()),
        ],
        object: json!({
            "address": key.address.to_ip(), "cluster": key.cluster, "kind": kind, "id": e.id, "identity": e.identity,
            "policy_id": e.policy_id, "ifindex": e.ifindex, "mac": mac(e.mac), "host_mac": mac(e.host_mac), "mtu": e.mtu,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath_layouts::Address;

    #[test]
    fn pods_and_the_host_are_told_apart() {
        let pod = Endpoint { ifindex: 7, id: 3, identity: 3, mac: [2, 0, 0, 0, 0, 9], mtu: 1450, ..Endpoint::ZERO };
        let host = Endpoint { flags: FLAG_HOST, identity: 1, ..Endpoint::ZERO };
        let key = |last| AddressKey::local(Address::from_v4([10, 244, 1, last]));
        let listing = listing(vec![(key(9), pod), (key(2), host)]);
        assert_eq!(listing.entries[0].row[..4], ["10.244.1.2", "host", "-", "host"]);
        assert_eq!(listing.entries[1].row[5], "02:00:00:00:00:09");
        assert_eq!(listing.entries[1].object["kind"], "pod");
    }
}
