//! Wakes like the slices do, and when an Endpoints object itself changes.

use super::plan::{Change, plan};
use crate::{
    Result,
    cache::Key,
    endpoint_slice::run::{selected, wake_on_services_and_pods},
    worker::Again,
    write::{Cluster, Grace},
};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<Key>) {
    wake_on_services_and_pods(cluster, inbox);
    let sender = inbox.clone();
    cluster.caches.endpoints.on_change(move |old, new| {
        if let Some(endpoints) = new.or(old) {
            let _ = sender.send(Key::of(&endpoints.metadata));
        }
    });
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>, key: Key) -> Result<Again> {
    let service = cluster.caches.services.get(&key);
    let held = cluster.caches.endpoints.get(&key);
    let pods = service.as_ref().map(|service| selected(&cluster, service)).unwrap_or_default();
    match plan(service.as_deref(), &pods, held.as_ref()) {
        None => {}
        Some(Change::Create(endpoints)) => drop(cluster.create(&*endpoints).await?),
        Some(Change::Update(endpoints)) => drop(cluster.replace(&*endpoints).await?),
        Some(Change::Delete(endpoints)) => cluster.delete(&*endpoints, Grace::Own).await?,
    }
    Ok(None)
}
