//! ARP (RFC 826, 5227) and Neighbour Discovery (RFC 4861) as whole Ethernet frames: read what concerns addresses, write
//! answers and announcements. Everything is in network byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What a frame says about addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks who has `address`.
    Question {
        /// What is looked for.
        address: IpAddr,
        /// Whom to answer: their Ethernet address.
        mac: Mac,
        /// And their IP address; unspecified from somebody who has none yet (address probes).
        asker: IpAddr,
        /// In a [`probe`] of one who has the address too: the version of the Lease that it wrote last.
        version: Option<u64>,
    },
    /// Somebody says, unasked or not, that `address` is at `mac`.
    Claim {
        /// What is claimed.
        address: IpAddr,
        /// By whom.
        mac: Mac,
    },
}

/// Reads a frame; `None` for everything that is neither a question nor a claim, or is malformed.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Heard> {
    match u16_at(frame, 12)? {
        ETHERTYPE_ARP => read_arp(frame.get(14..42)?, &frame[42..]),
        ETHERTYPE_IPV6 => read_neighbour(frame.get(14..)?, frame.get(6..12)?.try_into().ok()?),
        _ => None,
    }
}

fn read_arp(arp: &[u8], padding: &[u8]) -> Option<Heard> {
    if arp.get(..6)? != ARP_ETHERNET_IPV4 {
        return None;
    }
    let mac: Mac = arp.get(8..14)?.try_into().ok()?;
    let sender = v4_at(arp, 14)?;
    let target = v4_at(arp, 24)?;
    match u16_at(arp, 6)? {
        // RFC 5227 §1.1: an announcement is a request for the sender's own address.
        ARP_REQUEST if sender != target => {
            let version = padding.first_chunk().and_then(version_of).filter(|_| sender.is_unspecified());
            Some(Heard::Question { address: target.into(), mac, asker: sender.into(), version })
        }
        ARP_REQUEST | ARP_REPLY => Some(Heard::Claim { address: sender.into(), mac }),
        _ => None,
    }
}

/// RFC 4861 §7.1: hop limit 255, code 0, a right checksum, a target that is no multicast address.
fn read_neighbour(packet: &[u8], sender: Mac) -> Option<Heard> {
    let length = usize::from(u16_at(packet, 4)?);
    if *packet.first()? >> 4 != 6 || *packet.get(6)? != ICMPV6 || *packet.get(7)? != 255 {
        return None;
    }
    let (source, destination) = (v6_at(packet, 8)?, v6_at(packet, 24)?);
    let message = packet.get(40..)?.get(..length)?;
    if message.len() < 24 || message[1] != 0 || checksum(source, destination, message) != 0 {
        return None;
    }
    let target = v6_at(message, 8)?;
    if target.is_multicast() {
        return None;
    }
    let option = |kind| link_layer_option(&message[24..], kind);
    match message[0] {
        SOLICITATION if source.is_unspecified() => {
            // Somebody probes whether the address is free (RFC 4862 §5.4): answered to all nodes.
            let version = option_data(&message[24..], OPTION_EXPERIMENT, 2).and_then(<[u8]>::first_chunk);
            let version = version.and_then(version_of);
            Some(Heard::Question { address: target.into(), mac: ALL_NODES_MAC, asker: source.into(), version })
        }
        SOLICITATION => {
            // A unicast probe may come without the option (§7.2.2); then the frame says where from.
            let mac = option(OPTION_SOURCE).unwrap_or(sender);
            Some(Heard::Question { address: target.into(), mac, asker: source.into(), version: None })
        }
        ADVERTISEMENT => Some(Heard::Claim { address: target.into(), mac: option(OPTION_TARGET)? }),
        _ => None,
    }
}

/// The Ethernet address in the options.
fn link_layer_option(options: &[u8], kind: u8) -> Option<Mac> {
    option_data(options, kind, 1)?.try_into().ok()
}

