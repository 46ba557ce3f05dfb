//! The Internet checksum (RFC 1071), written apart from the programs', and a check of a whole packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::{ICMP, ICMPV6, TCP, UDP};

/// Of all parts one behind the other; each but the last has an even length.
pub fn of(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(a) => bytes.extend(a.octets()),
            IpAddr::V6(a) => bytes.extend(a.octets()),
        }
    }
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

fn place(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        ICMP | ICMPV6 => Some(2),
        _ => None,
    }
}

fn over(source: IpAddr, destination: IpAddr, protocol: u8, transport: &[u8]) -> u16 {
    if protocol == ICMP {
        of(&[transport])
    } else {
        of(&[&pseudo(source, destination, protocol, transport.len()), transport])
    }
}

/// What a sender leaves in the checksum field for its device to go on from: the sum over the pseudo header.
pub fn begun(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    !of(&[&pseudo(source, destination, protocol, length)])
}

/// Fills in a transport header's checksum.
pub fn fill(source: IpAddr, destination: IpAddr, protocol: u8, transport: &mut [u8]) {
    let Some(at) = place(protocol) else { return };
    transport[at..at + 2].fill(0);
    let mut sum = over(source, destination, protocol, transport);
    if protocol == UDP && sum == 0 {
        sum = 0xffff; // RFC 768: 0 means "none"
    }
    transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Whether every checksum of a frame is right, including the header of a packet that an ICMP error quotes. `Err` says
/// which is not.
pub fn check(frame: &[u8]) -> Result<(), String> {
    match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0800 | 0x86dd => ip(&frame[14..], false),
        _ => Ok(()),
    }
}

fn ip(bytes: &[u8], quoted: bool) -> Result<(), String> {
    let what = if quoted { "quoted" } else { "outer" };
    let (source, destination, protocol, transport, later): (IpAddr, IpAddr, u8, &[u8], bool) = match bytes[0] >> 4 {
        4 => {
            let header = usize::from(bytes[0] & 15) * 4;
            if of(&[&bytes[..header]]) != 0 {
                return Err(format!("{what} IPv4 header checksum is wrong"));
            }
            let a =
                |at: usize| -> IpAddr { Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).into() };
            let later = u16::from_be_bytes([bytes[6], bytes[7]]) & 0x1fff != 0;
            (a(12), a(16), bytes[9], &bytes[header..], later)
        }
        6 => {
            let a = |at: usize| -> IpAddr { Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap()).into() };
            let (mut next, mut at, mut later) = (bytes[6], 40, false);
            loop {
                match next {
                    0 | 43 | 60 => (next, at) = (bytes[at], at + (usize::from(bytes[at + 1]) + 1) * 8),
                    44 => {
                        later = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]) >> 3 != 0;
                        (next, at) = (bytes[at], at + 8);
                    }
                    51 => (next, at) = (bytes[at], at + (usize::from(bytes[at + 1]) + 2) * 4),
                    _ => break,
                }
            }
            (a(8), a(24), next, &bytes[at..], later)
        }
        version => return Err(format!("{what} IP version is {version}")),
    };
    if quoted || later {
        return Ok(()); // a quoted transport is cut, a later fragment has none
    }
    let Some(at) = place(protocol) else { return Ok(()) };
    if protocol == UDP && transport[at..at + 2] == [0, 0] {
        return Ok(());
    }
    if over(source, destination, protocol, transport) != 0 {
        return Err(format!("transport checksum of protocol {protocol} is wrong"));
    }
    let error = match protocol {
        ICMP => matches!(transport[0], 3 | 4 | 5 | 11 | 12),
        ICMPV6 => matches!(transport[0], 1..=4),
        _ => false,
    };
    if error && transport.len() >= 28 { ip(&transport[8..], true) } else { Ok(()) }
}

/// SCTP's checksum (RFC 9260 appendix A), of a packet whose checksum field is zero.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
