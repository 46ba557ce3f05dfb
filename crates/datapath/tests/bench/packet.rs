//! Packets from parts, with right checksums; hostile ones by overwriting bytes afterwards.

use std::net::IpAddr;

use super::checksum;

/// Protocol numbers (IANA).
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// TCP flags.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Length of an Ethernet header.
pub const ETHERNET: usize = 14;

/// Which part of a fragmented datagram: offset in units of 8 bytes, whether more follow, identification.
#[derive(Clone, Copy)]
pub struct Piece {
    pub offset: u16,
    pub more: bool,
    pub id: u32,
}

/// A frame under construction.
#[derive(Clone)]
pub struct Packet {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    pub class: u8,
    pub dont_fragment: bool,
    piece: Option<Piece>,
    /// IPv4 options; a multiple of four bytes.
    options: Vec<u8>,
    /// IPv6 extension headers: type and whole content, whose first byte is set to the next header's type.
    extensions: Vec<(u8, Vec<u8>)>,
    protocol: u8,
    /// Transport header with payload; its checksum is filled in.
    transport: Vec<u8>,
    /// False: the transport's checksum stays as it is in `transport`.
    sum: bool,
    /// UDP, whose header tells its length.
    has_length: bool,
}

impl Packet {
    fn new(source: IpAddr, destination: IpAddr, protocol: u8, transport: Vec<u8>) -> Self {
        Self {
            source_mac: [2, 0, 0, 0, 0, 0xee],
            // That of the node's device, or what arrives would be for another machine.
            destination_mac: [2, 0, 0, 0, 0, 1],
            source,
            destination,
            ttl: 64,
            class: 0,
            dont_fragment: true,
            piece: None,
            options: Vec::new(),
            extensions: Vec::new(),
            protocol,
            transport,
            sum: true,
            has_length: false,
        }
    }