/// What [`probe`] says behind the rest of it: four letters, so that nobody else's bytes are taken for ours, and the number.
fn version_of(bytes: &[u8; VERSION_SIZE]) -> Option<u64> {
    let number = bytes.strip_prefix(&VERSION_MAGIC)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

fn version_bytes(version: u64) -> impl Iterator<Item = u8> {
    VERSION_MAGIC.into_iter().chain(version.to_be_bytes())
}

/// The data of one of the options, which are (type, length in 8 bytes, data).
fn option_data(mut options: &[u8], kind: u8, eights: u8) -> Option<&[u8]> {
    while let [found, length, ..] = *options {
        let size = usize::from(length) * 8;
        if size == 0 || size > options.len() {
            return None;
        }
        if found == kind && length == eights {
            return options.get(2..size);
        }
        options = &options[size..];
    }
    None
}

/// Answers a question: `address` is at `own`.
#[must_use]
pub fn answer(address: IpAddr, own: Mac, to: Mac, asker: IpAddr) -> Option<Vec<u8>> {
    match (address, asker) {
        (IpAddr::V4(address), IpAddr::V4(asker)) => Some(arp(ARP_REPLY, (own, address), (to, asker), to)),
        (IpAddr::V6(address), IpAddr::V6(asker)) => Some(advertisement(address, own, to, asker)),
        _ => None,
    }
}

/// Asks who has `address`, on behalf of `asker` at `own`. An unspecified asker is a probe (RFC 5227 §2.1.1, RFC 4862 §5.4):
/// nobody learns anything from it, and whoever has the address answers.
#[must_use]
pub fn question(address: IpAddr, own: Mac, asker: IpAddr) -> Option<Vec<u8>> {
    match (address, asker) {
        (IpAddr::V4(address), IpAddr::V4(asker)) => Some(arp(ARP_REQUEST, (own, asker), ([0; 6], address), BROADCAST)),
        (IpAddr::V6(address), IpAddr::V6(asker)) => {
            let group = solicited_node(address);
            let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            message.extend(address.octets());
            if !asker.is_unspecified() {
                message.extend([OPTION_SOURCE, 1]);
                message.extend(own);
            }
            let [.., a, b, c, d] = group.octets();
            Some(neighbour([0x33, 0x33, a, b, c, d], own, (asker, group), message))
        }
        _ => None,
    }
}

/// A probe by one who has the address and can't reach the API; with the version of the Lease that it wrote last, if that is a
/// number. In ARP it stands in the padding that Ethernet asks for anyway, in Neighbour Discovery in an option for
/// experiments (RFC 4727 §5.1.3), which others leave alone (RFC 4861 §4.6).
#[must_use]
pub fn probe(address: IpAddr, own: Mac, version: Option<u64>) -> Option<Vec<u8>> {
    let nobody = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut frame = question(address, own, nobody)?;
    let (Some(version), IpAddr::V6(target)) = (version, address) else {
        if let Some(version) = version {
            frame.splice(42..42 + VERSION_SIZE, version_bytes(version));
        }
        return Some(frame);
    };
    let mut message = frame.split_off(54);
    message[2..4].fill(0);
    message.extend([OPTION_EXPERIMENT, 2]);
    message.extend(version_bytes(version));
    message.extend([0; 2]);
    Some(neighbour(frame[..6].try_into().ok()?, own, (Ipv6Addr::UNSPECIFIED, solicited_node(target)), message))
}

/// Tells everybody that `address` is at `own` from now on: a gratuitous ARP request (RFC 5227 §3, what most systems
/// accept), or an unsolicited advertisement with the override flag (RFC 4861 §7.2.6).
#[must_use]
pub fn announcement(address: IpAddr, own: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(ARP_REQUEST, (own, address), ([0; 6], address), BROADCAST),
        IpAddr::V6(address) => advertisement(address, own, ALL_NODES_MAC, Ipv6Addr::UNSPECIFIED),
    }
}

fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr), to: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(SHORTEST);
    frame.extend(to);
    frame.extend(sender.0);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend(ARP_ETHERNET_IPV4);
    frame.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend(mac);
        frame.extend(address.octets());
    }
    frame.resize(SHORTEST, 0);
    frame
}

fn advertisement(address: Ipv6Addr, own: Mac, to: Mac, asker: Ipv6Addr) -> Vec<u8> {
    let unasked = asker.is_unspecified();
    let destination = if unasked { ALL_NODES } else { asker };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, FLAG_OVERRIDE | if unasked { 0 } else { FLAG_SOLICITED }, 0, 0, 0];
    message.extend(address.octets());
    message.extend([OPTION_TARGET, 1]);
    message.extend(own);
    // From the address itself: it is the one thing that every node may say about it.
    neighbour(to, own, (address, destination), message)
}

fn neighbour(to: Mac, own: Mac, (source, destination): (Ipv6Addr, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(source, destination, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let mut frame = Vec::with_capacity(14 + 40 + message.len());
    frame.extend(to);
    frame.extend(own);
    frame.extend(ETHERTYPE_IPV6.to_be_bytes());
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(message);
    frame
}

/// ICMPv6 checksum with its pseudo header (RFC 8200 §8.1); zero over a message that carries a right one.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
    };
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(message);
    sum += message.len() as u32 + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The group that a question about an IPv6 address is sent to (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
}

fn v6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
}

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Hardware Ethernet, protocol IPv4, lengths 6 and 4.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
/// RFC 4727 §5.1.3.
const OPTION_EXPERIMENT: u8 = 253;
const VERSION_MAGIC: [u8; 4] = *b"mlla";
const VERSION_SIZE: usize = 12;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// Ethernet's shortest frame without its check sequence.
const SHORTEST: usize = 60;

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
