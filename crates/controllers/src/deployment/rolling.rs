//! One step of a rollout.

use super::{
    draft::{Draft, sum},
    limits::{Limits, Strategy},
};

/// How many Pods the newest ReplicaSet should have now (`NewRSNewReplicas`). `others` are all other ReplicaSets.
pub fn newest_size(newest: &Draft, others: &[Draft], limits: &Limits) -> i32 {
    match limits.strategy {
        Strategy::Recreate => limits.replicas,
        Strategy::Rolling { surge, .. } => {
            let now = newest.replicas().saturating_add(sum(others, Draft::replicas));
            let room = limits.replicas.saturating_add(surge).saturating_sub(now);
            if room <= 0 {
                return newest.replicas();
            }
            newest.replicas() + room.min(limits.replicas - newest.replicas()).max(0)
        }
    }
}

/// Scales the newest ReplicaSet by what the surge allows; true when it changed.
pub fn grow_newest(newest: &mut Draft, others: &[Draft], limits: &Limits) -> bool {
    let size = if newest.replicas() > limits.replicas { limits.replicas } else { newest_size(newest, others, limits) };
    if size == newest.replicas() {
        return false;
    }
    newest.scale_to(size, limits);
    true
}

/// Scales old ReplicaSets down by what availability allows; true when any changed (`reconcileOldReplicaSets`).
pub fn shrink_old(newest: &Draft, old: &mut [Draft], limits: &Limits) -> bool {
    if sum(&*old, Draft::replicas) == 0 {
        return false;
    }
    let all = sum(&*old, Draft::replicas).saturating_add(newest.replicas());
    let minimum = limits.replicas - limits.unavailable();
    let newest_missing = newest.replicas() - newest.available();
    let allowed = all - minimum - newest_missing;
    if allowed <= 0 {
        return false;
    }
    // Sick Pods first: they are missing already, so taking them costs no availability.
    let cleaned = drop_sick(old, allowed, limits);
    let available = newest.available().saturating_add(sum(&*old, |set| set.available()));
    let shrunk = shrink_healthy(old, available - minimum, limits);
    cleaned + shrunk > 0
}

/// Oldest first, as `old` is sorted by creation.
fn drop_sick(old: &mut [Draft], allowed: i32, limits: &Limits) -> i32 {
    let mut dropped = 0;
    for set in old {
        let sick = set.replicas() - set.available();
        if dropped >= allowed {
            break;
        }
        if set.replicas() == 0 || sick <= 0 {
            continue;
        }
        let count = sick.min(allowed - dropped);
        let size = set.replicas() - count;
        set.scale_to(size, limits);
        dropped += count;
    }
    dropped
}

fn shrink_healthy(old: &mut [Draft], spare: i32, limits: &Limits) -> i32 {
    let mut total = 0;
    for set in old {
        if total >= spare {
            break;
        }
        let count = set.replicas().min(spare - total);
        if count > 0 {
            let size = set.replicas() - count;
            set.scale_to(size, limits);
            total += count;
        }
    }
    total
}

/// Scales every old ReplicaSet to nothing; true when any changed.
pub fn stop_old(old: &mut [Draft], limits: &Limits) -> bool {
    let mut changed = false;
    for set in old.iter_mut().filter(|set| set.replicas() > 0) {
        set.scale_to(0, limits);
        changed = true;
    }
    changed
}
