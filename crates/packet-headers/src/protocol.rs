//! Protocol numbers (IANA "Protocol Numbers"), EtherTypes and the header fields that translation touches.

/// ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// TCP flag bits as in byte 13 of the header (RFC 9293 §3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;
}

/// Offset of the transport checksum in its header; `None` where there is none that translation could correct
/// (SCTP's CRC32c covers no pseudo header, so addresses may change but ports may not).
#[must_use]
#[inline(always)]
pub const fn checksum_offset(protocol: u8) -> Option<u32> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        ICMP | ICMPV6 => Some(2),
        _ => None,
    }
}

/// Whether the transport checksum covers the IP addresses (pseudo header).
#[must_use]
#[inline(always)]
pub const fn has_pseudo_header(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | ICMPV6)
}
