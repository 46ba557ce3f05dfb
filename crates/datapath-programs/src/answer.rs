//! What the answers to a sender share, whether ICMP error or reset: checksums, and the way back.

use aya_ebpf::bindings::BPF_F_INGRESS;
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_redirect, bpf_redirect_peer};
use datapath_layouts::{DropReason, ObservationPoint};
use packet_headers::Packet;

use crate::scratch::Scratch;
use crate::skb::Skb;

/// One's complement sum of `bytes` (a multiple of four) on top of `seed`.
#[inline(always)]
pub fn sum<const N: usize>(bytes: &[u8; N], seed: u32) -> Result<u32, DropReason> {
    // SAFETY: `bytes` holds N readable bytes; nothing is subtracted.
    let result = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.as_ptr().cast_mut().cast(), N as u32, seed) };
    if result < 0 { Err(DropReason::L4Checksum) } else { Ok(result as u32) }
}

/// To 16 bits, in the byte order of memory.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// What the transport checksum at `field` holds when it is only begun and a device is to complete it (CHECKSUM_PARTIAL,
/// `include/linux/skbuff.h`); `None` when it is finished. Nothing tells a program that, but the kernel takes up a change
/// of the data into a finished checksum only. The packet stays as it is.
#[inline(always)]
pub fn begun_checksum(skb: Skb, field: u32) -> Result<Option<[u8; 2]>, DropReason> {
    let Some(before) = skb.load::<2>(field) else { return Ok(None) };
    skb.replace_port(field, 0, 1, false)?;
    if skb.load::<2>(field) == Some(before) {
        return Ok(Some(before));
    }
    skb.store(field, &before)?;
    Ok(None)
}

/// With the MAC addresses swapped, to where the packet came from.
#[inline(always)]
pub fn send_back(skb: Skb, s: &Scratch) -> Result<i32, DropReason> {
    let Some(macs) = skb.load::<12>(0) else { return Err(DropReason::WriteError) };
    let [a, b, c, d, e, f, g, h, i, j, k, l] = macs;
    skb.store(0, &[g, h, i, j, k, l, a, b, c, d, e, f])?;
    // SAFETY: plain helper calls.
    Ok(unsafe {
        if s.point == ObservationPoint::FromEndpoint as u8 {
            bpf_redirect_peer(skb.ifindex(), 0)
        } else if s.point == ObservationPoint::FromHost as u8 {
            // The host's own stack has sent it: back up into that.
            bpf_redirect(skb.ifindex(), u64::from(BPF_F_INGRESS))
        } else {
            bpf_redirect(skb.ifindex(), 0)
        }
    } as i32)
}
