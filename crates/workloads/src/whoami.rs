//! Who this workload is: what the echo server tells its clients.

use std::{
    env, fs,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use serde::Serialize;

/// The Pod's own name and place, as the Pod runner told it through the environment.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Identity {
    /// Pod name; outside a Pod the hostname.
    pub pod: String,
    pub namespace: String,
    pub node: String,
    /// The Pod's addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

impl Identity {
    /// Reads `MALLA_POD_NAME`, `MALLA_POD_NAMESPACE`, `MALLA_NODE_NAME` and `MALLA_POD_IPS`; what is missing comes
    /// from the machine.
    #[must_use]
    pub fn from_environment() -> Self {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let addresses = get("MALLA_POD_IPS").map_or_else(source_addresses, |list| parse_addresses(&list));
        Self {
            pod: get("MALLA_POD_NAME").unwrap_or_else(hostname),
            namespace: get("MALLA_POD_NAMESPACE").unwrap_or_default(),
            node: get("MALLA_NODE_NAME").unwrap_or_default(),
            addresses,
        }
    }
}

/// An address as people write it: an IPv4 client of a dual-stack socket is IPv4, not `::ffff:…`.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn parse_addresses(list: &str) -> Vec<IpAddr> {
    list.split(',').filter_map(|text| text.trim().parse().ok()).collect()
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".into(), |name| name.trim().into())
}

/// The addresses this machine would send from. Connecting a UDP socket sends nothing, it only asks the routing table;
/// the targets are documentation prefixes (RFC 5737, RFC 3849).
fn source_addresses() -> Vec<IpAddr> {
    let ask = |bind: &str, target: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    [ask("0.0.0.0:0", "192.0.2.1:9"), ask("[::]:0", "[2001:db8::1]:9")].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_order_and_skip_rubbish() {
        let expected: Vec<IpAddr> = vec!["10.244.1.2".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(parse_addresses("10.244.1.2, x,fd00::1,"), expected);
    }

    #[test]
    fn mapped_clients_are_ipv4() {
        assert_eq!(canonical("[::ffff:10.0.0.1]:80".parse().unwrap()), "10.0.0.1:80".parse().unwrap());
        assert_eq!(canonical("[fd00::1]:80".parse().unwrap()), "[fd00::1]:80".parse().unwrap());
    }
}
