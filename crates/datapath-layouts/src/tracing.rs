//! Whose packets are to be told one by one.

use crate::{Address, Zero, layout};

/// Ends that can be followed at a time on one node.
pub const FOLLOWED_ENDS: usize = 16;

layout! {
    /// One end of flows that somebody follows: whatever comes from it or goes to it is told.
    pub struct FollowedEnd, 20 {
        /// Its address.
        pub address: Address,
        /// Its port (ICMP: id), host order.
        pub port: u16,
        /// Transport protocol; 0 = this place is empty.
        pub protocol: u8,
        /// Zero.
        pub reserved: u8,
    }
}

impl FollowedEnd {
    /// An end.
    #[must_use]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self { address, port, protocol, reserved: 0 }
    }
}

impl Zero for [FollowedEnd; FOLLOWED_ENDS] {
    const ZERO: Self = [FollowedEnd::ZERO; FOLLOWED_ENDS];
}

layout! {
    /// All of them: the one value of an array, so that programs see a change without being replaced.
    pub struct Followed, 328 {
        /// One bit per end, [`Followed::bit`] of its port: what no bit speaks for costs one comparison.
        pub ports: u64,
        /// The ends, each at its own place for as long as it is followed; places between them may be empty.
        pub ends: [FollowedEnd; FOLLOWED_ENDS],
    }
}

impl Followed {
    /// The bit that stands for a port.
    #[must_use]
    #[inline(always)]
    pub const fn bit(port: u16) -> u64 {
        1 << (port & 63)
    }

    /// The value with these ends at these places; those that find no place are left out.
    #[must_use]
    pub fn of(ends: &[FollowedEnd]) -> Self {
        let mut all = Self::ZERO;
        for (place, end) in all.ends.iter_mut().zip(ends).filter(|(_, end)| end.protocol != 0) {
            all.ports |= Self::bit(end.port);
            *place = *end;
        }
        all
    }

    /// At which places this end is followed: one bit each, the first place's the lowest. Whoever follows hears of his own
    /// bit alone, so that two who follow at the same time are not told each other's packets.
    #[must_use]
    #[inline(always)]
    pub fn places(&self, address: &Address, port: u16, protocol: u8) -> u16 {
        let mut places = 0;
        // Protocol 0 is that of an empty place.
        if protocol == 0 || self.ports & Self::bit(port) == 0 {
            return places;
        }
        let mut at = 0;
        while at < FOLLOWED_ENDS {
            let end = &self.ends[at];
            if end.port == port && end.protocol == protocol && end.address.same(address) {
                places |= 1 << at;
            }
            at += 1;
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Address = Address::from_v4([172, 18, 0, 1]);

    #[test]
    fn an_end_is_its_address_port_and_protocol() {
        let followed = Followed::of(&[FollowedEnd::new(CLIENT, 40_000, 6), FollowedEnd::new(CLIENT, 40_001, 17)]);
        let places = |address: &Address, port, protocol| followed.places(address, port, protocol);
        assert_eq!((places(&CLIENT, 40_000, 6), places(&CLIENT, 40_001, 17)), (1, 2));
        assert_eq!((places(&CLIENT, 40_000, 17), places(&CLIENT, 40_001, 6)), (0, 0));
        assert_eq!(places(&CLIENT, 40_064, 6), 0, "the same bit, another port");
        assert_eq!(places(&Address::from_v4([172, 18, 0, 2]), 40_000, 6), 0);
        assert_eq!(Followed::ZERO.places(&Address::ZERO, 0, 0), 0, "nobody is followed");
    }

    #[test]
    fn an_end_keeps_its_place_and_may_have_two() {
        let end = FollowedEnd::new(CLIENT, 64, 6);
        let followed = Followed::of(&[FollowedEnd::ZERO, end, FollowedEnd::ZERO, end]);
        assert_eq!(followed.places(&CLIENT, 64, 6), 0b1010);
        assert_eq!(followed.places(&Address::ZERO, 0, 0), 0, "an empty place is nobody's");
        assert_eq!(followed.ports, 1, "and no port's");
    }

    #[test]
    fn what_finds_no_place_is_left_out() {
        let many: [FollowedEnd; 20] = core::array::from_fn(|at| FollowedEnd::new(CLIENT, at as u16, 6));
        let followed = Followed::of(&many);
        assert_eq!((followed.places(&CLIENT, 15, 6), followed.places(&CLIENT, 16, 6)), (1 << 15, 0));
    }
}
