//! What Kubernetes' own controllers do for the API itself: dependents go with their owners, namespaces and CRDs empty
//! themselves before they go, new namespaces get their ServiceAccount, Events expire.

mod expire;
mod owners;
mod sweep;

use crate::api::Api;
use crate::{bootstrap, object};
use object_store::{Change, PageRequest, StoreError};
use owners::Owners;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How often things that are being emptied are looked at again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often old Events are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(300);

/// Runs for ever; ends only with the store.
pub async fn run(api: Arc<Api>) {
    loop {
        match follow(&api).await {
            Err(StoreError::Compacted { .. }) => tracing::warn!("the collector fell behind and starts anew"),
            Err(error) => return tracing::error!(%error, "the collector ends"),
            Ok(()) => {}
        }
    }
}

async fn follow(api: &Api) -> Result<(), StoreError> {
    let everything = api.store.list("/registry/", &PageRequest::default())?;
    let mut watcher = api.store.watch("/registry/", everything.revision)?;
    let mut owners = Owners::default();
    for (key, entry) in &everything.entries {
        owners.add(key, &parsed(&entry.value));
    }
    let mut pending = sweep::Pending::default();
    for (key, entry) in &everything.entries {
        let value = parsed(&entry.value);
        pending.note(key, &value);
        begin_namespace(api, key, &value).await;
    }
    drop(everything);
    owners.collect_all(api).await;
    let mut expire = tokio::time::interval(EXPIRE_EVERY);
    loop {
        let waiting = !pending.is_empty() || owners.has_work();
        tokio::select! {
            changes = watcher.next() => digest(api, &changes?, &mut owners, &mut pending).await,
            () = tokio::time::sleep(AGAIN), if waiting => {}
            _ = expire.tick() => expire::events(api).await,
        }
        owners.collect(api).await;
        pending.sweep(api).await;
    }
}

async fn digest(api: &Api, changes: &[Change], owners: &mut Owners, pending: &mut sweep::Pending) {
    for change in changes {
        match &change.current {
            Some(entry) => {
                let value = parsed(&entry.value);
                owners.add(&change.key, &value);
                pending.note(&change.key, &value);
                if change.previous.is_none() {
                    begin_namespace(api, &change.key, &value).await;
                }
            }
            None => {
                owners.gone(&change.key);
                pending.gone(&change.key);
                if &*change.key == "/registry/core/services/default/kubernetes"
                    && let Err(error) = bootstrap::kubernetes_service(api).await
                {
                    tracing::warn!(%error, "Service kubernetes cannot be made again");
                }
            }
        }
    }
}

async fn begin_namespace(api: &Api, key: &str, value: &Value) {
    if key.starts_with("/registry/core/namespaces/")
        && !object::is_deleting(value)
        && let Err(error) = bootstrap::complete_namespace(api, object::name(value)).await
    {
        tracing::debug!(%error, namespace = object::name(value), "no ServiceAccount");
    }
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}
