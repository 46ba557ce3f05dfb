//! The journey as a capture file (draft-ietf-opsawg-pcapng): one packet per arrival or departure, whose comment tells hop and
//! rule. Headers are made anew from what the programs told; payload they don't tell, so that packets are cut behind headers.

use super::hops::{Hop, Place};
use super::journey::{Journey, Told};
use super::text::what;
use std::net::{IpAddr, SocketAddr};

/// The whole file. Times count from the start of the first journey, for the programs' clock is nobody's calendar; the journeys follow one
/// another, and where the clocks of nodes disagree a packet is no earlier than the one before it.
pub fn render(journeys: &[Journey]) -> Vec<u8> {
    let mut out = Vec::new();
    // Byte order magic, version 1.0, length of the section unknown.
    block(&mut out, 0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    let mut nodes: Vec<&str> = Vec::new();
    for hop in journeys.iter().flat_map(hops).map(|(_, hop)| hop) {
        if !nodes.contains(&&*hop.node) {
            nodes.push(&hop.node);
            // LINKTYPE_ETHERNET, no limit of length. LINKTYPE_RAW would do, but libpcap can't read two interfaces of it.
            let mut body = [1, 0, 0, 0, 0, 0, 0, 0].to_vec();
            option(&mut body, IF_NAME, &hop.node);
            body.extend([0; 4]);
            block(&mut out, 1, &body);
        }
    }
    let mut time = 0;
    for journey in journeys {
        time = packets(&mut out, &nodes, journey, time);
    }
    out
}

/// The packets of one journey, which begins at this time; when its last one was.
fn packets(out: &mut Vec<u8>, nodes: &[&str], journey: &Journey, begins: u64) -> u64 {
    let mut comments: Vec<String> = Vec::new();
    let (mut time, mut last) = (begins, None::<(&Told, Vec<u8>)>);
    for (way, hop) in hops(journey) {
        comments.push(format!("{} {}: {}", hop.node, hop.place.text(), what(hop)));
        time = hop.at_us.map_or(time, |at| time.max(begins + at));
        let interface = nodes.iter().position(|node| *node == hop.node).unwrap_or(0);
        let bytes = match (hop.source, hop.destination) {
            (Some(source), Some(destination)) => packet(way, source.1, destination.1),
            // A death has no packet of its own, but readers show comments of packets only: it is what came last on this way.
            _ if hop.place == Place::Dropped => {
                let came = last.take_if(|(of, _)| std::ptr::eq(*of, way)).map(|(_, bytes)| bytes);
                Some(came.unwrap_or_else(|| NO_PACKET.to_vec()))
            }
            _ => None,
        };
        let Some(bytes) = bytes else { continue };
        let mut body = Vec::new();
        let size = u32::try_from(bytes.len()).unwrap_or(0);
        for word in [u32::try_from(interface).unwrap_or(0), (time >> 32) as u32, time as u32, size, size] {
            body.extend(word.to_le_bytes());
        }
        body.extend(&bytes);
        pad(&mut body);
        option(&mut body, COMMENT, &comments.join("\n"));
        body.extend([0; 4]);
        comments.clear();
        block(out, 6, &body);
        last = Some((way, bytes));
    }
    time
}

fn hops(journey: &Journey) -> impl Iterator<Item = (&Told, &Hop)> {
    journey.ways.iter().flat_map(|way| way.hops.iter().map(move |hop| (way, hop)))
}

/// Ethernet (without addresses), IP and TCP or UDP headers; none where the packet is neither, or its ends are of two families.
fn packet(way: &Told, source: SocketAddr, destination: SocketAddr) -> Option<Vec<u8>> {
    let mut layer4 = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let protocol = match way.packet.strip_prefix("TCP") {
        Some(flags) => {
            let flags = flags.split_whitespace().map(bit).fold(0, |all, bit| all | bit);
            layer4.extend([0; 8]);
            layer4.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            6
        }
        None => {
            way.packet.strip_prefix("UDP")?;
            // Its own length, no checksum.
            layer4.extend([0, 8, 0, 0]);
            17
        }
    };
    let length = layer4.len() as u8;
    let (kind, ip) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = vec![0x45, 0, 0, 20 + length, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let check = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
            ip[10..12].copy_from_slice(&check.to_be_bytes());
            ([0x08, 0x00], ip)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut ip = vec![0x60, 0, 0, 0, 0, length, protocol, 64];
            ip.extend(source.octets());
            ip.extend(destination.octets());
            ([0x86, 0xdd], ip)
        }
        _ => return None,
    };
    Some([&[0; 12], &kind[..], &ip, &layer4].concat())
}

/// RFC 9293 §3.1.
fn bit(flag: &str) -> u8 {
    match flag {
        "FIN" => 1,
        "SYN" => 2,
        "RST" => 4,
        "PSH" => 8,
        "ACK" => 16,
        "URG" => 32,
        "ECE" => 64,
        "CWR" => 128,
        _ => 0,
    }
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).unwrap_or(0).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(length);
    out.extend(body);
    out.extend(length);
}

/// At most what its length can say, cut at a character.
fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    body.extend(text.as_bytes());
    pad(body);
}

/// To whole words.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// For who died before anything was sent: a header of Ethernet for local experiments (IEEE 802, 0x88b5), which everybody reads.
const NO_PACKET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
