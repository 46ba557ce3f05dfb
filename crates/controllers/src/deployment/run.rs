//! Wakes a Deployment when it changes, when a ReplicaSet of its does, and, for Recreate, when a Pod ends.

use super::{
    apply,
    plan::{Input, plan},
};
use crate::{
    Result,
    cache::Key,
    events::{Record, Severity, reference_to},
    owner, selector,
    worker::Again,
    write::Cluster,
};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<Key>) {
    let sender = inbox.clone();
    cluster.caches.deployments.on_change(move |old, new| {
        if let Some(deployment) = new.or(old) {
            let _ = sender.send(Key::of(&deployment.metadata));
        }
    });

    let sender = inbox.clone();
    let deployments = Arc::clone(&cluster.caches.deployments);
    cluster.caches.replica_sets.on_change(move |old, new| {
        for set in [old, new].into_iter().flatten() {
            let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
            match owner::controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => {
                    let _ = sender.send(Key::new(namespace, owner.name.as_str()));
                }
                Some(_) => {}
                None => {
                    for deployment in deployments.in_namespace(namespace) {
                        if deployment.spec.as_ref().is_some_and(|spec| {
                            !selector::is_empty(&spec.selector)
                                && selector::matches(&spec.selector, set.metadata.labels.as_ref())
                        }) {
                            let _ = sender.send(Key::of(&deployment.metadata));
                        }
                    }
                }
            }
        }
    });

    let sender = inbox.clone();
    let sets = Arc::clone(&cluster.caches.replica_sets);
    cluster.caches.pods.on_change(move |old, new| {
        // Recreate waits until the last old Pod is gone or has ended; everything else shows in a ReplicaSet's status.
        let was_there = old.filter(|pod| !crate::pod::has_ended(pod));
        if new.is_some_and(|pod| !crate::pod::has_ended(pod)) {
            return;
        }
        let Some(pod) = was_there else { return };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(set) = owner::controller_of(&pod.metadata) else {
            return;
        };
        let Some(set) = sets.get(&Key::new(namespace, set.name.as_str())) else {
            return;
        };
        if let Some(deployment) = owner::controller_of(&set.metadata) {
            let _ = sender.send(Key::new(namespace, deployment.name.as_str()));
        }
    });
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>, key: Key) -> Result<Again> {
    let Some(deployment) = cluster.caches.deployments.get(&key) else {
        return Ok(None);
    };
    let selects_all = deployment.spec.as_ref().is_none_or(|spec| selector::is_empty(&spec.selector));
    if selects_all {
        cluster.recorder.record(Record {
            about: reference_to(&*deployment),
            severity: Severity::Warning,
            reason: "SelectingAll",
            message: "This deployment is selecting all pods. A non-empty selector is required.".into(),
            component: "deployment-controller",
        });
        return Ok(None);
    }
    let plan = {
        let sets = cluster.caches.replica_sets.in_namespace(&key.namespace);
        let pods = cluster.caches.pods.in_namespace(&key.namespace);
        plan(&Input { deployment: &deployment, sets: &sets, pods: &pods, now: Timestamp::now() })
    };
    apply::apply(&cluster, &deployment, plan.changes).await?;
    Ok(plan.look_again)
}
