//! The Progressing and Available conditions.

use super::limits::Limits;
use crate::pod::elapsed;
use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::time::Duration;

/// Type of the condition that tells how a rollout goes.
pub const PROGRESSING: &str = "Progressing";
/// Type of the condition that tells whether enough Pods serve.
pub const AVAILABLE: &str = "Available";
/// Type of the condition that passes on a ReplicaSet's failure.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The rollout is done.
pub const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
/// The rollout has stood still for too long; `kubectl rollout status` fails on this word.
pub const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// A condition as of now.
pub fn condition(type_: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [DeploymentCondition], type_: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Sets a condition. One with the same status and reason stays as it is; one with the same status keeps the time of
/// its transition.
pub fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(held) = find(conditions, &new.type_) {
        if held.status == new.status && held.reason == new.reason {
            return;
        }
        if held.status == new.status {
            new.last_transition_time = held.last_transition_time.clone();
        }
    }
    conditions.retain(|condition| condition.type_ != new.type_);
    conditions.push(new);
}

/// Every Pod is of the newest template and available (`DeploymentComplete`).
pub fn is_complete(status: &DeploymentStatus, limits: &Limits, generation: Option<i64>) -> bool {
    let is_all = |count: Option<i32>| count.unwrap_or(0) == limits.replicas;
    is_all(status.updated_replicas)
        && is_all(status.replicas)
        && is_all(status.available_replicas)
        && status.observed_generation >= generation
}

/// Brings the Progressing condition of `new` up to date; `set_name` is the newest ReplicaSet's, if there is one.
pub fn update(
    old: &DeploymentStatus,
    new: &mut DeploymentStatus,
    limits: &Limits,
    generation: Option<i64>,
    subject: &str,
    now: Timestamp,
) {
    let mut conditions = new.conditions.take().unwrap_or_default();
    let held = find(&conditions, PROGRESSING).cloned();
    let Some(deadline) = limits.progress_deadline else {
        conditions.retain(|condition| condition.type_ != PROGRESSING);
        new.conditions = Some(conditions);
        return;
    };
    let was_complete = held.as_ref().is_some_and(|held| held.reason.as_deref() == Some(NEW_SET_AVAILABLE));
    // Once complete, a Pod that fails later is no rollout that fails.
    if !(was_complete && new.replicas == new.updated_replicas) {
        if is_complete(new, limits, generation) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut conditions, condition(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
        } else if has_progressed(old, new) {
            let message = format!("{subject} is progressing.");
            let mut progressing = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
            // Always replaced, because the deadline counts from the last step.
            if let Some(held) = held.filter(|held| held.status == "True") {
                progressing.last_transition_time = held.last_transition_time;
            }
            conditions.retain(|condition| condition.type_ != PROGRESSING);
            conditions.push(progressing);
        } else if time_left(held.as_ref(), deadline, now) == Some(Duration::ZERO) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut conditions, condition(PROGRESSING, "False", DEADLINE_EXCEEDED, message, now));
        }
    }
    new.conditions = Some(conditions);
}

/// How long the rollout may still stand still; `None` when no deadline runs.
pub fn time_left(progressing: Option<&DeploymentCondition>, deadline: Duration, now: Timestamp) -> Option<Duration> {
    let held = progressing?;
    if matches!(held.reason.as_deref(), Some(NEW_SET_AVAILABLE | DEADLINE_EXCEEDED | "DeploymentPaused")) {
        return None;
    }
    let since = held.last_update_time.as_ref()?.0;
    Some(deadline.saturating_sub(elapsed(since, now)))
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}
