//! Numbers handed out once.

/// Hands out numbers upwards and around; a number comes back only after all others were used, so that what still
/// remembers an old one (a flow, an affinity) never takes a new owner for it.
#[derive(Debug)]
pub struct Numbers {
    last: u32,
}

impl Numbers {
    /// Continues after the greatest number in use.
    pub fn after(greatest: u32) -> Self {
        Self { last: greatest }
    }

    /// The next number that is not taken. 0 is never handed out. `taken` must be false for some number.
    pub fn next(&mut self, taken: impl Fn(u32) -> bool) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !taken(self.last) {
                return self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_around_past_zero_and_taken_ones() {
        let mut numbers = Numbers::after(u32::MAX);
        assert_eq!(numbers.next(|n| n == 1), 2);
        assert_eq!(numbers.next(|_| false), 3);
    }
}
