//! Wakes on every change of what an identity is made of, before a Pod has even got a node: the number is there before the
//! Pod starts.

use super::{
    apply::{claim, collect, create, publish, tell},
    world::{State, addresses},
};
use crate::{
    Options, Result,
    cache::Key,
    pod,
    worker::Again,
    write::{Cluster, Kind},
};
use custom_resources::{CiliumEndpointSlice, CiliumIdentity};
use identity::{has_identity, slices, workload_of};
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<()>) {
    let sender = inbox.clone();
    cluster.caches.pods.on_change(move |old, new| {
        if old.map(view) != new.map(view) {
            let _ = sender.send(());
        }
    });
    let sender = inbox.clone();
    cluster.caches.namespaces.on_change(move |old, new| {
        if old.map(|old| &old.metadata.labels) != new.map(|new| &new.metadata.labels) {
            let _ = sender.send(());
        }
    });
    let sender = inbox.clone();
    cluster.caches.nodes.on_change(move |old, new| {
        let addresses = |node: &Arc<k8s_openapi::api::core::v1::Node>| node.status.as_ref()?.addresses.clone();
        if old.map(addresses) != new.map(addresses) {
            let _ = sender.send(());
        }
    });
    let sender = inbox.clone();
    cluster.caches.identities.on_change(move |_, _| {
        let _ = sender.send(());
    });
    let sender = inbox.clone();
    cluster.caches.identity_slices.on_change(move |_, _| {
        let _ = sender.send(());
    });
    let sender = inbox.clone();
    cluster.leadership.on_gain(move || {
        let _ = sender.send(());
    });
}

/// What a slice shows of a Pod; ports and account never change.
fn view(pod: &Arc<Pod>) -> impl PartialEq + use<> {
    let node = pod::node(pod).map(str::to_owned);
    let metadata = &pod.metadata;
    (metadata.uid.clone(), metadata.labels.clone(), has_identity(pod), node, addresses(pod), workload_of(pod))
}

/// Plans over all Pods and writes what differs: numbers first, then what nodes are told, then what is over. Only the leader.
///
/// The contract: an object is deleted in two steps, a mark and (by its version) the deletion, and a number is told to nodes
/// only while its object has no mark. So a deletion that comes late, of a replica that was frozen, finds another version.
pub(crate) async fn reconcile(cluster: Arc<Cluster>, options: Arc<Options>, state: Arc<Mutex<State>>) -> Result<Again> {
    tokio::time::sleep(TOGETHER).await;
    let Some(term) = cluster.leadership.term() else { return Ok(None) };
    if lock(&state).term != Some(term) {
        catch_up::<CiliumIdentity>(&cluster).await?;
        catch_up::<CiliumEndpointSlice>(&cluster).await?;
        lock(&state).begin(term);
    }
    let mut world = lock(&state).look(&cluster, &options);
    let new = std::mem::take(&mut world.plan.create);
    let (made, created) = create(&cluster, term, new).await;
    let (mut numbers, claimed) = claim(&cluster, term, std::mem::take(&mut world.plan.numbers)).await;
    let result = created.and(claimed);
    numbers.extend(made);

    let without = world.pods.iter().filter(|(_, labels)| world.plan.without.contains(labels));
    let without = lock(&state).untold(without.map(|(pod, _)| pod).collect());
    without.into_iter().for_each(|pod| tell(&cluster, pod, &options.identity_numbers));

    let existing = cluster.caches.identity_slices.all();
    let existing: Vec<&CiliumEndpointSlice> = existing.iter().map(|slice| &**slice).collect();
    let writes = slices(&world.members(&numbers), &existing);
    let waits = {
        let mut state = lock(&state);
        let since = *state.waits.get_or_insert_with(Instant::now);
        let left = PATIENCE.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        let waits = left.filter(|_| !writes.urgent && !writes.changes.is_empty());
        if waits.is_none() {
            state.waits = None;
        }
        waits
    };
    if waits.is_none() {
        publish(&cluster, term, writes).await?;
    }
    for number in std::mem::take(&mut world.plan.delete) {
        if collect(&cluster, term, number).await? {
            lock(&state).deleted(number);
        }
    }
    result?;
    Ok(waits.into_iter().chain(world.plan.look_again).min())
}

/// Makes the cache as new as the API is now: the leader before may have written what the watch has not told yet.
async fn catch_up<K: Kind>(cluster: &Cluster) -> Result<()> {
    let listed: Vec<K> = cluster.list().await?;
    let there: HashSet<Option<String>> = listed.iter().map(|object| object.meta().uid.clone()).collect();
    let cache = K::cache(&cluster.caches);
    for object in cache.all().into_iter().filter(|object| !there.contains(&object.meta().uid)) {
        cache.forget(&Key::of(object.meta()), object.meta().uid.as_deref());
    }
    listed.into_iter().for_each(|object| drop(cache.written(object)));
    Ok(())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes within this time is written together: the Pods of a Deployment come one after the other. Short beside the time
/// that a Pod's start takes, for its identity is waited for.
const TOGETHER: Duration = Duration::from_millis(20);
/// Pods that have gone, and what Pods belong to, may be told of later: nobody waits for it.
const PATIENCE: Duration = Duration::from_millis(500);
