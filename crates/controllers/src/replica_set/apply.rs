//! Carries out a ReplicaSet's plan.

use super::{plan::Change, status::Failure};
use crate::{
    Error, Result,
    events::{Record, Severity, reference_to},
    owner,
    write::{Cluster, Grace},
};
use futures::{StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetStatus},
    core::v1::Pod,
};

/// What was refused, for the status and for the retry.
pub(crate) struct Refused {
    pub failure: Option<Failure>,
    pub error: Error,
}

/// Makes all changes; returns the first refusal, after having tried the rest.
pub(crate) async fn apply(cluster: &Cluster, set: &ReplicaSet, changes: Vec<Change>) -> Option<Refused> {
    let mut creations = Vec::new();
    let mut others = Vec::new();
    for change in changes {
        match change {
            Change::Create { pod, count } => creations.push((pod, count)),
            other => others.push(other),
        }
    }
    let mut refused: Vec<Refused> = stream::iter(others)
        .map(|change| one(cluster, set, change))
        .buffer_unordered(CONCURRENT_WRITES)
        .filter_map(|refused| async move { refused })
        .collect()
        .await;
    for (pod, count) in creations {
        refused.extend(create(cluster, set, &pod, count).await);
    }
    refused.into_iter().next()
}

/// Writes the status if it changed.
pub(crate) async fn report(cluster: &Cluster, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<()> {
    let mut reported = set.clone();
    reported.status = Some(status);
    cluster.patch_status(set, &reported).await
}

/// Creates in batches of 1, 2, 4 …: when the first is refused (a quota, a bad template), hundreds more would be too.
async fn create(cluster: &Cluster, set: &ReplicaSet, pod: &Pod, count: usize) -> Option<Refused> {
    let mut left = count;
    let mut batch = 1;
    while left > 0 {
        let size = batch.min(left);
        let results: Vec<Result<_>> =
            stream::iter(0..size).map(|_| cluster.create(pod)).buffer_unordered(CONCURRENT_WRITES).collect().await;
        let mut refused = None;
        for result in results {
            match result {
                Ok(created) => {
                    let name = created.metadata.name.as_deref().unwrap_or_default();
                    record(cluster, set, Severity::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                }
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            let message = error.message();
            record(cluster, set, Severity::Warning, "FailedCreate", format!("Error creating: {message}"));
            return Some(Refused { failure: Some(Failure { reason: "FailedCreate", message }), error });
        }
        left -= size;
        batch *= 2;
    }
    None
}

async fn one(cluster: &Cluster, set: &ReplicaSet, change: Change) -> Option<Refused> {
    match change {
        Change::Adopt(pod) => quiet(cluster.patch(&*pod, &owner::adopt(set, &*pod)).await),
        Change::Release(pod) => quiet(cluster.patch(&*pod, &owner::release(&set.metadata, &*pod)).await),
        Change::Delete(pod) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match cluster.delete(&*pod, Grace::Own).await {
                Ok(()) => {
                    record(cluster, set, Severity::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                    None
                }
                Err(error) => {
                    let message = error.message();
                    record(cluster, set, Severity::Warning, "FailedDelete", format!("Error deleting: {message}"));
                    Some(Refused { failure: Some(Failure { reason: "FailedDelete", message }), error })
                }
            }
        }
        // Creations go by batches.
        Change::Create { pod, count } => create(cluster, set, &pod, count).await,
    }
}

/// A failed claim is a race, no failure of the ReplicaSet.
fn quiet(result: Result<()>) -> Option<Refused> {
    result.err().map(|error| Refused { failure: None, error })
}

fn record(cluster: &Cluster, set: &ReplicaSet, severity: Severity, reason: &'static str, message: String) {
    cluster.recorder.record(Record {
        about: reference_to(set),
        severity,
        reason,
        message,
        component: "replicaset-controller",
    });
}

/// Creations or deletions under way at once for one ReplicaSet.
const CONCURRENT_WRITES: usize = 16;
