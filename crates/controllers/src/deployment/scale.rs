//! A change of `spec.replicas`, also in the middle of a rollout.

use super::{
    draft::{Draft, sum},
    limits::{Limits, Strategy},
    revision::{DESIRED, MAXIMUM, number},
    rolling,
};

/// True when an active ReplicaSet was last scaled for another number (`isScalingEvent`).
pub fn is_due<'a>(sets: impl IntoIterator<Item = &'a Draft>, limits: &Limits) -> bool {
    sets.into_iter().any(|set| {
        set.replicas() > 0
            && number(&set.set.metadata, DESIRED).is_some_and(|desired| desired != i64::from(limits.replicas))
    })
}

/// Brings the sizes in line with the wanted number: the only active ReplicaSet takes it all; in a rollout every active
/// one takes its share, so that a rollout that fails does not leave all new Pods on the bad side.
///
/// `status_replicas` is the Deployment's own count, for ReplicaSets without notes.
pub fn scale(newest: &mut Option<Draft>, old: &mut [Draft], limits: &Limits, status_replicas: i32) {
    match active_count(newest, old) {
        0 => {
            // Nothing runs: the newest template starts, or without one the last that ran.
            if let Some(set) = newest.as_mut().or(old.last_mut()) {
                set.scale_to(limits.replicas, limits);
            }
            return;
        }
        1 => {
            if let Some(set) = all(newest, old).find(|set| set.replicas() > 0) {
                set.scale_to(limits.replicas, limits);
            }
            return;
        }
        _ => {}
    }
    // The new one is complete: the old ones are leftovers.
    if newest.as_ref().is_some_and(|set| is_saturated(set, limits)) {
        rolling::stop_old(old, limits);
        return;
    }
    if let Strategy::Rolling { surge, .. } = limits.strategy {
        let allowed = if limits.replicas > 0 { limits.replicas.saturating_add(surge) } else { 0 };
        proportionally(newest, old, allowed, limits, status_replicas);
    }
}

fn all<'a>(newest: &'a mut Option<Draft>, old: &'a mut [Draft]) -> impl Iterator<Item = &'a mut Draft> {
    newest.iter_mut().chain(old)
}

fn active_count(newest: &Option<Draft>, old: &[Draft]) -> usize {
    newest.iter().chain(old).filter(|set| set.replicas() > 0).count()
}

fn is_saturated(set: &Draft, limits: &Limits) -> bool {
    number(&set.set.metadata, DESIRED) == Some(i64::from(limits.replicas))
        && set.replicas() == limits.replicas
        && set.available() == limits.replicas
}

fn proportionally(newest: &mut Option<Draft>, old: &mut [Draft], allowed: i32, limits: &Limits, status_replicas: i32) {
    let current = sum(newest.iter().chain(&*old), Draft::replicas);
    let to_add = allowed - current;
    let mut active: Vec<&mut Draft> = all(newest, old).filter(|set| set.replicas() > 0).collect();
    // The largest first; between equals new Pods go to the younger and are taken from the older.
    let created = |set: &Draft| set.set.metadata.creation_timestamp.clone();
    active.sort_by(|a, b| {
        let by_age = created(a).cmp(&created(b));
        b.replicas().cmp(&a.replicas()).then(if to_add > 0 { by_age.reverse() } else { by_age })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let share = share(set, to_add - added, to_add, limits, status_replicas);
        added += share;
        sizes.push(set.replicas() + share);
    }
    // What rounding left over goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, size) in active.into_iter().zip(sizes) {
        set.scale_to(size, limits);
    }
}

/// This set's share of the change, never more than what is left of it (`GetReplicaSetProportion`).
fn share(set: &Draft, left: i32, to_add: i32, limits: &Limits, status_replicas: i32) -> i32 {
    if to_add == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(set, limits, status_replicas);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(set: &Draft, limits: &Limits, status_replicas: i32) -> i32 {
    if limits.replicas == 0 {
        return -set.replicas();
    }
    let before = match number(&set.set.metadata, MAXIMUM) {
        Some(before) if before > 0 => before,
        _ => i64::from(status_replicas),
    };
    if before <= 0 {
        return 0;
    }
    let after = i64::from(limits.replicas) + i64::from(limits.surge());
    let size = i64::from(set.replicas()) * after;
    // Rounded to the nearest, halves up; all numbers are positive.
    let size = (2 * size + before) / (2 * before);
    i32::try_from(size).unwrap_or(i32::MAX).saturating_sub(set.replicas())
}
