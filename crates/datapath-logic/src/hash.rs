//! MurmurHash3 in words, for programs and agent alike.

use datapath_layouts::Address;

/// One round of MurmurHash3's 32-bit variant (Austin Appleby, public domain).
#[inline(always)]
pub const fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// MurmurHash3's last step: every bit of the input reaches every bit of the result.
#[inline(always)]
pub const fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[inline(always)]
pub const fn mix_address(hash: u32, address: &Address) -> u32 {
    let w = address.words();
    let hash = mix(hash, u32::from_be(w[0]));
    let hash = mix(hash, u32::from_be(w[1]));
    let hash = mix(hash, u32::from_be(w[2]));
    mix(hash, u32::from_be(w[3]))
}
