//! Parsing under attack: nothing panics, nothing is read beyond the frame, every cut is noticed; and what is read is
//! what etherparse reads.

use datapath_layouts::{Address, DropReason};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use packet_headers::{Content, ETHERNET_HEADER, Headers, flags, parse, protocol};
use proptest::prelude::*;

/// What a valid packet is made of.
#[derive(Clone, Debug)]
struct Shape {
    v6: bool,
    source: [u8; 16],
    destination: [u8; 16],
    transport: u8,
    ports: (u16, u16),
    ttl: u8,
    payload: Vec<u8>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    (any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>(), 0u8..3, any::<(u16, u16)>(), any::<u8>(), payload).prop_map(
        |(v6, mut source, mut destination, transport, ports, ttl, payload)| {
            // Never an IPv4 address in an IPv6 header, which the parser refuses.
            source[0] |= 0x20;
            destination[0] |= 0x20;
            Shape { v6, source, destination, transport, ports, ttl, payload }
        },
    )
}

fn first_four(bytes: [u8; 16]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

fn frame(shape: &Shape) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let ip = if shape.v6 {
        ethernet.ipv6(shape.source, shape.destination, shape.ttl)
    } else {
        ethernet.ipv4(first_four(shape.source), first_four(shape.destination), shape.ttl)
    };
    let (mut out, (from, to)) = (Vec::new(), shape.ports);
    match shape.transport {
        0 => ip.tcp(from, to, 7, 1024).syn().write(&mut out, &shape.payload),
        1 => ip.udp(from, to).write(&mut out, &shape.payload),
        _ if shape.v6 => ip.icmpv6_echo_request(from, 1).write(&mut out, &shape.payload),
        _ => ip.icmpv4_echo_request(from, 1).write(&mut out, &shape.payload),
    }
    .unwrap();
    out
}

fn read(bytes: &[u8]) -> (Result<Content, DropReason>, Headers) {
    let mut headers = Headers::EMPTY;
    (parse(bytes, &mut headers), headers)
}

/// What must hold of whatever was read.
fn sound(bytes: &[u8], headers: &Headers) {
    let frame = bytes.len() as u32;
    assert!(headers.length + ETHERNET_HEADER <= frame, "the packet ends inside of its frame");
    assert!(headers.l4_offset <= headers.length + ETHERNET_HEADER, "the transport begins inside of the packet");
    let has_ports = !headers.is(flags::LATER_FRAGMENT)
        && matches!(headers.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    assert!(!has_ports || headers.l4_offset + 8 <= frame, "ports were read from the frame");
    if headers.inner_protocol != 0 {
        assert!(headers.is(flags::ICMP_ERROR));
        assert!(headers.inner_l3_offset >= headers.l4_offset + 8);
        assert!(headers.inner_l4_offset + 4 <= frame, "the quote was read from the frame");
    }
    assert_eq!(headers.source.is_v4(), !headers.is(flags::V6), "the families do not mix");
    assert_eq!(headers.destination.is_v4(), !headers.is(flags::V6));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..4) {
        let mut bytes = bytes;
        if bytes.len() >= 15 {
            // Most random frames would be of no known kind.
            match kind {
                0 => (bytes[12], bytes[13], bytes[14]) = (0x08, 0x00, 0x45),
                1 => (bytes[12], bytes[13], bytes[14]) = (0x86, 0xdd, 0x60),
                2 => (bytes[12], bytes[13]) = (0x08, 0x06),
                _ => {}
            }
        }
        let (result, headers) = read(&bytes);
        if result == Ok(Content::Ip) {
            sound(&bytes, &headers);
        }
    }

    #[test]
    fn a_valid_packet_with_some_bytes_changed(
        shape in shapes(),
        changes in prop::collection::vec((12usize..80, any::<u8>()), 1..6),
    ) {
        let mut bytes = frame(&shape);
        for (at, to) in changes {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        let (result, headers) = read(&bytes);
        if result == Ok(Content::Ip) {
            sound(&bytes, &headers);
        }
    }

    #[test]
    fn as_etherparse_reads_it(shape in shapes()) {
        let bytes = frame(&shape);
        let (result, headers) = read(&bytes);
        prop_assert_eq!(result, Ok(Content::Ip));
        sound(&bytes, &headers);
        let judge = SlicedPacket::from_ethernet(&bytes).unwrap();
        let (source, destination, ttl) = match judge.net.as_ref().unwrap() {
            etherparse::NetSlice::Ipv4(ip) => {
                let h = ip.header();
                (Address::from_v4(h.source()), Address::from_v4(h.destination()), h.ttl())
            }
            etherparse::NetSlice::Ipv6(ip) => {
                let h = ip.header();
                (Address(h.source()), Address(h.destination()), h.hop_limit())
            }
            other => panic!("an IP packet became {other:?}"),
        };
        prop_assert_eq!((headers.source, headers.destination, headers.ttl), (source, destination, ttl));
        let ports = match judge.transport.as_ref().unwrap() {
            TransportSlice::Tcp(t) => (t.source_port(), t.destination_port()),
            TransportSlice::Udp(u) => (u.source_port(), u.destination_port()),
            _ => (shape.ports.0, shape.ports.0),
        };
        prop_assert_eq!((headers.source_port, headers.destination_port), ports);
    }

    #[test]
    fn every_cut_is_noticed(shape in shapes()) {
        let bytes = frame(&shape);
        for length in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..length]).0, Err(DropReason::Truncated), "cut to {} bytes", length);
        }
    }

    #[test]
    fn quotes_of_any_length(shape in shapes(), cut in 0usize..120, kind in any::<u8>()) {
        let inner = frame(&shape);
        let quote = &inner[14..inner.len().min(14 + cut)];
        let mut bytes = Vec::new();
        let outer = PacketBuilder::ethernet2([1; 6], [2; 6]);
        if shape.v6 {
            let outer = outer.ipv6(shape.destination, shape.source, 64);
            outer.icmpv6_raw(1 + kind % 4, 0, [0; 4]).write(&mut bytes, quote).unwrap();
        } else {
            let outer = outer.ipv4(first_four(shape.destination), first_four(shape.source), 64);
            outer.icmpv4_raw([3, 4, 5, 11, 12][usize::from(kind % 5)], 0, [0; 4]).write(&mut bytes, quote).unwrap();
        }
        let (result, headers) = read(&bytes);
        prop_assert_eq!(result, Ok(Content::Ip));
        prop_assert!(headers.is(flags::ICMP_ERROR));
        sound(&bytes, &headers);
        if headers.inner_protocol != 0 {
            prop_assert_eq!((headers.inner_source, headers.inner_destination), (headers.destination, headers.source));
            prop_assert_eq!(headers.inner_source_port, shape.ports.0);
        }
    }
}
