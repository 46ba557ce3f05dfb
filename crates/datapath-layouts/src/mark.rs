//! The one layout of `skb->mark`. Whoever reads or writes the mark goes through here.
//!
//! ```text
//!  31      24 23                8 7        0
//! +----------+-------------------+----------+
//! |   kind   |  identity (16)    | reserved |
//! +----------+-------------------+----------+
//! ```
//! Bits 0–7 are left to others (kube-proxy's 0x4000/0x8000 lie in ours, but the two never run together). Kind 0x4d
//! (`PROXY`) with an `ip rule` to a local table is reserved for redirection to the L7 proxy.

/// Set by a program that has already given the packet its tunnel key: `to_overlay` leaves it alone.
pub const ENCAPSULATED: u32 = 0x4c << 24;
/// The packet was judged and may leave with a Pod's address (native routing).
pub const FORWARDED: u32 = 0x4e << 24;
/// Reserved: steered to the L7 proxy.
pub const PROXY: u32 = 0x4d << 24;
/// Mask of the kind.
pub const KIND_MASK: u32 = 0xff << 24;

/// Mark of this kind, carrying an identity.
#[must_use]
#[inline(always)]
pub const fn with_identity(kind: u32, identity: u32) -> u32 {
    kind | ((identity & 0xffff) << 8)
}

/// The kind's bits.
#[must_use]
#[inline(always)]
pub const fn kind(mark: u32) -> u32 {
    mark & KIND_MASK
}
