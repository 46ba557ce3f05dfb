//! Maglev tables (Eisenbud et al., NSDI 2016, §3.4): hash modulo size → backend, such that every node makes the same table
//! of the same backends, and such that a backend that goes moves little besides its own share.

use datapath_layouts::service::MAGLEV_SIZE;
use datapath_layouts::{Address, Backend, MaglevTable};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The table of a row. Only addresses and ports decide, neither the slots' order nor the numbers that this node gave.
/// A row of more backends than the table has entries has none.
#[must_use]
pub fn table(row: &[Backend]) -> Option<Box<MaglevTable>> {
    if row.is_empty() || row.len() > MAGLEV_SIZE {
        return None;
    }
    // Two backends can want an entry in the same round; the order decides who gets it.
    let mut order: Vec<(Address, u16, u16)> =
        row.iter().enumerate().map(|(slot, backend)| (backend.address, backend.port, slot as u16)).collect();
    order.sort_unstable();
    let mut turns: Vec<Permutation> = order.iter().map(|&(address, port, _)| Permutation::of(address, port)).collect();
    let mut table = Box::new(MaglevTable { slots: [FREE; MAGLEV_SIZE], ..MaglevTable::ZERO });
    let mut filled = 0;
    loop {
        for (turn, &(_, _, slot)) in turns.iter_mut().zip(&order) {
            let entry = turn.next_free(&table.slots);
            table.slots[entry] = slot;
            filled += 1;
            if filled == MAGLEV_SIZE {
                return Some(table);
            }
        }
    }
}

/// The table of a row whose backends have weights; those without one weigh 1.
///
/// Backends take turns as in [`table`], each at its own pace: the paper's "altering the relative frequency of the backends'
/// turns" (§3.4). A turn has a time that depends on nothing but the backend's own weight, so that a backend that goes leaves
/// the order of all other turns as it was. The times are those of Sainte-Laguë's method, by which the entries come nearest
/// to the weights, except that everybody's first turn comes before any second one: whoever weighs more than nothing has
/// at least one entry.
#[must_use]
pub fn weighted(row: &[Backend], weight: impl Fn(&Backend) -> Option<u8>) -> Option<Box<MaglevTable>> {
    if row.is_empty() || row.len() > MAGLEV_SIZE {
        return None;
    }
    let mut order: Vec<(Address, u16, u16, u8)> = row
        .iter()
        .enumerate()
        .map(|(slot, backend)| (backend.address, backend.port, slot as u16, weight(backend).unwrap_or(1).max(1)))
        .collect();
    order.sort_unstable();
    let mut wants: Vec<Permutation> = order.iter().map(|&(address, port, ..)| Permutation::of(address, port)).collect();
    let mut turns: BinaryHeap<Reverse<Turn>> =
        order.iter().enumerate().map(|(index, &(.., weight))| Reverse(Turn { index, weight, taken: 0 })).collect();
    let mut table = Box::new(MaglevTable { slots: [FREE; MAGLEV_SIZE], ..MaglevTable::ZERO });
    for _ in 0..MAGLEV_SIZE {
        let Reverse(turn) = turns.pop()?;
        let entry = wants[turn.index].next_free(&table.slots);
        table.slots[entry] = order[turn.index].2;
        turns.push(Reverse(Turn { taken: turn.taken + 1, ..turn }));
    }
    Some(table)
}

/// A backend's next turn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    /// Its place in the order that decides between turns of one time.
    index: usize,
    weight: u8,
    /// How many turns it has had.
    taken: u32,
}

