//! Masquerade: which port to try next.

/// How many ports a packet tries before it is dropped (and counted). Bounded because it runs in the kernel; with a
/// random start, 24 misses in a row mean that most ports towards this one destination are taken.
pub const TRIES: u32 = 24;

/// Port number `attempt` of the search: the flow's own port first when it lies in the range, then a walk from a random
/// start, so that neighbours don't follow each other into the same gap.
#[must_use]
#[inline(always)]
pub const fn candidate(original: u16, first: u16, last: u16, random: u32, attempt: u32) -> u16 {
    if attempt == 0 && original >= first && original <= last {
        return original;
    }
    let span = (last as u32).saturating_sub(first as u32) + 1;
    // 97 is prime to any span below it and spreads the tries.
    first.wrapping_add(((random % span + attempt.wrapping_mul(97)) % span) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_in_range(original: u16, a: u16, b: u16, random: u32, attempt in 0..TRIES) {
            let (first, last) = (a.min(b), a.max(b));
            let port = candidate(original, first, last, random, attempt);
            prop_assert!((first..=last).contains(&port));
        }
    }

    #[test]
    fn keeps_the_port_it_has() {
        assert_eq!(candidate(61_234, 61_000, 65_535, 7, 0), 61_234);
        assert_ne!(candidate(61_234, 61_000, 65_535, 7, 1), 61_234);
    }
}
