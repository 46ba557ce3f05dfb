//! Fills a cache from kube-rs' watcher, for as long as the program lives and whatever the API server does.

use crate::cache::Cache;
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Lists and watches until cancelled. After an error the watcher goes on where it was, or lists again when the server
/// no longer knows that version.
pub async fn fill<K>(api: Api<K>, config: watcher::Config, cache: Arc<Cache<K>>, cancel: CancellationToken)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, config));
    let mut delay = SHORTEST_DELAY;
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                delay = SHORTEST_DELAY;
                enter(&cache, event);
            }
            Some(Err(error)) => {
                tracing::debug!(kind = %K::kind(&()), %error, ?delay, "watch interrupted");
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).min(LONGEST_DELAY);
            }
            // kube's watcher never ends by itself.
            None => return,
        }
    }
}

fn enter<K: Resource<DynamicType = ()>>(cache: &Cache<K>, event: Event<K>) {
    match event {
        Event::Init => cache.relist_begins(),
        Event::InitApply(mut object) | Event::Apply(mut object) => {
            // Nobody here reads them, and they are often half of an object's size.
            object.meta_mut().managed_fields = None;
            cache.applied(object);
        }
        Event::InitDone => cache.relist_ends(),
        Event::Delete(object) => cache.deleted(&object),
    }
}

/// kube's own default starts at 800 ms; an API server on the same machine is back sooner than that.
const SHORTEST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
