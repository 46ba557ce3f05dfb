//! Reading packets: from bytes to the few facts that decisions need. The same code runs in the kernel programs and,
//! on byte slices, in tests and in `explain`.
//!
//! Everything here is hostile input: each read is bounded, each loop has a constant limit, and a header that
//! contradicts itself is an error with a [`DropReason`].
//!
//! Invariant: reads only; nothing here writes into a packet or knows a map.
#![no_std]
#![forbid(unsafe_code)]

mod icmp;
mod ip;
mod parse;
pub mod protocol;

pub use icmp::is_neighbour_chatter;
pub use parse::{Content, Headers, flags, parse, parse_outer, parse_quoted};

/// Bytes to read from: a packet in the kernel, or a slice.
pub trait Packet {
    /// `N` bytes from `offset` (from the start of the Ethernet frame); `None` where the packet ends before.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// Length of the whole frame, bytes.
    fn length(&self) -> u32;
}

impl Packet for [u8] {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }
}

/// Length of an Ethernet header without a VLAN tag (tc sees the tag as metadata).
pub const ETHERNET_HEADER: u32 = 14;
