//! The packet in the kernel: bounded reads and writes through helpers.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use datapath_layouts::{Address, DropReason};
use packet_headers::Packet;

use crate::config::config;

/// A packet at a tc hook.
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

impl Packet for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes exactly N bytes on success, and we read them only then.
        unsafe {
            if bpf_skb_load_bytes(self.0.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) == 0 {
                Some(bytes.assume_init())
            } else {
                None
            }
        }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context pointer is valid for the program's run.
        unsafe { (*self.0).len }
    }
}

impl Skb {
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).ifindex }
    }
    /// The frame was addressed to another MAC (`PACKET_OTHERHOST`, `linux/if_packet.h`).
    #[inline(always)]
    pub fn is_for_another_machine(self) -> bool {
        const OTHER_HOST: u32 = 3;
        // SAFETY: as above.
        unsafe { (*self.0).pkt_type == OTHER_HOST }
    }
    #[inline(always)]
    pub fn mark(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).mark }
    }
    #[inline(always)]
    pub fn set_mark(self, mark: u32) {
        // SAFETY: as above.
        unsafe { (*self.0).mark = mark }
    }
    #[inline(always)]
    pub fn gso_size(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).gso_size }
    }
    #[inline(always)]
    pub fn gso_segments(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).gso_segs }
    }

    #[inline(always)]
    pub fn store<const N: usize>(self, offset: u32, bytes: &[u8; N]) -> Result<(), DropReason> {
        // SAFETY: `bytes` holds N bytes.
        match unsafe { bpf_skb_store_bytes(self.0, offset, bytes.as_ptr().cast(), N as u32, 0) } {
            0 => Ok(()),
            _ => Err(DropReason::WriteError),
        }
    }

    /// Replaces an IPv4 address (or any 4 bytes) in the IPv4 header checksum at `checksum`.
    #[inline(always)]
    pub fn replace_l3(self, checksum: u32, from: u32, to: u32, size: u64) -> Result<(), DropReason> {
        // SAFETY: plain helper call.
        match unsafe { bpf_l3_csum_replace(self.0, checksum, u64::from(from), u64::from(to), size) } {
            0 => Ok(()),
            _ => Err(DropReason::L3Checksum),
        }
    }

    /// Replaces a port or id (2 bytes, as they stand in memory) in the transport checksum.
    #[inline(always)]
    pub fn replace_port(self, checksum: u32, from: u16, to: u16, udp: bool) -> Result<(), DropReason> {
        let flags = 2 | if udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        // SAFETY: plain helper call.
        match unsafe { bpf_l4_csum_replace(self.0, checksum, u64::from(from), u64::from(to), flags) } {
            0 => Ok(()),
            _ => Err(DropReason::L4Checksum),
        }
    }

    /// Replaces an address in the transport checksum at `checksum`. `pseudo`: the address counts through the pseudo
    /// header (else it stands in the checksummed bytes themselves, as in an ICMPv6 error's quote).
    #[inline(always)]
    pub fn replace_address(
        self,
        checksum: u32,
        from: &Address,
        to: &Address,
        pseudo: bool,
        udp: bool,
    ) -> Result<(), DropReason> {
        let mut flags = if udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
        if pseudo {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        let result = if from.is_v4() {
            let (a, b) = (from.words()[3], to.words()[3]);
            // SAFETY: plain helper call.
            unsafe { bpf_l4_csum_replace(self.0, checksum, u64::from(a), u64::from(b), flags | 4) }
        } else {
            if pseudo {
                flags |= u64::from(config!(csum_ipv6_flag));
            }
            // SAFETY: both point to 16 readable bytes.
            unsafe {
                let difference =
                    bpf_csum_diff(from.0.as_ptr().cast_mut().cast(), 16, to.0.as_ptr().cast_mut().cast(), 16, 0);
                if difference < 0 {
                    return Err(DropReason::L4Checksum);
                }
                bpf_l4_csum_replace(self.0, checksum, 0, difference as u64, flags)
            }
        };
        if result == 0 { Ok(()) } else { Err(DropReason::L4Checksum) }
    }
}
