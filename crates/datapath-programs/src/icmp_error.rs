//! Telling a sender what is wrong, as a router does: "packet too big" and "time exceeded", and "port unreachable" for a
//! service without backends, which clients know as "connection refused" (RFC 792, RFC 1191, RFC 4443 §3.1–3.3). The packet itself becomes the answer and goes back where it came from.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_redirect, bpf_redirect_peer, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes,
};
use datapath_layouts::{Address, DropReason, ObservationPoint};
use packet_headers::{ETHERNET_HEADER, Packet, flags, protocol};

use crate::code;
use crate::config::config;
use crate::events;
use crate::scratch::Scratch;
use crate::skb::Skb;

/// Ends a program: a drop whose sender is to be told becomes the answer, any other is reported.
#[inline(always)]
pub fn answer_or_drop(skb: Skb, s: &mut Scratch, reason: DropReason) -> i32 {
    let answered = match reason {
        DropReason::PacketTooBig => too_big(skb, s, s.mtu),
        DropReason::TtlExceeded => time_exceeded(skb, s),
        DropReason::NoBackend => unreachable(skb, s),
        _ => Err(reason),
    };
    match answered {
        Ok(verdict) => verdict,
        Err(reason) => events::dropped(skb, s, reason),
    }
}

/// The packet exceeds `mtu` bytes on its way.
#[inline(always)]
fn too_big(skb: Skb, s: &mut Scratch, mtu: u32) -> Result<i32, DropReason> {
    code::decode_verdict(too_big_code(skb, s, mtu))
}

#[inline(never)]
fn too_big_code(skb: Skb, s: &mut Scratch, mtu: u32) -> i32 {
    code::encode_verdict(answer_too_big(skb, s, mtu))
}

#[inline(always)]
fn answer_too_big(skb: Skb, s: &mut Scratch, mtu: u32) -> Result<i32, DropReason> {
    if s.headers.is(flags::V6) {
        answer_v6(skb, s, 2, 0, mtu, DropReason::PacketTooBig)
    } else {
        answer_v4(skb, s, 3, 4, mtu, DropReason::PacketTooBig)
    }
}

/// No hop is left.
#[inline(always)]
fn time_exceeded(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    code::decode_verdict(time_exceeded_code(skb, s))
}

#[inline(never)]
fn time_exceeded_code(skb: Skb, s: &mut Scratch) -> i32 {
    code::encode_verdict(answer_time_exceeded(skb, s))
}

#[inline(always)]
fn answer_time_exceeded(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    if s.headers.is(flags::V6) {
        answer_v6(skb, s, 3, 0, 0, DropReason::TtlExceeded)
    } else {
        answer_v4(skb, s, 11, 0, 0, DropReason::TtlExceeded)
    }
}

/// Nothing serves there.
#[inline(always)]
fn unreachable(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    code::decode_verdict(unreachable_code(skb, s))
}

#[inline(never)]
fn unreachable_code(skb: Skb, s: &mut Scratch) -> i32 {
    code::encode_verdict(answer_unreachable(skb, s))
}

#[inline(always)]
fn answer_unreachable(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    if s.headers.is(flags::V6) {
        answer_v6(skb, s, 1, 4, 0, DropReason::NoBackend)
    } else {
        answer_v4(skb, s, 3, 3, 0, DropReason::NoBackend)
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

#[inline(always)]
fn fold(sum: u64) -> [u8; 2] {
    let mut sum = (sum & 0xffff_ffff) as u32;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_ne_bytes()
}

/// One's complement sum of `bytes` (a multiple of four) on top of `seed`.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8; N], seed: u32) -> Result<u64, DropReason> {
    // SAFETY: `bytes` holds N readable bytes; nothing is subtracted.
    let result = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.as_ptr().cast_mut().cast(), N as u32, seed) };
    if result < 0 { Err(DropReason::L4Checksum) } else { Ok(result as u64) }
}

/// The start of the packet into the scratch: too large for the stack beside the new headers.
#[inline(always)]
fn load_quote<const Q: usize>(skb: Skb, s: &mut Scratch, reason: DropReason) -> Result<(), DropReason> {
    // SAFETY: Q is at most the buffer's 64 bytes.
    let failed =
        unsafe { bpf_skb_load_bytes(skb.0.cast(), ETHERNET_HEADER, s.quote.as_mut_ptr().cast(), Q as u32) } != 0;
    if failed { Err(reason) } else { Ok(()) }
}

