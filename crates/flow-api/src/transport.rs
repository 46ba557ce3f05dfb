//! What a flow says of its transport, whatever the protocol is called in the message.

use crate::flow::layer4::Protocol;
use crate::flow::{DropReason, Flow};

/// A transport protocol and its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The protocol's number (RFC 5237).
    pub protocol: u8,
    /// Of both ends as the packet has them; ICMP and ICMPv6 have their type (RFC 792, RFC 4443) in place of both.
    pub source: u16,
    pub destination: u16,
}

impl Transport {
    /// A flow's; `None`: it has none that has ports or types, or they are out of range.
    #[must_use]
    pub fn of(flow: &Flow) -> Option<Self> {
        let (protocol, source, destination) = match flow.l4.as_ref()?.protocol.as_ref()? {
            Protocol::Tcp(tcp) => (6, tcp.source_port, tcp.destination_port),
            Protocol::Udp(udp) => (17, udp.source_port, udp.destination_port),
            Protocol::Sctp(sctp) => (132, sctp.source_port, sctp.destination_port),
            Protocol::IcmPv4(icmp) => (1, icmp.r#type, icmp.r#type),
            Protocol::IcmPv6(icmp) => (58, icmp.r#type, icmp.r#type),
            _ => return None,
        };
        Some(Self { protocol, source: source.try_into().ok()?, destination: destination.try_into().ok()? })
    }

    /// As people write it: `tcp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.protocol {
            1 => "icmp",
            6 => "tcp",
            17 => "udp",
            58 => "icmpv6",
            _ => "sctp",
        }
    }

    #[must_use]
    pub fn is_icmp(self) -> bool {
        matches!(self.protocol, 1 | 58)
    }

    /// The port of who answers.
    #[must_use]
    pub fn port(self, is_reply: bool) -> u16 {
        if is_reply { self.source } else { self.destination }
    }
}

/// Whether policy has dropped it.
#[must_use]
pub fn is_denied(flow: &Flow) -> bool {
    matches!(flow.drop_reason_desc(), DropReason::PolicyDenied | DropReason::PolicyDeny)
}
