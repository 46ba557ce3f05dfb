//! The map `ipcache`.

use super::listing::{Entry, Listing, identity};
use datapath::maps::Maps;
use datapath_layouts::route::FLAG_TUNNEL;
use datapath_layouts::{Address, PrefixKey, Route, RouteKind};
use serde_json::json;

pub fn read(maps: &Maps) -> anyhow::Result<Listing> {
    Ok(listing(maps.ipcache.entries()?))
}

fn listing(mut entries: Vec<(PrefixKey, Route)>) -> Listing {
    entries.sort_unstable_by_key(|(key, _)| (key.to_ip().0.is_ipv6(), key.address, key.prefix_len));
    Listing {
        columns: vec!["PREFIX", "KIND", "IDENTITY", "WAY", "IFINDEX", "MTU"],
        entries: entries.iter().map(|(key, route)| entry(key, route)).collect(),
    }
}

fn entry(key: &PrefixKey, route: &Route) -> Entry {
    let (address, length) = key.to_ip();
    let prefix = format!("{address}/{length}");
    let kind = match RouteKind::from_number(route.kind) {
        Some(RouteKind::World) => "world",
        Some(RouteKind::RemotePods) => "remote-pods",
        Some(RouteKind::RemoteNode) => "remote-node",
        Some(RouteKind::LocalPods) => "local-pods",
        Some(RouteKind::Services) => "services",
        None => "unknown",
    };
    let tunnelled = route.flags & FLAG_TUNNEL != 0;
    let some = |a: Address| (!a.is_zero()).then(|| a.to_ip());
    let way = match (tunnelled, some(route.tunnel), some(route.next_hop)) {
        (true, Some(tunnel), _) => format!("tunnel to {tunnel}"),
        (_, _, Some(next_hop)) => format!("via {next_hop}"),
        _ if route.ifindex != 0 => "on link".to_owned(),
        _ => "-".to_owned(),
    };
    let number = |n: u32| if n == 0 { "-".to_owned() } else { n.to_string() };
    Entry {
        row: vec![
            prefix.clone(),
            kind.to_owned(),
            identity(route.identity),
            way,
            number(route.ifindex),
            number(route.mtu),
        ],
        object: json!({
            "prefix": prefix, "cluster": key.cluster, "kind": kind, "identity": route.identity, "tunnel": some(route.tunnel),
            "tunnelled": tunnelled, "next_hop": some(route.next_hop), "ifindex": route.ifindex, "mtu": route.mtu,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_told() {
        let tunnel = Address::from_v4([172, 18, 0, 4]);
        let route = |kind: RouteKind| Route { kind: kind as u8, ifindex: 2, ..Route::ZERO };
        let way = |route: Route| entry(&PrefixKey::from_ip("10.244.2.0".parse().unwrap(), 24), &route).row[3].clone();
        assert_eq!(way(Route { tunnel, flags: FLAG_TUNNEL, ..route(RouteKind::RemotePods) }), "tunnel to 172.18.0.4");
        assert_eq!(way(Route { tunnel, next_hop: tunnel, ..route(RouteKind::RemotePods) }), "via 172.18.0.4");
        assert_eq!(way(route(RouteKind::World)), "on link");
        assert_eq!(way(Route { ifindex: 0, ..route(RouteKind::Services) }), "-");
    }
}
