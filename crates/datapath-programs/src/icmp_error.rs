//! Telling a sender what is wrong, as a router does: "packet too big" and "time exceeded", and "port unreachable" for a
//! service without backends, which clients know as "connection refused" (RFC 792, RFC 1191, RFC 4443 §3.1–3.3). The packet
//! itself becomes the answer and goes back where it came from.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes};
use datapath_layouts::{Address, DropReason, ObservationPoint};
use packet_headers::{ETHERNET_HEADER, Packet, flags, protocol};

use crate::answer::{begun_checksum, fold, send_back, sum};
use crate::code;
use crate::config::config;
use crate::events;
use crate::scratch::Scratch;
use crate::skb::Skb;

/// Ends a program: a drop whose sender is to be told becomes the answer, any other is reported.
#[inline(always)]
pub fn answer_or_drop(skb: Skb, s: &mut Scratch, reason: DropReason) -> i32 {
    let answered = match reason {
        DropReason::PacketTooBig | DropReason::TtlExceeded | DropReason::NoBackend => {
            code::decode_verdict(answer_code(skb, s, reason))
        }
        _ => Err(reason),
    };
    match answered {
        Ok(verdict) => verdict,
        Err(reason) => events::dropped(skb, s, reason),
    }
}

#[inline(never)]
fn answer_code(skb: Skb, s: &mut Scratch, reason: DropReason) -> i32 {
    code::encode_verdict(answer(skb, s, reason))
}

/// Type and code of each family (RFC 792, RFC 4443): too big, no hop left, nothing serves there.
#[inline(always)]
fn answer(skb: Skb, s: &mut Scratch, reason: DropReason) -> Result<i32, DropReason> {
    let (v4, v6, mtu) = match reason {
        DropReason::PacketTooBig => ((3, 4), (2, 0), s.mtu),
        DropReason::TtlExceeded => ((11, 0), (3, 0), 0),
        _ => ((3, 3), (1, 4), 0),
    };
    if s.headers.is(flags::V6) {
        answer_v6(skb, s, v6.0, v6.1, mtu, reason)
    } else {
        answer_v4(skb, s, v4.0, v4.1, mtu, reason)
    }
}

/// RFC 1122 §3.2.2: no error about an error, a later fragment, or a packet that nobody sent.
#[inline(always)]
fn answerable(s: &Scratch) -> bool {
    !s.headers.is(flags::ICMP_ERROR | flags::LATER_FRAGMENT) && s.headers.source.0[0] != 0xff
}

/// Bytes quoted, when the packet has that many: 20 behind the IP header, so that a pending checksum offload of TCP
/// still lies inside of the packet, and that Linux finds 8 bytes of transport header behind an IPv6 fragment header.
const V4_LONG: usize = 40;
const V6_LONG: usize = 60;
/// Bytes quoted of shorter packets: 8 behind the IP header (RFC 792).
const V4_SHORT: usize = 28;
const V6_SHORT: usize = 48;

/// The start of the packet into the scratch: too large for the stack beside the new headers.
#[inline(always)]
fn load_quote<const Q: usize>(skb: Skb, s: &mut Scratch, reason: DropReason) -> Result<(), DropReason> {
    // SAFETY: Q is at most the buffer's 64 bytes.
    let failed =
        unsafe { bpf_skb_load_bytes(skb.0.cast(), ETHERNET_HEADER, s.quote.as_mut_ptr().cast(), Q as u32) } != 0;
    if failed { Err(reason) } else { Ok(()) }
}

/// The checksum of the quote, `IP` bytes of it the IP header, on top of `seed`, as it will leave: where a device is still
/// to complete the quoted transport checksum, it does so after we have summed up.
#[inline(always)]
fn check_quote<const Q: usize, const IP: usize>(skb: Skb, s: &Scratch, seed: u32) -> Result<[u8; 2], DropReason> {
    let (length, seed) = match begun_in_quote::<IP>(skb, s)? {
        // From the transport header on, the packet sums up to the complement of what the sender began with: that is
        // what completing it means.
        Some(begun) => (IP, sum(&[!begun[0], !begun[1], 0, 0], seed)?),
        None => (Q, seed),
    };
    let start = s.quote.as_ptr().cast_mut().cast();
    // SAFETY: the quote holds Q bytes, and IP is fewer; nothing is subtracted.
    let result = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, start, length as u32, seed) };
    if result < 0 { Err(DropReason::L4Checksum) } else { Ok((!fold(result as u32)).to_ne_bytes()) }
}

#[inline(always)]
fn begun_in_quote<const IP: usize>(skb: Skb, s: &Scratch) -> Result<Option<[u8; 2]>, DropReason> {
    let l4 = ETHERNET_HEADER + IP as u32;
    let field = match s.headers.protocol {
        protocol::TCP => l4 + 16,
        protocol::UDP => l4 + 6,
        _ => return Ok(None),
    };
    // Behind options or extension headers senders finish their checksums themselves.
    if s.headers.l4_offset == l4 { begun_checksum(skb, field) } else { Ok(None) }
}

#[inline(always)]
fn answer_v4(
    skb: Skb,
    s: &mut Scratch,
    kind: u8,
    subtype: u8,
    mtu: u32,
    reason: DropReason,
) -> Result<i32, DropReason> {
    if !answerable(s) {
        return Err(reason);
    }
    let what = u32::from(kind) << 8 | u32::from(subtype);
    code::decode_verdict(if s.headers.length >= V4_LONG as u32 {
        build_v4_code::<V4_LONG>(skb, s, what, mtu, reason)
    } else {
        build_v4_code::<V4_SHORT>(skb, s, what, mtu, reason)
    })
}

