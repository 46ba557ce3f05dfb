//! What a ReplicaSet reports about its Pods.

use super::plan::held;
use crate::{pod, selector};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
};
use std::{sync::Arc, time::Duration};

/// Why Pods could not be created or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The API server's own words.
    pub message: String,
}

/// The status to report, and when the next Pod will have been ready long enough to change it.
pub fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let held = held(set, pods);
    let spec = set.spec.as_ref();
    let min_ready = min_ready(spec.and_then(|spec| spec.min_ready_seconds));
    let template_labels = spec
        .and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.clone())
        .map(|labels| LabelSelector { match_labels: Some(labels), match_expressions: None })
        .unwrap_or_default();
    let count = |test: &dyn Fn(&Pod) -> bool| {
        let count = held.iter().filter(|pod| test(pod)).count();
        Some(i32::try_from(count).unwrap_or(i32::MAX)).filter(|count| *count > 0)
    };
    let old = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: count(&|_| true).unwrap_or(0),
        fully_labeled_replicas: count(&|pod| selector::matches(&template_labels, pod.metadata.labels.as_ref())),
        ready_replicas: count(&pod::is_ready),
        available_replicas: count(&|pod| pod::is_available(pod, min_ready, now)),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions.unwrap_or_default(), failure, now),
        terminating_replicas: old.terminating_replicas,
    };
    let look_again = held.iter().filter_map(|pod| pod::available_in(pod, min_ready, now)).min();
    (status, look_again)
}

/// `minReadySeconds` as a duration; negative ones are none.
pub fn min_ready(seconds: Option<i32>) -> Duration {
    Duration::from_secs(u64::try_from(seconds.unwrap_or(0)).unwrap_or(0))
}

fn conditions(
    mut held: Vec<ReplicaSetCondition>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let same = |condition: &ReplicaSetCondition| {
        condition.type_ == "ReplicaFailure" && failure.is_some_and(|f| condition.reason.as_deref() == Some(f.reason))
    };
    // A condition that only changed its wording stays, as in Kubernetes: otherwise every retry would be a write.
    held.retain(|condition| condition.type_ != "ReplicaFailure" || same(condition));
    if let Some(failure) = failure
        && !held.iter().any(same)
    {
        held.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        });
    }
    (!held.is_empty()).then_some(held)
}
