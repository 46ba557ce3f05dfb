//! Revisions and the other annotations by which `kubectl rollout` finds its way.

use super::{draft::Draft, limits::Limits};
use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use std::collections::BTreeMap;

/// Number of a rollout, on the Deployment and its ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a ReplicaSet that was rolled back to.
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// `spec.replicas` of the Deployment when the ReplicaSet was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with the surge.
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The revision of an object; 0 when it has none.
pub fn of(meta: &ObjectMeta) -> i64 {
    number(meta, REVISION).unwrap_or(0)
}

/// A numeric annotation.
pub fn number(meta: &ObjectMeta, key: &str) -> Option<i64> {
    meta.annotations.as_ref()?.get(key)?.parse().ok()
}

/// Annotations that a ReplicaSet takes over from its Deployment.
pub fn inherited_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| {
        ![REVISION, HISTORY, DESIRED, MAXIMUM, LAST_APPLIED, "deprecated.deployment.rollback.to"]
            .contains(&key.as_str())
    })
    .map(|(key, value)| (key.clone(), value.clone()))
    .collect()
}

/// Notes on a ReplicaSet what the Deployment wants at the moment.
pub fn note_replicas(meta: &mut ObjectMeta, limits: &Limits) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(DESIRED.into(), limits.replicas.to_string());
    annotations.insert(MAXIMUM.into(), limits.replicas.saturating_add(limits.surge()).to_string());
}

/// Gives the newest ReplicaSet the highest revision, and the Deployment's annotations.
pub fn mark_newest(newest: &mut Draft, deployment: &Deployment, highest_old: i64) {
    let annotations = newest.set.metadata.annotations.get_or_insert_default();
    for (key, value) in inherited_annotations(deployment) {
        annotations.insert(key, value);
    }
    let held = annotations.get(REVISION).cloned();
    let held_number = held.as_deref().and_then(|held| held.parse::<i64>().ok()).unwrap_or(0);
    let next = highest_old.saturating_add(1);
    if held_number >= next {
        return;
    }
    annotations.insert(REVISION.into(), next.to_string());
    // A rollback: remember under which number this template ran before.
    if let Some(held) = held {
        let history = annotations.entry(HISTORY.into()).or_default();
        if !history.split(',').any(|earlier| earlier == held) {
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&held);
            // Kubernetes bounds the annotation by characters; by number is simpler and as good.
            while history.len() > HISTORY_LENGTH {
                match history.split_once(',') {
                    Some((_, rest)) => *history = rest.to_owned(),
                    None => history.clear(),
                }
            }
        }
    }
}

/// `maxRevHistoryLengthInChars` in Kubernetes.
const HISTORY_LENGTH: usize = 2000;