/// Type and code in one argument, because a subprogram takes five.
#[inline(never)]
fn build_v4_code<const Q: usize>(skb: Skb, s: &mut Scratch, what: u32, mtu: u32, reason: DropReason) -> i32 {
    code::encode_verdict(build_v4::<Q>(skb, s, (what >> 8) as u8, what as u8, mtu, reason))
}

#[inline(always)]
fn build_v4<const Q: usize>(
    skb: Skb,
    s: &mut Scratch,
    kind: u8,
    subtype: u8,
    mtu: u32,
    reason: DropReason,
) -> Result<i32, DropReason> {
    load_quote::<Q>(skb, s, reason)?;
    let (from, to) = (answers_for(s, config!(node_ipv4)), s.headers.source);
    let length = (28 + Q) as u16;
    let [m1, m0] = (mtu as u16).to_be_bytes();
    let mut icmp = [kind, subtype, 0, 0, 0, 0, m1, m0];
    let check = check_quote::<Q, 20>(skb, s, sum(&icmp, 0)?)?;
    [icmp[2], icmp[3]] = check;
    let [l1, l0] = length.to_be_bytes();
    let (f, t) = (from.v4_octets(), to.v4_octets());
    let mut ip =
        [0x45, 0xc0, l1, l0, 0, 0, 0, 0, 64, protocol::ICMP, 0, 0, f[0], f[1], f[2], f[3], t[0], t[1], t[2], t[3]];
    [ip[10], ip[11]] = (!fold(sum(&ip, 0)?)).to_ne_bytes();
    make_room(skb, s, Q as u32, 28, reason)?;
    skb.store(ETHERNET_HEADER, &ip)?;
    skb.store(ETHERNET_HEADER + 20, &icmp)?;
    send_back(skb, s)
}

#[inline(always)]
fn answer_v6(
    skb: Skb,
    s: &mut Scratch,
    kind: u8,
    subtype: u8,
    mtu: u32,
    reason: DropReason,
) -> Result<i32, DropReason> {
    if !answerable(s) {
        return Err(reason);
    }
    let what = u32::from(kind) << 8 | u32::from(subtype);
    code::decode_verdict(if s.headers.length >= V6_LONG as u32 {
        build_v6_code::<V6_LONG>(skb, s, what, mtu, reason)
    } else {
        build_v6_code::<V6_SHORT>(skb, s, what, mtu, reason)
    })
}

/// Type and code in one argument, because a subprogram takes five.
#[inline(never)]
fn build_v6_code<const Q: usize>(skb: Skb, s: &mut Scratch, what: u32, mtu: u32, reason: DropReason) -> i32 {
    code::encode_verdict(build_v6::<Q>(skb, s, (what >> 8) as u8, what as u8, mtu, reason))
}

#[inline(always)]
fn build_v6<const Q: usize>(
    skb: Skb,
    s: &mut Scratch,
    kind: u8,
    subtype: u8,
    mtu: u32,
    reason: DropReason,
) -> Result<i32, DropReason> {
    load_quote::<Q>(skb, s, reason)?;
    let (from, to) = (answers_for(s, config!(node_ipv6)), s.headers.source);
    let payload = (8 + Q) as u16;
    let [p1, p0] = payload.to_be_bytes();
    let m = mtu.to_be_bytes();
    let mut icmp = [kind, subtype, 0, 0, m[0], m[1], m[2], m[3]];
    // Pseudo header (RFC 8200 §8.1): both addresses, length, next header.
    let tail = [0, 0, p1, p0, 0, 0, 0, protocol::ICMPV6];
    let addresses = sum(&to.0, sum(&from.0, 0)?)?;
    let check = check_quote::<Q, 40>(skb, s, sum(&icmp, sum(&tail, addresses)?)?)?;
    [icmp[2], icmp[3]] = check;
    make_room(skb, s, Q as u32, 48, reason)?;
    skb.store(ETHERNET_HEADER, &[0x60, 0, 0, 0, p1, p0, protocol::ICMPV6, 64])?;
    skb.store(ETHERNET_HEADER + 8, &from.0)?;
    skb.store(ETHERNET_HEADER + 24, &to.0)?;
    skb.store(ETHERNET_HEADER + 40, &icmp)?;
    send_back(skb, s)
}

/// Who tells: the node, as the router on the way. To its own stack it can't, which takes nothing from its own address
/// that comes by a device; there it is told by the address that was asked.
#[inline(always)]
fn answers_for(s: &Scratch, node: Address) -> Address {
    if s.point == ObservationPoint::FromHost as u8 { s.headers.destination } else { node }
}

/// Cuts the packet to what is quoted, makes room for the new headers before it, and reports the drop; where that can't
/// be done (some segmented packets), the caller drops it without an answer.
#[inline(always)]
fn make_room(skb: Skb, s: &mut Scratch, quoted: u32, room: i32, reason: DropReason) -> Result<(), DropReason> {
    // SAFETY: plain helper calls; the packet is longer than what it is cut to, for `quote` was read from it.
    let failed = unsafe {
        bpf_skb_change_tail(skb.0, ETHERNET_HEADER + quoted, 0) != 0
            || bpf_skb_adjust_room(skb.0, room, BPF_ADJ_ROOM_MAC, 0) != 0
    };
    if failed {
        return Err(reason);
    }
    events::dropped(skb, s, reason);
    Ok(())
}
