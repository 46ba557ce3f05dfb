//! Names of addresses: `in-addr.arpa` (RFC 1035 §3.5) and `ip6.arpa` (RFC 3596 §2.5).

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The network that a reverse name stands for, a single address when it is whole. `labels` from left to right in lower
/// case; `None` for any other name.
pub fn network(labels: &[&str]) -> Option<IpNet> {
    match labels {
        [parts @ .., "in-addr", "arpa"] if parts.len() <= 4 => {
            let mut octets = [0; 4];
            for (octet, part) in octets.iter_mut().zip(parts.iter().rev()) {
                *octet = part.parse().ok().filter(|value: &u8| value.to_string() == **part)?;
            }
            Ipv4Net::new(octets.into(), parts.len() as u8 * 8).ok().map(IpNet::V4)
        }
        [parts @ .., "ip6", "arpa"] if parts.len() <= 32 => {
            let mut address = 0u128;
            for (index, part) in parts.iter().rev().enumerate() {
                let digit = part.chars().next().filter(|_| part.len() == 1)?.to_digit(16)?;
                address |= u128::from(digit) << (124 - 4 * index);
            }
            Ipv6Net::new(address.into(), parts.len() as u8 * 4).ok().map(IpNet::V6)
        }
        _ => None,
    }
}

/// The reverse zone that `address` is in, among those that make up `range`: a range that does not end between labels is
/// several zones.
pub fn zone(range: IpNet, address: IpNet) -> Option<Name> {
    let step = if matches!(range, IpNet::V4(_)) { 8 } else { 4 };
    let prefix = range.prefix_len().div_ceil(step) * step;
    let network = IpNet::new(address.network(), prefix).ok()?.trunc();
    let whole = Name::from(network.addr());
    // `Name::from` gives all labels of the address: those beyond the prefix go.
    let beyond = usize::from((network.max_prefix_len() - prefix) / step);
    let mut name = Name::from_labels(whole.iter().skip(beyond)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<String> {
        network(&name.split('.').collect::<Vec<_>>()).map(|network| network.to_string())
    }

    #[test]
    fn whole_and_partial_names() {
        assert_eq!(parse("10.0.96.10.in-addr.arpa").as_deref(), Some("10.96.0.10/32"));
        assert_eq!(parse("96.10.in-addr.arpa").as_deref(), Some("10.96.0.0/16"));
        assert_eq!(parse("in-addr.arpa").as_deref(), Some("0.0.0.0/0"));
        let v6 = Name::from(std::net::Ipv6Addr::from(0xfd00_0010_0096_0000_0000_0000_0000_000a));
        assert_eq!(parse(v6.to_string().trim_end_matches('.')).as_deref(), Some("fd00:10:96::a/128"));
        assert_eq!(parse("0.d.f.ip6.arpa").as_deref(), Some("fd00::/12"));
    }

    #[test]
    fn anything_else_is_none() {
        for name in [
            "010.0.96.10.in-addr.arpa",
            "+1.0.96.10.in-addr.arpa",
            "256.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "g.ip6.arpa",
            "00.ip6.arpa",
            ".ip6.arpa",
            "é.ip6.arpa",
            "arpa",
            "",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn zones_end_between_labels() {
        let zone = |range: &str, address: &str| zone(range.parse().unwrap(), address.parse().unwrap()).unwrap();
        assert_eq!(zone("10.96.0.0/12", "10.97.2.3/32").to_string(), "97.10.in-addr.arpa.");
        assert_eq!(zone("10.244.0.0/16", "10.244.2.3/32").to_string(), "244.10.in-addr.arpa.");
        assert_eq!(zone("fd00::/8", "fd00:10::1/128").to_string(), "d.f.ip6.arpa.");
    }
}
