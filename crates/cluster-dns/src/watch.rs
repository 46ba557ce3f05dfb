//! Fills the table from the API, for as long as the process lives and whatever the API does: what was true last is told
//! until something newer is known.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event, watcher},
};
use tokio::sync::watch;

use crate::table::{Key, Table, pod_addresses, service_facts, slice_facts};

/// Starts the watches, which end with the runtime. True is told once every kind has been listed whole.
pub fn start(client: &Client, table: &Arc<RwLock<Table>>) -> watch::Receiver<bool> {
    let (told, synced) = watch::channel(false);
    let missing = Arc::new(Mutex::new((BTreeSet::from(["Service", "EndpointSlice", "Pod"]), told)));
    tokio::spawn(keep::<Service>(client.clone(), Arc::clone(table), Arc::clone(&missing), |table, key, service| {
        table.set_service(key, service.and_then(service_facts));
    }));
    tokio::spawn(keep::<EndpointSlice>(
        client.clone(),
        Arc::clone(table),
        Arc::clone(&missing),
        |table, key, slice| {
            table.set_slice(key, slice.and_then(slice_facts));
        },
    ));
    tokio::spawn(keep::<Pod>(client.clone(), Arc::clone(table), missing, |table, key, pod| {
        table.set_pod(key, pod.map(pod_addresses).unwrap_or_default());
    }));
    synced
}

type Missing = Arc<Mutex<(BTreeSet<&'static str>, watch::Sender<bool>)>>;

async fn keep<K>(client: Client, table: Arc<RwLock<Table>>, missing: Missing, enter: fn(&mut Table, Key, Option<&K>))
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    let config = watcher::Config::default().page_size(500);
    let mut events = std::pin::pin!(watcher(Api::<K>::all(client), config));
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    let mut listed: Option<BTreeSet<(String, String)>> = None;
    let mut delay = SHORTEST_DELAY;
    let parts = |key: &Key| (key.namespace.clone(), key.name.clone());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::debug!(kind, error = crate::server::chain(&error), ?delay, "watch interrupted");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(LONGEST_DELAY);
                continue;
            }
        };
        delay = SHORTEST_DELAY;
        // One writer per kind, and no await while it holds the lock.
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => listed = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                let key = Key::of(&object);
                if let Some(listed) = &mut listed {
                    listed.insert(parts(&key));
                }
                known.insert(parts(&key));
                enter(&mut table, key, Some(&object));
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                known.remove(&parts(&key));
                enter(&mut table, key, None);
            }
            Event::InitDone => {
                // What a new list does not name went while we were not told.
                let listed = listed.take().unwrap_or_default();
                for gone in known.difference(&listed) {
                    enter(&mut table, Key::new(&gone.0, &gone.1), None);
                }
                known = listed;
                let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
                missing.0.remove(kind.as_str());
                if missing.0.is_empty() && !missing.1.send_replace(true) {
                    tracing::info!("every kind of object is known");
                }
            }
        }
    }
}

/// kube's own default starts at 800 ms; an API server on the same machine is back sooner than that.
const SHORTEST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
