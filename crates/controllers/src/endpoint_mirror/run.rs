//! Wakes when an Endpoints object, its Service or one of its slices changes.

use super::plan::plan;
use crate::{
    Result,
    cache::Key,
    endpoint_slice::{plan::SERVICE_NAME, run::apply},
    worker::Again,
    write::Cluster,
};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<Key>) {
    let sender = inbox.clone();
    cluster.caches.endpoints.on_change(move |old, new| {
        if let Some(endpoints) = new.or(old) {
            let _ = sender.send(Key::of(&endpoints.metadata));
        }
    });
    let sender = inbox.clone();
    cluster.caches.services.on_change(move |old, new| {
        if let Some(service) = new.or(old) {
            let _ = sender.send(Key::of(&service.metadata));
        }
    });
    let sender = inbox.clone();
    cluster.caches.endpoint_slices.on_change(move |old, new| {
        for slice in [old, new].into_iter().flatten() {
            if let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)) {
                let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
                let _ = sender.send(Key::new(namespace, service.as_str()));
            }
        }
    });
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>, key: Key) -> Result<Again> {
    // Endpoints that are gone take their slices along: they name them as their owner.
    let Some(endpoints) = cluster.caches.endpoints.get(&key) else { return Ok(None) };
    let service = cluster.caches.services.get(&key);
    let slices = cluster.caches.endpoint_slices.in_namespace(&key.namespace);
    for change in plan(service.as_deref(), &endpoints, &slices) {
        apply(&cluster, change).await?;
    }
    Ok(None)
}
