//! What a Deployment reports.

use super::{
    draft::{Draft, sum},
    limits::Limits,
    progress::{self, AVAILABLE, REPLICA_FAILURE},
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};

/// Counts over all ReplicaSets, with the Available and ReplicaFailure conditions. `conditions` are the Deployment's
/// own, as far as planning has changed them.
pub fn count(
    deployment: &Deployment,
    newest: Option<&Draft>,
    old: &[Draft],
    limits: &Limits,
    mut conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> DeploymentStatus {
    let all = || newest.into_iter().chain(old).filter(|set| !set.removed);
    let available = sum(all(), Draft::available);
    let missing = sum(all(), Draft::replicas).saturating_sub(available).max(0);
    let enough = available >= limits.replicas - limits.unavailable();
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    progress::set(&mut conditions, progress::condition(AVAILABLE, status, reason, message.into(), now));
    match failure(all()) {
        Some(failure) => progress::set(&mut conditions, failure),
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    // Kubernetes leaves zeros out.
    let unless_zero = |count: i32| Some(count).filter(|count| *count != 0);
    let held = deployment.status.as_ref();
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: unless_zero(sum(all(), Draft::existing)),
        updated_replicas: unless_zero(newest.map_or(0, Draft::existing)),
        ready_replicas: unless_zero(sum(all(), Draft::ready)),
        available_replicas: unless_zero(available),
        unavailable_replicas: unless_zero(missing),
        collision_count: held.and_then(|status| status.collision_count),
        terminating_replicas: held.and_then(|status| status.terminating_replicas),
        conditions: Some(conditions),
    }
}

/// The first failure that a ReplicaSet reports, the newest one's before others.
fn failure<'a>(sets: impl Iterator<Item = &'a Draft>) -> Option<DeploymentCondition> {
    sets.filter_map(|set| set.set.status.as_ref()?.conditions.as_ref()).flatten().find_map(|condition| {
        (condition.type_ == REPLICA_FAILURE).then(|| DeploymentCondition {
            type_: REPLICA_FAILURE.into(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            last_transition_time: condition.last_transition_time.clone(),
            last_update_time: condition.last_transition_time.clone(),
        })
    })
}