    pub fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Self {
        let mut t = ports(source.1, destination.1);
        t.extend([0, 0, 0x10, 0, 0, 0, 0x20, 0, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        Self::new(source.0, destination.0, TCP, t)
    }

    /// TCP's sequence and acknowledgement numbers.
    #[must_use]
    pub fn numbers(mut self, sequence: u32, acknowledged: u32) -> Self {
        self.transport[4..8].copy_from_slice(&sequence.to_be_bytes());
        self.transport[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        self
    }

    /// The answer of a host without a listener to what [`Self::tcp`] makes.
    pub fn reset(about: &Self) -> Self {
        let word = |at: usize| u32::from_be_bytes(about.transport[at..at + 4].try_into().unwrap());
        let (header, bits) = (usize::from(about.transport[12] >> 4) * 4, about.transport[13]);
        let data = (about.transport.len() - header) as u32;
        let marks = u32::from(bits & SYN != 0) + u32::from(bits & FIN != 0);
        let (sequence, received, flags) =
            if bits & ACK != 0 { (word(8), 0, RST) } else { (0, word(4) + data + marks, RST | ACK) };
        let mut t = [&about.transport[2..4], &about.transport[..2]].concat();
        t.extend(sequence.to_be_bytes());
        t.extend(received.to_be_bytes());
        t.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        Self::new(about.destination, about.source, TCP, t)
    }

    pub fn udp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let mut t = ports(source.1, destination.1);
        t.extend([0, 0, 0, 0]);
        t.extend(*b"question");
        Self { has_length: true, ..Self::new(source.0, destination.0, UDP, t) }
    }

    /// A whole SCTP INIT (RFC 9260 §3.3.2) with its CRC32c, which covers no address.
    pub fn sctp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        Self::sctp_chunk(source, destination, 0, 1)
    }

    /// INIT ACK (RFC 9260 §3.3.3), without its cookie.
    pub fn sctp_answer(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        Self::sctp_chunk(source, destination, 0xc0ff_ee11, 2)
    }

    fn sctp_chunk(source: (IpAddr, u16), destination: (IpAddr, u16), tag: u32, kind: u8) -> Self {
        let mut t = ports(source.1, destination.1);
        t.extend(tag.to_be_bytes());
        t.extend([0; 4]);
        t.extend([kind, 0, 0, 20, 0xc0, 0xff, 0xee, 0x11, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0x10, 0]);
        let sum = checksum::crc32c(&t).to_le_bytes();
        t[8..12].copy_from_slice(&sum);
        Self::new(source.0, destination.0, SCTP, t).without_sum()
    }

    /// ICMP or ICMPv6, after the addresses' family; `rest` is the second word of its header.
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Self {
        let mut t = vec![kind, code, 0, 0];
        t.extend(rest);
        t.extend(body);
        Self::new(source, destination, if source.is_ipv4() { ICMP } else { ICMPV6 }, t)
    }

    pub fn ping(source: IpAddr, destination: IpAddr, id: u16) -> Self {
        let kind = if source.is_ipv4() { 8 } else { 128 };
        Self::icmp(source, destination, kind, 0, echo(id), b"ping body")
    }

    pub fn pong(source: IpAddr, destination: IpAddr, id: u16) -> Self {
        let kind = if source.is_ipv4() { 0 } else { 129 };
        Self::icmp(source, destination, kind, 0, echo(id), b"ping body")
    }

    /// Any transport, given whole.
    pub fn raw(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> Self {
        Self::new(source, destination, protocol, body.to_vec()).without_sum()
    }

    #[must_use]
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.source = address;
        self
    }
    #[must_use]
    pub fn to(mut self, address: IpAddr) -> Self {
        self.destination = address;
        self
    }
    /// Another source port (ICMP query: id).
    #[must_use]
    pub fn source_port(mut self, port: u16) -> Self {
        let at = if matches!(self.protocol, ICMP | ICMPV6) { 4 } else { 0 };
        self.transport[at..at + 2].copy_from_slice(&port.to_be_bytes());
        self
    }
    /// Another destination port (ICMP query: id).
    #[must_use]
    pub fn destination_port(mut self, port: u16) -> Self {
        let at = if matches!(self.protocol, ICMP | ICMPV6) { 4 } else { 2 };
        self.transport[at..at + 2].copy_from_slice(&port.to_be_bytes());
        self
    }
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }
    /// One hop further.
    #[must_use]
    pub fn hop(mut self) -> Self {
        self.ttl -= 1;
        self
    }
    #[must_use]
    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }
    #[must_use]
    pub fn may_fragment(mut self) -> Self {
        self.dont_fragment = false;
        self
    }
    #[must_use]
    pub fn piece(mut self, offset: u16, more: bool, id: u32) -> Self {
        self.piece = Some(Piece { offset, more, id });
        self.dont_fragment = false;
        // What a later piece starts with is payload; what a first one's sum covers is not all there.
        self.sum = self.sum && offset == 0;
        self
    }
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        assert_eq!(options.len() % 4, 0);
        self.options = options.to_vec();
        self
    }
    #[must_use]
    pub fn extension(mut self, kind: u8, content: &[u8]) -> Self {
        self.extensions.push((kind, content.to_vec()));
        self
    }
    /// Payload until the IP packet has this many bytes.
    #[must_use]
    pub fn sized(mut self, ip_bytes: usize) -> Self {
        let have = self.bytes().len() - ETHERNET;
        self.transport.resize(self.transport.len() + ip_bytes - have, 0xa5);
        self
    }
    #[must_use]
    pub fn without_sum(mut self) -> Self {
        self.sum = false;
        self
    }

    /// The transport header and what it carries, with its checksum.
    pub fn transport_bytes(&self) -> Vec<u8> {
        let bytes = self.bytes();
        bytes[bytes.len() - self.transport.len()..].to_vec()
    }

    /// From the IP header on.
    pub fn ip_bytes(&self) -> Vec<u8> {
        self.bytes().split_off(ETHERNET)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut transport = self.transport.clone();
        if self.has_length {
            let length = (transport.len() as u16).to_be_bytes();
            transport[4..6].copy_from_slice(&length);
        }
        if self.sum {
            checksum::fill(self.source, self.destination, self.protocol, &mut transport);
        }
        let mut bytes = [self.destination_mac, self.source_mac].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend([8, 0]);
                let header = 20 + self.options.len();
                let mut position = if self.dont_fragment { 0x4000 } else { 0 };
                let mut id = 0;
                if let Some(p) = self.piece {
                    position = p.offset | if p.more { 0x2000 } else { 0 };
                    id = p.id as u16;
                }
                let mut ip = vec![0x40 | (header / 4) as u8, self.class];
                ip.extend(((header + transport.len()) as u16).to_be_bytes());
                ip.extend(id.to_be_bytes());
                ip.extend(position.to_be_bytes());
                ip.extend([self.ttl, self.protocol, 0, 0]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                ip.extend(&self.options);
                let sum = checksum::of(&[&ip]).to_be_bytes();
                ip[10..12].copy_from_slice(&sum);
                bytes.extend(ip);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend([0x86, 0xdd]);
                let mut extensions = self.extensions.clone();
                if let Some(p) = self.piece {
                    let position = p.offset << 3 | u16::from(p.more);
                    let mut content = vec![0, 0];
                    content.extend(position.to_be_bytes());
                    content.extend(p.id.to_be_bytes());
                    extensions.push((44, content));
                }
                let payload: usize = extensions.iter().map(|(_, c)| c.len()).sum::<usize>() + transport.len();
                let first = extensions.first().map_or(self.protocol, |e| e.0);
                bytes.extend([0x60 | self.class >> 4, self.class << 4, 0, 0]);
                bytes.extend((payload as u16).to_be_bytes());
                bytes.extend([first, self.ttl]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                for i in 0..extensions.len() {
                    let next = extensions.get(i + 1).map_or(self.protocol, |e| e.0);
                    let content = &mut extensions[i].1;
                    content[0] = next;
                    bytes.extend_from_slice(content);
                }
            }
            _ => panic!("both ends are of one family"),
        }
        bytes.extend(transport);
        bytes
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn echo(id: u16) -> [u8; 4] {
    let [a, b] = id.to_be_bytes();
    [a, b, 0, 7]
}

/// A frame that is no IP packet.
pub fn frame(source_mac: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend(source_mac);
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// `bytes` with some replaced: at an offset from the IP header.
pub fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[ETHERNET + at..ETHERNET + at + with.len()].copy_from_slice(with);
    bytes
}

/// The first `ip_bytes` of the IP packet only.
pub fn cut(mut bytes: Vec<u8>, ip_bytes: usize) -> Vec<u8> {
    bytes.truncate(ETHERNET + ip_bytes);
    bytes
}
