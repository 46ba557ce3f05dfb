//! The packet at an XDP hook: the same bounded reads and writes, before there is a socket buffer.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_head, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use packet_headers::Packet;

/// A frame as the device's driver has it.
#[derive(Clone, Copy)]
pub struct Xdp(pub *mut xdp_md);

impl Packet for Xdp {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper (since Linux 5.18) writes exactly N bytes on success, and we read them only then.
        unsafe {
            if bpf_xdp_load_bytes(self.0, offset, bytes.as_mut_ptr().cast(), N as u32) == 0 {
                Some(bytes.assume_init())
            } else {
                None
            }
        }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: plain helper call (since Linux 5.18).
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }
}

impl Xdp {
    /// Writes `N` bytes; false where the packet ends before.
    #[inline(always)]
    pub fn store<const N: usize>(self, offset: u32, bytes: &[u8; N]) -> bool {
        // SAFETY: the helper reads exactly N bytes.
        unsafe { bpf_xdp_store_bytes(self.0, offset, bytes.as_ptr().cast_mut().cast(), N as u32) == 0 }
    }

    /// Room for `bytes` more before the frame; false where the driver left less.
    #[inline(always)]
    pub fn grow(self, bytes: u32) -> bool {
        // SAFETY: plain helper call; nobody here holds a packet pointer.
        unsafe { bpf_xdp_adjust_head(self.0, -(bytes as i32)) == 0 }
    }
}
