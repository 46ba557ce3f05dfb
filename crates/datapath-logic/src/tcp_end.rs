//! Where what a TCP socket knew is kept, and how a reader sees that it is whole.
//!
//! The table is memory that the agent reads as it lies, without a call: each end has one place, who comes later takes it, and what is read
//! while it is written is known by its seal. So it may forget, and never tells what was not.

use datapath_layouts::tcp::PLACES;
use datapath_layouts::{TcpEnd, TcpEndKey, TcpEndPlace};

use crate::hash::{finish, mix, mix_address};

#[inline(always)]
const fn mix_key(key: &TcpEndKey) -> u32 {
    let hash = mix_address(mix_address(0, &key.local), &key.remote);
    mix(hash, (key.local_port as u32) << 16 | key.remote_port as u32)
}

/// Index of its place: below [`PLACES`].
#[must_use]
#[inline(always)]
pub const fn place(key: &TcpEndKey) -> u32 {
    finish(mix_key(key)) & (PLACES - 1)
}

/// What stands in its place.
#[must_use]
#[inline(always)]
pub const fn sealed(key: TcpEndKey, end: TcpEnd) -> TcpEndPlace {
    let seal = seal(&key, &end);
    TcpEndPlace { key, seal, end, reserved: [0; 2] }
}

/// What it knew, if that is what stands there, and whole.
#[must_use]
pub fn open(place: &TcpEndPlace, key: &TcpEndKey) -> Option<TcpEnd> {
    (place.key == *key && place.seal == seal(key, &place.end)).then_some(place.end)
}

/// Never 0, which an empty place has.
#[inline(always)]
const fn seal(key: &TcpEndKey, end: &TcpEnd) -> u32 {
    let hash = mix(mix(mix_key(key), end.time_ns as u32), (end.time_ns >> 32) as u32);
    finish(mix(mix(hash, end.srtt_us), end.retransmits)) | 1
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use datapath_layouts::Address;
    use std::collections::HashSet;

    fn key(number: u32) -> TcpEndKey {
        let local = Address::from_v4([10, 0, (number >> 24) as u8, 1]);
        let (local_port, remote_port) = ((number >> 8) as u16, 80 + (number & 0xff) as u16);
        TcpEndKey { local, remote: Address::from_v4([10, 1, 0, 2]), local_port, remote_port }
    }

    const END: TcpEnd = TcpEnd { time_ns: 1 << 40 | 77, srtt_us: 120, retransmits: 3 };

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let whole = sealed(key(1), END);
        assert_eq!(open(&whole, &key(1)), Some(END));
        assert_eq!(open(&whole, &key(2)), None, "somebody else's");
        assert_eq!((open(&TcpEndPlace::ZERO, &key(1)), open(&TcpEndPlace::ZERO, &TcpEndKey::ZERO)), (None, None));
    }

    /// A reader may see a beginning of the new and an end of the old, in words of eight bytes.
    #[test]
    fn what_is_half_written_is_nothing() {
        let old = sealed(key(1), TcpEnd { time_ns: 5, srtt_us: 9, retransmits: 0 });
        for (before, key) in [(old, key(1)), (TcpEndPlace::ZERO, key(1)), (sealed(self::key(9), END), key(1))] {
            let new = sealed(key, END);
            let words = |place: &TcpEndPlace| -> [u64; 8] { zerocopy::transmute!(*place) };
            for written in 0..256_u32 {
                let mut half = words(&before);
                (0..8).filter(|word| written & 1 << word != 0).for_each(|word| half[word] = words(&new)[word]);
                let half: TcpEndPlace = zerocopy::transmute!(half);
                let told = open(&half, &key);
                assert!(told.is_none() || half == new || half == before, "{half:?}");
            }
        }
    }

    #[test]
    fn ends_are_spread_over_all_places() {
        let places: HashSet<u32> = (0..PLACES).map(|number| place(&key(number * 257))).collect();
        // By chance 1 - 1/e of the places are taken.
        assert!(places.len() as f64 > 0.6 * f64::from(PLACES), "{}", places.len());
        assert!(places.iter().all(|place| *place < PLACES));
    }
}