/// The sum of the quote, `IP` bytes of it the IP header, on top of `seed`, as it will leave: where a device is still to
/// complete the quoted transport checksum, it does so after we have summed up.
#[inline(always)]
fn sum_quote<const Q: usize, const IP: usize>(s: &Scratch, seed: u32) -> Result<u64, DropReason> {
    let start = s.quote.as_ptr();
    let (length, seed) = match pending_checksum::<IP>(&s.quote) {
        // From the transport header on, the packet sums up to the complement of what the sender began with: that is
        // what completing it means.
        Some(begun) => (IP, sum(&[!begun[0], !begun[1], 0, 0], seed)? as u32),
        None => (Q, seed),
    };
    // SAFETY: as above; nothing is subtracted.
    let result = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, start.cast_mut().cast(), length as u32, seed) };
    if result < 0 { Err(DropReason::L4Checksum) } else { Ok(result as u64) }
}

/// The checksum field of the quoted TCP or UDP header while it holds only the sum of the pseudo header, as a sender
/// leaves it to its device (CHECKSUM_PARTIAL, `include/linux/skbuff.h`), which nothing else tells a program. A finished
/// checksum has the same value once in 65,536 packets: the answer to that one is then refused by its reader.
#[inline(always)]
fn pending_checksum<const IP: usize>(quote: &[u8; 64]) -> Option<[u8; 2]> {
    let word = |at: usize| u32::from(u16::from_be_bytes([quote[at], quote[at + 1]]));
    let (first, transport, length) = if IP == 20 {
        if quote[0] != 0x45 {
            return None;
        }
        (12, quote[9], word(2).wrapping_sub(20))
    } else {
        (8, quote[6], word(4))
    };
    let field = match transport {
        protocol::TCP => IP + 16,
        protocol::UDP => IP + 6,
        _ => return None,
    };
    let mut sum = u32::from(transport) + length;
    let mut at = first;
    while at < IP {
        sum += word(at);
        at += 2;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    if word(field) == sum { Some([quote[field], quote[field + 1]]) } else { None }
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
    let (from, to) = (config!(node_ipv4), s.headers.source);
    let length = (28 + Q) as u16;
    let [m1, m0] = (mtu as u16).to_be_bytes();
    let mut icmp = [kind, subtype, 0, 0, 0, 0, m1, m0];
    let check = fold(sum_quote::<Q, 20>(s, sum(&icmp, 0)? as u32)?);
    icmp[2] = check[0];
    icmp[3] = check[1];
    let [l1, l0] = length.to_be_bytes();
    let (f, t) = (from.v4_octets(), to.v4_octets());
    let mut ip =
        [0x45, 0xc0, l1, l0, 0, 0, 0, 0, 64, protocol::ICMP, 0, 0, f[0], f[1], f[2], f[3], t[0], t[1], t[2], t[3]];
    let check = fold(sum(&ip, 0)?);
    ip[10] = check[0];
    ip[11] = check[1];
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
    let (from, to): (Address, Address) = (config!(node_ipv6), s.headers.source);
    let payload = (8 + Q) as u16;
    let [p1, p0] = payload.to_be_bytes();
    let m = mtu.to_be_bytes();
    let mut icmp = [kind, subtype, 0, 0, m[0], m[1], m[2], m[3]];
    // Pseudo header (RFC 8200 §8.1): both addresses, length, next header.
    let tail = [0, 0, p1, p0, 0, 0, 0, protocol::ICMPV6];
    let addresses = sum(&to.0, sum(&from.0, 0)? as u32)? as u32;
    let check = fold(sum_quote::<Q, 40>(s, sum(&icmp, sum(&tail, addresses)? as u32)? as u32)?);
    icmp[2] = check[0];
    icmp[3] = check[1];
    make_room(skb, s, Q as u32, 48, reason)?;
    skb.store(ETHERNET_HEADER, &[0x60, 0, 0, 0, p1, p0, protocol::ICMPV6, 64])?;
    skb.store(ETHERNET_HEADER + 8, &from.0)?;
    skb.store(ETHERNET_HEADER + 24, &to.0)?;
    skb.store(ETHERNET_HEADER + 40, &icmp)?;
    send_back(skb, s)
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

/// With the MAC addresses swapped, to where it came from.
#[inline(always)]
fn send_back(skb: Skb, s: &mut Scratch) -> Result<i32, DropReason> {
    let Some(macs) = skb.load::<12>(0) else { return Err(DropReason::WriteError) };
    let mut swapped = [0u8; 12];
    let mut i = 0;
    while i < 6 {
        swapped[i] = macs[6 + i];
        swapped[6 + i] = macs[i];
        i += 1;
    }
    skb.store(0, &swapped)?;
    // SAFETY: plain helper calls.
    Ok(unsafe {
        if s.point == ObservationPoint::FromEndpoint as u8 {
            bpf_redirect_peer(skb.ifindex(), 0)
        } else {
            bpf_redirect(skb.ifindex(), 0)
        }
    } as i32)
}
