//! Wakes when a Pod waits or leaves, and when a Node may have become a better place.

use super::plan::{Decision, is_waiting, plan};
use crate::{
    Result,
    cache::Key,
    events::{Record, Severity, reference_to},
    pod,
    worker::Again,
    write::Cluster,
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<()>) {
    let sender = inbox.clone();
    cluster.caches.pods.on_change(move |old, new| {
        let waits = new.is_some_and(|pod| is_waiting(pod));
        let leaves = old.is_some_and(|pod| pod::node(pod).is_some() && !pod::has_ended(pod))
            && new.is_none_or(|pod| pod::has_ended(pod));
        if waits || leaves {
            let _ = sender.send(());
        }
    });
    let sender = inbox.clone();
    cluster.caches.nodes.on_change(move |old, new| {
        if old.map(scheduling_view) != new.map(scheduling_view) {
            let _ = sender.send(());
        }
    });
}

/// What a scheduler sees of a Node: heartbeats are not part of it.
fn scheduling_view(node: &Arc<Node>) -> impl PartialEq + use<> {
    let status = node.status.as_ref();
    let ready = crate::node_lifecycle::taints::readiness(node);
    (
        node.metadata.labels.clone(),
        node.metadata.deletion_timestamp.is_some(),
        node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable)),
        status.and_then(|status| status.allocatable.clone()),
        ready,
    )
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>) -> Result<Again> {
    let decisions = plan(&cluster.caches.nodes.all(), &cluster.caches.pods.all());
    let cluster = &cluster;
    let failed = stream::iter(decisions)
        .map(|decision| async move { apply(cluster, decision).await.err() })
        .buffer_unordered(CONCURRENT_WRITES)
        .filter_map(|failed| async move { failed })
        // A Pod that is gone needs no Node; one that changed comes back through the watch.
        .filter(|error| std::future::ready(!error.is_not_found()))
        .collect::<Vec<_>>()
        .await;
    failed.into_iter().next().map_or(Ok(None), Err)
}

async fn apply(cluster: &Cluster, decision: Decision) -> Result<()> {
    match decision {
        Decision::Bind { pod, node } => {
            cluster.bind(&pod, &node).await?;
            let key = Key::of(&pod.metadata);
            cluster.caches.pods.assume(&key, |held| {
                if held.metadata.uid == pod.metadata.uid {
                    held.spec.get_or_insert_default().node_name = Some(node.clone());
                }
            });
            record(cluster, &pod, Severity::Normal, "Scheduled", format!("Successfully assigned {key} to {node}"));
            Ok(())
        }
        Decision::Unschedulable { pod, message } => {
            let Some(changed) = unschedulable(&pod, &message, Timestamp::now()) else {
                return Ok(());
            };
            cluster.patch_status(&*pod, &changed).await?;
            record(cluster, &pod, Severity::Warning, "FailedScheduling", message);
            Ok(())
        }
    }
}

/// The Pod with its PodScheduled condition False and this message, or `None` when it says so already.
fn unschedulable(pod: &Pod, message: &str, now: Timestamp) -> Option<Pod> {
    let held = pod::condition(pod, "PodScheduled");
    if held.is_some_and(|held| held.status == "False" && held.message.as_deref() == Some(message)) {
        return None;
    }
    let since = held.filter(|held| held.status == "False").and_then(|held| held.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some("Unschedulable".into()),
        message: Some(message.to_owned()),
        last_transition_time: since.or(Some(Time(now))),
        ..Default::default()
    };
    let mut changed = pod.clone();
    let status = changed.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(condition);
    status.phase.get_or_insert_with(|| "Pending".into());
    Some(changed)
}

fn record(cluster: &Cluster, pod: &Pod, severity: Severity, reason: &'static str, message: String) {
    cluster.recorder.record(Record {
        about: reference_to(pod),
        severity,
        reason,
        message,
        component: "default-scheduler",
    });
}

/// Bindings under way at once.
const CONCURRENT_WRITES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_news_is_written_only_once() {
        let now = Timestamp::from_second(1).expect("in range");
        let first = unschedulable(&Pod::default(), "no room", now).expect("a change");
        assert_eq!(unschedulable(&first, "no room", Timestamp::from_second(9).expect("in range")), None);
        let other = unschedulable(&first, "no light", Timestamp::from_second(9).expect("in range")).expect("a change");
        let condition = pod::condition(&other, "PodScheduled").expect("there");
        assert_eq!(condition.last_transition_time, Some(Time(now)), "it has been unscheduled all along");
        assert_eq!(condition.message.as_deref(), Some("no light"));
    }
}
