//! `443/tcp`, as people write ports.

use std::fmt;
use std::str::FromStr;

/// What is spoken, maybe by a port's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// IP protocol number.
    pub protocol: u8,
    /// The port; ICMP: the type; others none.
    pub port: Port,
}

/// A port by its number or its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    Number(u16),
    Name(String),
}

/// Names of protocols, with what they have besides.
const PROTOCOLS: [(&str, u8); 5] = [("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1), ("icmpv6", 58)];

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let number = |name: &str| PROTOCOLS.iter().find(|(one, _)| *one == name).map(|(_, number)| *number);
        // Both orders are about: `443/tcp` of people, `tcp/443` of our own tables.
        let (protocol, port) = match lower.split_once('/') {
            None if number(&lower).is_some() => (number(&lower), ""),
            None => (Some(6), lower.as_str()),
            Some((one, other)) => match (number(one), number(other)) {
                (_, Some(protocol)) => (Some(protocol), one),
                (protocol, None) => (protocol, other),
            },
        };
        let wrong = || format!("{text:?} is no port: write it like 443/tcp, http/tcp, 53/udp, icmp or icmpv6/128");
        let protocol = protocol.ok_or_else(wrong)?;
        let port = match (port, protocol) {
            ("", 1) => Port::Number(8),
            ("", 58) => Port::Number(128),
            (text, _) => match text.parse::<u16>() {
                Ok(number) => Port::Number(number),
                Err(_) if matches!(protocol, 6 | 17 | 132) && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    Port::Name(text.to_owned())
                }
                Err(_) => return Err(wrong()),
            },
        };
        if matches!((&port, protocol), (Port::Number(number), 1 | 58) if *number > 255) {
            return Err(wrong());
        }
        Ok(Self { protocol, port })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match &self.port {
            Port::Number(number) => number.to_string(),
            Port::Name(name) => name.clone(),
        };
        let name = PROTOCOLS.iter().find(|(_, number)| *number == self.protocol).map_or("ip", |(name, _)| name);
        write!(f, "{name}/{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_people_write_them() {
        for (text, expected) in [
            ("443/tcp", Some("tcp/443")),
            ("443", Some("tcp/443")),
            ("udp/53", Some("udp/53")),
            ("HTTP/TCP", Some("tcp/http")),
            ("9/sctp", Some("sctp/9")),
            ("icmp", Some("icmp/8")),
            ("icmpv6", Some("icmpv6/128")),
            ("icmp/3", Some("icmp/3")),
            ("icmp/300", None),
            ("70000/tcp", None),
            ("443/gre", None),
            ("/tcp", None),
            ("tcp", None),
            ("-1", None),
        ] {
            assert_eq!(text.parse::<Wanted>().ok().map(|port| port.to_string()).as_deref(), expected, "{text}");
        }
    }
}
