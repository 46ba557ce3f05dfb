//! Refusing at once what nothing serves: a TCP client gets a reset, as from a host without a listener (RFC 9293
//! §3.10.7.1), any other "port unreachable". Clients know both as "connection refused".

use aya_ebpf::helpers::generated::bpf_skb_change_tail;
use datapath_layouts::DropReason;
use packet_headers::protocol::{self, tcp};
use packet_headers::{ETHERNET_HEADER, Packet, flags};

use crate::answer::{begun_checksum, fold, send_back, sum};
use crate::code;
use crate::events;
use crate::icmp_error;
use crate::scratch::Scratch;
use crate::skb::Skb;

/// Ends a program: as [`icmp_error::answer_or_drop`], and refuses what nothing serves.
#[inline(always)]
pub fn answer_or_drop(skb: Skb, s: &mut Scratch, reason: DropReason) -> i32 {
    let unused = reason == DropReason::ServiceAddress && s.unused_port != 0;
    if reason != DropReason::NoBackend && !unused {
        return icmp_error::answer_or_drop(skb, s, reason);
    }
    match s.headers.protocol {
        protocol::TCP if has_plain_header(s) => {
            // Nobody answers a reset with a reset.
            if s.headers.tcp_flags & tcp::RST != 0 {
                return events::dropped(skb, s, reason);
            }
            match code::decode_verdict(reset_code(skb, s, reason)) {
                Ok(verdict) => verdict,
                Err(reason) => events::dropped(skb, s, reason),
            }
        }
        protocol::TCP | protocol::UDP | protocol::SCTP => icmp_error::answer_or_drop(skb, s, DropReason::NoBackend),
        _ => events::dropped(skb, s, reason),
    }
}

/// The reset takes the place of the TCP header, so that has to lie where it will: without options or extension headers
/// before it, and in a whole datagram.
#[inline(always)]
fn has_plain_header(s: &Scratch) -> bool {
    let plain = ETHERNET_HEADER + if s.headers.is(flags::V6) { 40 } else { 20 };
    s.headers.l4_offset == plain && !s.headers.is(flags::FIRST_FRAGMENT | flags::LATER_FRAGMENT)
}

/// Length of a TCP header without options.
const TCP_HEADER: u32 = 20;
/// Offset of the checksum in it.
const CHECKSUM: u32 = 16;

#[inline(never)]
fn reset_code(skb: Skb, s: &mut Scratch, reason: DropReason) -> i32 {
    code::encode_verdict(reset(skb, s, reason))
}

#[inline(always)]
fn reset(skb: Skb, s: &mut Scratch, reason: DropReason) -> Result<i32, DropReason> {
    let l4 = s.headers.l4_offset;
    let Some(numbers) = skb.load::<8>(l4 + 4) else { return Err(reason) };
    let [s3, s2, s1, s0, a3, a2, a1, a0] = numbers;
    let bits = s.headers.tcp_flags;
    let (sequence, acknowledged, answer) = if bits & tcp::ACK != 0 {
        (u32::from_be_bytes([a3, a2, a1, a0]), 0, tcp::RST)
    } else {
        // What it would have acknowledged: the data, and one each for SYN and FIN.
        let data = (s.headers.length + ETHERNET_HEADER).wrapping_sub(l4 + u32::from(s.headers.transport_header));
        let marks = u32::from(bits & tcp::SYN != 0) + u32::from(bits & tcp::FIN != 0);
        let received = u32::from_be_bytes([s3, s2, s1, s0]).wrapping_add(data).wrapping_add(marks);
        (0, received, tcp::RST | tcp::ACK)
    };
    let partial = begun_checksum(skb, l4 + CHECKSUM)?.is_some();
    // SAFETY: plain helper call; the packet has this many bytes, for its TCP header was read.
    if unsafe { bpf_skb_change_tail(skb.0, l4 + TCP_HEADER, 0) } != 0 {
        return Err(reason);
    }
    events::dropped(skb, s, reason);

    let (to, from) = (s.headers.source_port.to_be_bytes(), s.headers.destination_port.to_be_bytes());
    let (n, a) = (sequence.to_be_bytes(), acknowledged.to_be_bytes());
    let mut header = [
        from[0], from[1], to[0], to[1], n[0], n[1], n[2], n[3], a[0], a[1], a[2], a[3], 0x50, answer, 0, 0, 0, 0, 0, 0,
    ];
    let pseudo = pseudo_sum(s)?;
    let check = if partial { fold(pseudo) } else { !fold(sum(&header, pseudo)?) };
    [header[16], header[17]] = check.to_ne_bytes();
    skb.store(l4, &header)?;
    if s.headers.is(flags::V6) {
        skb.store(ETHERNET_HEADER, &[0x60, 0, 0, 0, 0, TCP_HEADER as u8, protocol::TCP, 64])?;
        skb.store(ETHERNET_HEADER + 8, &s.headers.destination.0)?;
        skb.store(ETHERNET_HEADER + 24, &s.headers.source.0)?;
    } else {
        let (f, t) = (s.headers.destination.v4_octets(), s.headers.source.v4_octets());
        let mut ip =
            [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol::TCP, 0, 0, f[0], f[1], f[2], f[3], t[0], t[1], t[2], t[3]];
        [ip[10], ip[11]] = (!fold(sum(&ip, 0)?)).to_ne_bytes();
        skb.store(ETHERNET_HEADER, &ip)?;
    }
    send_back(skb, s)
}

/// Sum over the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) of a TCP header alone, which direction ever.
#[inline(always)]
fn pseudo_sum(s: &Scratch) -> Result<u32, DropReason> {
    let tail = [0, 0, 0, TCP_HEADER as u8, 0, 0, 0, protocol::TCP];
    if s.headers.is(flags::V6) {
        return sum(&tail, sum(&s.headers.source.0, sum(&s.headers.destination.0, 0)?)?);
    }
    let addresses = sum(&s.headers.source.v4_octets(), sum(&s.headers.destination.v4_octets(), 0)?)?;
    sum(&tail, addresses)
}
