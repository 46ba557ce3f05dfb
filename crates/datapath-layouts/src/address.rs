//! Addresses as keys.

use crate::layout;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IP address in network byte order; IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2). A packet whose IPv6 header
/// carries such an address is refused by the parser, so the two families can never be mistaken for each other.
/// Aligned to four bytes, so that the kernel programs copy and compare it in words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// `::`; also "none".
    pub const ZERO: Self = Self([0; 16]);
    /// `0.0.0.0`, the IPv4 wildcard of NodePort frontends.
    pub const V4_ANY: Self = Self::from_v4([0, 0, 0, 0]);
    /// Bits that stand before an IPv4 address in its mapped form.
    pub const V4_PREFIX_BITS: u32 = 96;

    /// `::ffff:a.b.c.d`.
    #[must_use]
    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// From four words in network order, as they lie: how the kernel's structures have an IPv6 address. The inverse of [`Self::words`].
    #[must_use]
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let mut out = [0; 16];
        let mut i = 0;
        while i < 4 {
            let b = words[i].to_ne_bytes();
            out[i * 4] = b[0];
            out[i * 4 + 1] = b[1];
            out[i * 4 + 2] = b[2];
            out[i * 4 + 3] = b[3];
            i += 1;
        }
        Self(out)
    }

    /// From whichever family; a v4-mapped IPv6 address becomes the IPv4 one, as sockets treat it.
    #[must_use]
    pub const fn from_ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let w = self.words();
        w[0] == 0 && w[1] == 0 && w[2] == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// The last four bytes: the address itself when [`Self::is_v4`].
    #[must_use]
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        let b = &self.0;
        [b[12], b[13], b[14], b[15]]
    }

    /// Whether all bytes are zero ("none").
    #[must_use]
    #[inline(always)]
    pub fn is_zero(&self) -> bool {
        let w = self.words();
        (w[0] | w[1] | w[2] | w[3]) == 0
    }

    /// Four native-endian words, for comparing without a byte loop.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let b = &self.0;
        [
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ]
    }

    /// Equality on words; the derived one may become a call to `memcmp`, which the kernel has not.
    #[must_use]
    #[inline(always)]
    pub fn same(&self, other: &Self) -> bool {
        let (a, b) = (self.words(), other.words());
        ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0
    }

    /// As people write it.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        if self.is_v4() { IpAddr::V4(Ipv4Addr::from(self.v4_octets())) } else { IpAddr::V6(Ipv6Addr::from(self.0)) }
    }
}

/// As one number: the derived one would write the array's length and its bytes.
impl core::hash::Hash for Address {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.to_ip(), f)
    }
}

impl core::fmt::Debug for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.to_ip(), f)
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self::from_ip(ip)
    }
}

layout! {
    /// An address and the cluster that gave it; 0 is the own cluster. Exact-match key.
    pub struct AddressKey, 20 {
        /// The address.
        pub address: Address,
        /// Cluster id, as carried in the upper 8 bits of the VNI; 0 = own cluster.
        pub cluster: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

impl AddressKey {
    /// An address of the own cluster.
    #[must_use]
    #[inline(always)]
    pub const fn local(address: Address) -> Self {
        Self { address, cluster: 0, reserved: [0; 3] }
    }
}

layout! {
    /// Longest-prefix key. `prefix_len` counts from `cluster` on: 32 bits of cluster, then the address (an IPv4 prefix
    /// of n bits is 96 + n). `bpf_lpm_trie_key` of `linux/bpf.h`.
    pub struct PrefixKey, 24 {
        /// Bits of what follows that must match; host byte order.
        pub prefix_len: u32,
        /// Cluster id; 0 = own cluster.
        pub cluster: u8,
        /// Zero.
        pub reserved: [u8; 3],
        /// The prefix; bits behind the length are zero.
        pub address: Address,
    }
}

impl PrefixKey {
    /// Bits before the address.
    pub const HEAD_BITS: u32 = 32;
    /// A whole address.
    pub const FULL: u32 = Self::HEAD_BITS + 128;

    /// Key that looks up one address of the own cluster.
    #[must_use]
    #[inline(always)]
    pub const fn lookup(address: Address) -> Self {
        Self { prefix_len: Self::FULL, cluster: 0, reserved: [0; 3], address }
    }

    /// A prefix as people write it; bits behind the length are cleared.
    #[must_use]
    pub fn from_ip(ip: IpAddr, length: u8) -> Self {
        let address = Address::from_ip(ip);
        let bits = u32::from(length) + if address.is_v4() { Address::V4_PREFIX_BITS } else { 0 };
        let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits.min(128)) };
        let address = Address((u128::from_be_bytes(address.0) & mask).to_be_bytes());
        Self { prefix_len: Self::HEAD_BITS + bits.min(128), cluster: 0, reserved: [0; 3], address }
    }

    /// Back to address and length as people write them.
    #[must_use]
    pub fn to_ip(&self) -> (IpAddr, u8) {
        let bits = self.prefix_len.saturating_sub(Self::HEAD_BITS).min(128);
        let v4 = self.address.is_v4() && bits >= Address::V4_PREFIX_BITS;
        let length = if v4 { bits - Address::V4_PREFIX_BITS } else { bits };
        (self.address.to_ip(), length as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_do_not_mix() {
        let v4 = Address::from_ip("10.0.0.1".parse().unwrap());
        assert!(v4.is_v4() && v4.v4_octets() == [10, 0, 0, 1]);
        assert!(!Address::from_ip("fd00::1".parse().unwrap()).is_v4());
        assert!(!Address::ZERO.is_v4() && Address::V4_ANY.is_v4());
    }

    #[test]
    fn words_are_bytes_as_they_lie_and_lead_back() {
        let words = [0xfd00_0010u32.to_be(), 0x0244_0000u32.to_be(), 0, 0x0000_0102u32.to_be()];
        let address = Address::from_words(words);
        assert_eq!((address, address.words()), (Address::from_ip("fd00:10:244::102".parse().unwrap()), words));
    }

    #[test]
    fn prefixes_round_trip_and_are_masked() {
        for (ip, length, masked) in [
            ("10.244.1.7", 24, "10.244.1.0"),
            ("0.0.0.0", 0, "0.0.0.0"),
            ("fd00:10::9", 64, "fd00:10::"),
            ("::", 0, "::"),
        ] {
            let key = PrefixKey::from_ip(ip.parse().unwrap(), length);
            assert_eq!(key.to_ip(), (masked.parse().unwrap(), length));
        }
    }
}
