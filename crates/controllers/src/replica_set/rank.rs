//! Whom a ReplicaSet can spare most easily (Kubernetes' `ActivePodsWithRanks`).

use crate::pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{cmp::Reverse, collections::HashMap, sync::Arc};

/// Sorts the Pods, the one to delete first in front:
/// 1. without a Node; 2. Pending, then Unknown, then Running; 3. not ready; 4. lower `pod-deletion-cost`;
/// 5. on a Node with more `related` Pods; 6. ready for a shorter time; 7. more restarts; 8. younger.
///
/// The name decides the rest, so that the choice is the same on every try.
pub fn expendable_first(pods: &[Arc<Pod>], related: &[&Arc<Pod>], now: Timestamp) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for other in related {
        *on_node.entry(pod::node(other).unwrap_or_default()).or_default() += 1;
    }
    let mut sorted = pods.to_vec();
    sorted.sort_by_cached_key(|candidate| {
        let meta = &candidate.metadata;
        let node = pod::node(candidate);
        (
            node.is_some(),
            match pod::phase(candidate) {
                "Pending" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            pod::is_ready(candidate),
            deletion_cost(candidate),
            Reverse(node.and_then(|node| on_node.get(node)).copied().unwrap_or(0)),
            Reverse(pod::ready_since(candidate).unwrap_or(now)),
            Reverse(restarts(candidate)),
            (Reverse(meta.creation_timestamp.as_ref().map_or(now, |time| time.0)), Reverse(meta.name.clone())),
        )
    });
    sorted
}

/// The annotation by which people say whom they would miss least (KEP-2255); 0 when absent or no number.
fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get("controller.kubernetes.io/pod-deletion-cost"))
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|container| container.restart_count).max().unwrap_or(0)
}
