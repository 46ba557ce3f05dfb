//! The slots of one service: from those that are there to those that should be.

use crate::{Change, Target};
use datapath_layouts::{Backend, BackendKey};
use std::collections::HashMap;

/// How to get from one row of slots to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SlotPlan {
    /// Before the frontends' counts change: overwritten and appended slots.
    pub before: Vec<Change>,
    /// After: slots that nothing counts any more.
    pub after: Vec<Change>,
    /// The row as it will be.
    pub slots: Vec<Backend>,
    /// Backends that were in the old row and are not in the new one.
    pub gone: Vec<Backend>,
}

/// Plans one service's row. A place left by a removed backend is taken by a new one, or by the last of the row
/// ("swap-last"), so that the work is the number of differences and not the length of the row. `id_of` numbers a target.
///
/// Slots that hold one target twice (a process died between two writes) keep the first.
pub fn plan(
    service_id: u32,
    current: &[Backend],
    wanted: &[Target],
    mut id_of: impl FnMut(&Target) -> u32,
) -> SlotPlan {
    let mut missing: HashMap<(_, u16), &Target> = wanted.iter().map(|t| ((t.address, t.port), t)).collect();
    let length = missing.len();
    let mut out = SlotPlan { slots: current.to_vec(), ..SlotPlan::default() };
    let mut holes = Vec::new();
    for (index, slot) in current.iter().enumerate() {
        match missing.remove(&(slot.address, slot.port)) {
            Some(target) => {
                let backend = target.backend(id_of(target));
                if backend != *slot {
                    out.write(service_id, index, backend);
                }
            }
            None => holes.push(index),
        }
    }
    for &index in &holes {
        let slot = current[index];
        let still_there = wanted.iter().any(|t| (t.address, t.port) == (slot.address, slot.port));
        if slot.id != 0 && !still_there {
            out.gone.push(slot);
        }
    }
    // In the order of `wanted`, so that the same input always gives the same plan.
    let mut added = wanted.iter().filter(|t| missing.remove(&(t.address, t.port)).is_some());
    let mut unfilled = Vec::new();
    for index in holes {
        match added.next() {
            Some(target) => out.write(service_id, index, target.backend(id_of(target))),
            None => unfilled.push(index),
        }
    }
    for target in added {
        let index = out.slots.len();
        out.slots.push(Backend::ZERO);
        out.write(service_id, index, target.backend(id_of(target)));
    }
    let mut last = out.slots.len();
    for &index in unfilled.iter().filter(|&&index| index < length) {
        // The last slot that stays: a hole up there is dropped, not moved down.
        loop {
            last -= 1;
            if !unfilled.contains(&last) {
                break;
            }
        }
        let moved = out.slots[last];
        out.write(service_id, index, moved);
    }
    for slot in (length..out.slots.len()).rev() {
        out.after.push(Change::RemoveBackend(BackendKey { service_id, slot: slot as u32 }));
    }
    out.slots.truncate(length);
    out
}

impl SlotPlan {
    fn write(&mut self, service_id: u32, index: usize, backend: Backend) {
        self.slots[index] = backend;
        self.before.push(Change::WriteBackend(BackendKey { service_id, slot: index as u32 }, backend));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath_layouts::Address;

    fn target(n: u8) -> Target {
        Target { address: Address::from_v4([10, 0, 0, n]), port: 80, flags: 0, weight: 1 }
    }

    fn row(numbers: &[u8]) -> Vec<Backend> {
        numbers.iter().map(|&n| target(n).backend(u32::from(n))).collect()
    }

    fn check(current: &[u8], wanted: &[u8], expect: &[u8], writes: usize, removals: usize) {
        let targets: Vec<_> = wanted.iter().map(|&n| target(n)).collect();
        let plan = plan(1, &row(current), &targets, |t| u32::from(t.address.v4_octets()[3]));
        assert_eq!(plan.slots, row(expect), "{current:?} -> {wanted:?}");
        assert_eq!((plan.before.len(), plan.after.len()), (writes, removals), "{current:?} -> {wanted:?}");
    }

    #[test]
    fn the_last_slot_takes_the_place_of_a_removed_one() {
        check(&[1, 2, 3, 4], &[1, 3, 4], &[1, 4, 3], 1, 1);
        check(&[1, 2, 3, 4], &[1, 2, 3], &[1, 2, 3], 0, 1);
        check(&[1, 2, 3, 4], &[2], &[2], 1, 3);
        check(&[1, 2, 3, 4], &[], &[], 0, 4);
        check(&[1, 2, 3, 4, 5], &[1, 4], &[1, 4], 1, 3);
    }

    #[test]
    fn a_new_backend_takes_the_place_of_a_removed_one() {
        check(&[1, 2, 3], &[1, 3, 9], &[1, 9, 3], 1, 0);
        check(&[], &[1, 2], &[1, 2], 2, 0);
        check(&[1], &[1, 2, 3], &[1, 2, 3], 2, 0);
    }

    #[test]
    fn nothing_to_do_plans_nothing() {
        check(&[3, 1, 2], &[1, 2, 3], &[3, 1, 2], 0, 0);
    }

    #[test]
    fn a_slot_left_twice_by_a_crash_is_dropped_and_not_reported_as_gone() {
        let targets = [target(1), target(4), target(3)];
        let plan = plan(1, &row(&[1, 4, 3, 4]), &targets, |t| u32::from(t.address.v4_octets()[3]));
        assert_eq!(plan.slots, row(&[1, 4, 3]));
        assert!(plan.gone.is_empty());
    }
}
