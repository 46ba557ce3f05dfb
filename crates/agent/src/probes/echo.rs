//! ICMP echo (RFC 792, RFC 4443 §4): bytes, and a socket per probe.
//!
//! A raw socket that is connected hears only what comes from its node, so that probes share nothing. Ping sockets would need a
//! sysctl (`net.ipv4.ping_group_range`) that shuts out everybody by default; the agent has CAP_NET_RAW anyway.

use super::ledger::Why;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::UdpSocket;

/// Sends an echo request and waits for its reply, for as long as the caller does.
///
/// # Errors
/// Why there will be none.
pub async fn echo(address: IpAddr) -> Result<(), Why> {
    // Whoever can't see the request can't answer it either.
    let token = RandomState::new().hash_one(address);
    let socket = open(address).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Why::Here("no right to raw sockets (CAP_NET_RAW)".to_owned()),
        _ => error.into(),
    })?;
    socket.send(&request(address.is_ipv4(), token)).await?;
    let mut packet = [0; LARGEST];
    loop {
        let length = socket.recv(&mut packet).await?;
        let packet = packet.get(..length).unwrap_or_default();
        if is_reply(address.is_ipv4(), packet, token) {
            return Ok(());
        }
    }
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    connect(&socket, &SocketAddr::new(address, 0))?;
    // std has no name for other sockets of messages; reading and writing are the same.
    UdpSocket::from_std(socket.into())
}

/// Type, code, checksum, id, sequence number, and the token as data. The kernel fills in the checksum of IPv6.
fn request(is_v4: bool, token: u64) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[0] = if is_v4 { REQUEST_V4 } else { REQUEST_V6 };
    let [.., a, b] = token.to_be_bytes();
    // Ids of the upper ranges may belong to Pods that are masqueraded.
    message[4..6].copy_from_slice(&[a & 0x3f, b]);
    message[8..].copy_from_slice(&token.to_be_bytes());
    if is_v4 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Whether it answers the request with this token. A raw IPv4 socket gives the IP header too.
fn is_reply(is_v4: bool, packet: &[u8], token: u64) -> bool {
    let start = if is_v4 { packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4) } else { 0 };
    let Some(message) = packet.get(start..) else { return false };
    let reply = if is_v4 { REPLY_V4 } else { REPLY_V6 };
    message.len() == MESSAGE
        && message[..2] == [reply, 0]
        && message[4..] == request(is_v4, token)[4..]
        && (!is_v4 || checksum(message) == 0)
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Bytes of header and token.
const MESSAGE: usize = 16;
/// The longest IPv4 header and the message; what is longer is no reply.
const LARGEST: usize = 60 + MESSAGE + 1;
const REQUEST_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(is_v4: bool, token: u64) -> Vec<u8> {
        let mut message = request(is_v4, token).to_vec();
        message[0] = if is_v4 { REPLY_V4 } else { REPLY_V6 };
        if is_v4 {
            message[2..4].fill(0);
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let mut header = vec![0x46];
            header.resize(24, 0);
            message.splice(0..0, header);
        }
        message
    }

    #[test]
    fn a_request_is_as_the_rfc_has_it() {
        let message = request(true, 0x0102_0304_0506_7788);
        assert_eq!(message[..8], [8, 0, message[2], message[3], 0x37, 0x88, 0, 0]);
        assert_eq!(message[8..], [1, 2, 3, 4, 5, 6, 0x77, 0x88]);
        assert_eq!(checksum(&message), 0);
        assert_eq!(request(false, 1)[..4], [128, 0, 0, 0]);
    }

    proptest! {
        /// A reply to this request, whole and unspoilt, and nothing else.
        #[test]
        fn only_its_own_reply_counts(
            is_v4: bool, token: u64, other: u64, cut in 0_usize..40, (place, bit) in (0_usize..40, 0_u8..8),
            noise in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let good = reply(is_v4, token);
            prop_assert!(is_reply(is_v4, &good, token));
            prop_assert!(token == other || !is_reply(is_v4, &good, other));
            prop_assert!(cut >= good.len() || !is_reply(is_v4, &good[..cut], token));
            prop_assert!(!is_reply(is_v4, &noise, token));
            let mut spoilt = good.clone();
            let header = if is_v4 { 24 } else { 0 };
            // The checksum of IPv6 is the kernel's business.
            let place = header + place % MESSAGE;
            prop_assume!(is_v4 || !(2..4).contains(&place));
            spoilt[place] ^= 1 << bit;
            prop_assert!(!is_reply(is_v4, &spoilt, token));
        }
    }
}