impl Turn {
    /// Twice the time of the turn, times the weight.
    const fn numerator(self) -> u32 {
        if self.taken == 0 { 0 } else { 2 * self.taken + 1 }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // By cross-multiplication: numbers below 2^11 times weights below 2^8.
        let (ours, theirs) = (self.numerator() * u32::from(other.weight), other.numerator() * u32::from(self.weight));
        ours.cmp(&theirs).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a row of so many backends is worth a table: with one there is nothing to choose.
#[must_use]
pub const fn wanted(backends: usize) -> bool {
    backends > 1 && backends <= MAGLEV_SIZE
}

/// Slots are fewer than entries.
const FREE: u16 = u16::MAX;

/// The order in which a backend wants the entries: all of them, since the size is a prime.
struct Permutation {
    next: usize,
    skip: usize,
}

impl Permutation {
    fn of(address: Address, port: u16) -> Self {
        let hash = hash(address, port);
        Self { next: (hash >> 32) as usize % MAGLEV_SIZE, skip: (hash as u32) as usize % (MAGLEV_SIZE - 1) + 1 }
    }

    fn next_free(&mut self, slots: &[u16; MAGLEV_SIZE]) -> usize {
        loop {
            let entry = self.next;
            self.next = (self.next + self.skip) % MAGLEV_SIZE;
            if slots[entry] == FREE {
                return entry;
            }
        }
    }
}

/// FNV-1a, then the finalizer of SplitMix64, because FNV alone leaves neighbouring addresses alike. Part of what nodes agree
/// on: a node with another version must give the same numbers.
fn hash(address: Address, port: u16) -> u64 {
    let bytes = address.0.into_iter().chain(port.to_be_bytes());
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Tells tables apart: they are too large to be remembered.
#[must_use]
pub fn fingerprint(table: &MaglevTable) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    table.slots.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backend(n: u16) -> Backend {
        let [high, low] = n.to_be_bytes();
        Backend { address: Address::from_v4([10, 244, high, low]), id: u32::from(n), port: 8080, cluster: 0, flags: 0 }
    }

    fn chosen(row: &[Backend]) -> Vec<Address> {
        table(row).unwrap().slots.iter().map(|&slot| row[slot as usize].address).collect()
    }

    proptest! {
        #[test]
        fn nodes_agree_whatever_the_order_and_the_numbers(
            mut numbers in proptest::collection::hash_set(1u16.., 1..60).prop_map(|s| s.into_iter().collect::<Vec<_>>()),
            seed: u64,
        ) {
            let row: Vec<Backend> = numbers.iter().map(|&n| backend(n)).collect();
            numbers.sort_unstable_by_key(|&n| seed.wrapping_mul(u64::from(n) | 1));
            let other: Vec<Backend> = numbers.iter().map(|&n| Backend { id: 1, flags: 1, ..backend(n) }).collect();
            prop_assert_eq!(chosen(&row), chosen(&other));
        }

        #[test]
        fn losing_one_of_n_moves_about_one_nth(first in 1u16..60_000, n in 2usize..60, gone in 0usize..60) {
            let gone = gone % n;
            let before: Vec<Backend> = (0..n as u16).map(|i| backend(first + i)).collect();
            let mut after = before.clone();
            after.remove(gone);
            let (old, new) = (chosen(&before), chosen(&after));
            let moved = old.iter().zip(&new).filter(|(a, b)| a != b).count();
            let own = old.iter().filter(|&&a| a == before[gone].address).count();
            let share = MAGLEV_SIZE as f64 / n as f64;
            prop_assert!(own as f64 <= share + 1.0 && own as f64 >= share - 1.0, "shares are even: {own}, not {share}");
            // Besides its own share a few move (the paper's figure 12: a few percent at a hundred entries per backend);
            // this is the worst case.
            prop_assert!(moved <= own + MAGLEV_SIZE / 4, "{moved} of {MAGLEV_SIZE} moved, {own} were the lost one's");
        }
    }

    #[test]
    fn on_the_average_hardly_more_than_the_share_moves() {
        let mut extra = 0;
        for first in 0..50 {
            let before: Vec<Backend> = (0..10).map(|i| backend(first * 100 + i)).collect();
            let (old, new) = (chosen(&before), chosen(&before[1..]));
            extra += old.iter().zip(&new).filter(|(a, b)| a != b && **a != before[0].address).count();
        }
        assert!(extra < 50 * MAGLEV_SIZE / 33, "{} per mille move for nothing", extra * 1000 / (50 * MAGLEV_SIZE));
    }

    #[test]
    fn the_table_is_part_of_what_nodes_agree_on() {
        let row: Vec<Backend> = (1..=3).map(backend).collect();
        let table = table(&row).unwrap();
        assert_eq!(
            table.slots[..8],
            [0, 0, 2, 1, 2, 2, 1, 0],
            "changing this breaks clusters whose nodes have different versions"
        );
    }

    fn weighed(row: &[Backend], weights: &[u8]) -> Vec<Address> {
        let of = |backend: &Backend| row.iter().position(|b| b == backend).map(|index| weights[index]);
        weighted(row, of).unwrap().slots.iter().map(|&slot| row[slot as usize].address).collect()
    }

    proptest! {
        #[test]
        fn entries_are_as_the_weights_and_nobody_has_none(
            first in 1u16..60_000, weights in proptest::collection::vec(1u8..=100, 2..40),
        ) {
            let row: Vec<Backend> = (0..weights.len() as u16).map(|i| backend(first + i)).collect();
            let chosen = weighed(&row, &weights);
            let sum: u32 = weights.iter().map(|&w| u32::from(w)).sum();
            for (backend, &weight) in row.iter().zip(&weights) {
                let own = chosen.iter().filter(|&&a| a == backend.address).count() as f64;
                let share = MAGLEV_SIZE as f64 * f64::from(weight) / f64::from(sum);
                prop_assert!(own >= 1.0 && (own - share).abs() <= 2.0 + share / 50.0, "{own} entries, not {share}");
            }
        }

        #[test]
        fn losing_a_weighted_one_moves_about_its_share(
            first in 1u16..60_000, weights in proptest::collection::vec(1u8..=10, 3..30), gone in 0usize..30,
        ) {
            let gone = gone % weights.len();
            let before: Vec<Backend> = (0..weights.len() as u16).map(|i| backend(first + i)).collect();
            let (mut after, mut left) = (before.clone(), weights.clone());
            after.remove(gone);
            left.remove(gone);
            let (old, new) = (weighed(&before, &weights), weighed(&after, &left));
            let moved = old.iter().zip(&new).filter(|(a, b)| a != b).count();
            let own = old.iter().filter(|&&a| a == before[gone].address).count();
            prop_assert!(moved <= own + MAGLEV_SIZE / 4, "{moved} of {MAGLEV_SIZE} moved, {own} were the lost one's");
        }

        #[test]
        fn nodes_agree_about_weights_whatever_the_order(weights in proptest::collection::vec(1u8..=100, 2..40), turn in 0usize..40) {
            let row: Vec<Backend> = (1..=weights.len() as u16).map(backend).collect();
            let (mut turned, mut their) = (row.clone(), weights.clone());
            turned.rotate_left(turn % row.len());
            their.rotate_left(turn % row.len());
            prop_assert_eq!(weighed(&row, &weights), weighed(&turned, &their));
        }
    }

    #[test]
    fn equal_weights_are_the_table_without_any() {
        let row: Vec<Backend> = (1..=7).map(backend).collect();
        assert_eq!(weighed(&row, &[3; 7]), chosen(&row));
    }

    #[test]
    fn on_the_average_hardly_more_than_a_weighted_ones_share_moves() {
        let weights = [1, 9, 3, 3, 1, 5, 2, 2, 8, 4];
        let mut extra = 0;
        for first in 0..50 {
            let before: Vec<Backend> = (0..10).map(|i| backend(first * 100 + i)).collect();
            // The heaviest goes: were turns counted against it, those of all others would shift.
            let (mut after, mut left) = (before.clone(), weights.to_vec());
            after.remove(1);
            left.remove(1);
            let (old, new) = (weighed(&before, &weights), weighed(&after, &left));
            extra += old.iter().zip(&new).filter(|(a, b)| a != b && **a != before[1].address).count();
        }
        assert!(extra < 50 * MAGLEV_SIZE / 20, "{} per mille move for nothing", extra * 1000 / (50 * MAGLEV_SIZE));
    }

    #[test]
    fn no_backends_and_too_many_have_no_table() {
        assert!(table(&[]).is_none());
        let many: Vec<Backend> = (0..=MAGLEV_SIZE as u16).map(backend).collect();
        assert!(table(&many).is_none() && table(&many[1..]).is_some());
    }
}
