//! Wakes a ReplicaSet when it changes, and when a Pod that is or could be its own does.

use super::{
    apply,
    plan::{Input, plan},
    status::status,
};
use crate::{
    Result,
    cache::Key,
    owner, pod, selector,
    worker::Again,
    write::{Caches, Cluster},
};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<Key>) {
    let sender = inbox.clone();
    cluster.caches.replica_sets.on_change(move |old, new| {
        if let Some(set) = new.or(old) {
            let _ = sender.send(Key::of(&set.metadata));
        }
    });
    let sender = inbox.clone();
    let sets = Arc::clone(&cluster.caches.replica_sets);
    cluster.caches.pods.on_change(move |old, new| {
        for pod in [old, new].into_iter().flatten() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(owner) = owner::controller_of(&pod.metadata) {
                if owner.kind == "ReplicaSet" {
                    let _ = sender.send(Key::new(namespace, owner.name.as_str()));
                }
            } else if pod::is_active(pod) {
                let matching = sets.in_namespace(namespace).into_iter().filter(|set| selects(set, pod));
                for set in matching {
                    let _ = sender.send(Key::of(&set.metadata));
                }
            }
        }
    });
}

fn selects(set: &ReplicaSet, pod: &Pod) -> bool {
    set.spec.as_ref().is_some_and(|spec| {
        !selector::is_empty(&spec.selector) && selector::matches(&spec.selector, pod.metadata.labels.as_ref())
    })
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>, key: Key) -> Result<Again> {
    let caches = &cluster.caches;
    let Some(set) = caches.replica_sets.get(&key) else {
        return Ok(None);
    };
    if set.spec.as_ref().is_none_or(|spec| selector::is_empty(&spec.selector)) {
        return Ok(None);
    }
    let pods = caches.pods.in_namespace(&key.namespace);
    let siblings = siblings(caches, &set);
    let changes = plan(&Input { set: &set, pods: &pods, siblings: &siblings, now: Timestamp::now() });
    let refused = apply::apply(&cluster, &set, changes).await;

    // What was created and deleted just now is in the caches already.
    let Some(set) = caches.replica_sets.get(&key) else {
        return Ok(None);
    };
    let pods = caches.pods.in_namespace(&key.namespace);
    let failure = refused.as_ref().and_then(|refused| refused.failure.as_ref());
    let (status, look_again) = status(&set, &pods, failure, Timestamp::now());
    apply::report(&cluster, &set, status).await?;
    refused.map_or(Ok(look_again), |refused| Err(refused.error))
}

/// Uids of all ReplicaSets of the same Deployment.
fn siblings(caches: &Caches, set: &ReplicaSet) -> Vec<String> {
    let own = set.metadata.uid.clone().unwrap_or_default();
    let Some(deployment) = owner::controller_of(&set.metadata) else {
        return vec![own];
    };
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    caches
        .replica_sets
        .in_namespace(namespace)
        .iter()
        .filter(|other| owner::controller_of(&other.metadata).is_some_and(|owner| owner.uid == deployment.uid))
        .filter_map(|other| other.metadata.uid.clone())
        .collect()
}
