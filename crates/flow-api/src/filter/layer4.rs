//! Protocols, ports and TCP flags.

use super::{Field, Test};
use crate::Invalid;
use crate::flow::layer4::Protocol;
use crate::flow::layer7::Record;
use crate::flow::{Flow, TcpFlags};

/// Names in any case; `icmp` is both versions. Layer 7's `dns`, `http` and `kafka` are here too, as in Hubble.
pub fn protocol(field: &str, wanted: &[String]) -> Field {
    let is = |name: &str| -> Option<fn(&Flow) -> bool> {
        Some(match name.to_ascii_lowercase().as_str() {
            "tcp" => |flow| matches!(l4(flow), Some(Protocol::Tcp(_))),
            "udp" => |flow| matches!(l4(flow), Some(Protocol::Udp(_))),
            "sctp" => |flow| matches!(l4(flow), Some(Protocol::Sctp(_))),
            "icmp" => |flow| matches!(l4(flow), Some(Protocol::IcmPv4(_) | Protocol::IcmPv6(_))),
            "icmpv4" => |flow| matches!(l4(flow), Some(Protocol::IcmPv4(_))),
            "icmpv6" => |flow| matches!(l4(flow), Some(Protocol::IcmPv6(_))),
            "vrrp" => |flow| matches!(l4(flow), Some(Protocol::Vrrp(_))),
            "igmp" => |flow| matches!(l4(flow), Some(Protocol::Igmp(_))),
            "dns" => |flow| matches!(l7(flow), Some(Record::Dns(_))),
            "http" => |flow| matches!(l7(flow), Some(Record::Http(_))),
            "kafka" => |flow| matches!(l7(flow), Some(Record::Kafka(_))),
            _ => return None,
        })
    };
    let read = |name: &String| is(name).ok_or_else(|| Invalid::new(field, format!("unknown protocol {name:?}")));
    let tests = wanted.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((!tests.is_empty()).then(|| -> Test { Box::new(move |flow| tests.iter().any(|test| test(flow))) }))
}

/// Decimal numbers from 0 to 65535.
pub fn port(field: &str, wanted: &[String], of: fn(&Flow) -> Option<u32>) -> Field {
    let read = |text: &String| {
        // Rust would also take `+80`.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|_| digits);
        port.ok_or_else(|| Invalid::new(field, format!("{text:?} is no port, which is a number up to 65535")))
    };
    let ports = wanted.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok((!ports.is_empty()).then(|| -> Test {
        Box::new(move |flow| of(flow).is_some_and(|port| ports.iter().any(|p| u32::from(*p) == port)))
    }))
}

/// A flow fits if it has all the flags that one of the wanted sets has; others don't matter.
pub fn tcp_flags(wanted: &[TcpFlags]) -> Option<Test> {
    let wanted: Vec<[bool; 9]> = wanted.iter().map(bits).collect();
    (!wanted.is_empty()).then(|| -> Test {
        Box::new(move |flow| {
            let Some(Protocol::Tcp(tcp)) = l4(flow) else { return false };
            let Some(flags) = tcp.flags.as_ref().map(bits) else { return false };
            wanted.iter().any(|wanted| wanted.iter().zip(flags).all(|(wanted, has)| !wanted || has))
        })
    })
}

fn bits(flags: &TcpFlags) -> [bool; 9] {
    [flags.fin, flags.syn, flags.rst, flags.psh, flags.ack, flags.urg, flags.ece, flags.cwr, flags.ns]
}

/// The port that it came from, where the protocol has ports.
pub fn source_port(flow: &Flow) -> Option<u32> {
    ports(flow).map(|(source, _)| source)
}

/// The port that it went to, where the protocol has ports.
pub fn destination_port(flow: &Flow) -> Option<u32> {
    ports(flow).map(|(_, destination)| destination)
}

fn ports(flow: &Flow) -> Option<(u32, u32)> {
    match l4(flow)? {
        Protocol::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
        Protocol::Udp(udp) => Some((udp.source_port, udp.destination_port)),
        Protocol::Sctp(sctp) => Some((sctp.source_port, sctp.destination_port)),
        _ => None,
    }
}

fn l4(flow: &Flow) -> Option<&Protocol> {
    flow.l4.as_ref()?.protocol.as_ref()
}

fn l7(flow: &Flow) -> Option<&Record> {
    flow.l7.as_ref()?.record.as_ref()
}
