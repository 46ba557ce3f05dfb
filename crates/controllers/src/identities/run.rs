//! Wakes on every change of what an identity is made of, before a Pod has even got a node: the number is there before the
//! Pod starts.

use super::{
    apply::{create, publish, tell},
    world::{State, addresses},
};
use crate::{
    Options, Result, pod,
    worker::Again,
    write::{Cluster, Grace},
};
use custom_resources::CiliumEndpointSlice;
use identity::{has_identity, slices};
use k8s_openapi::api::core::v1::Pod;
use std::{
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
}

/// What a slice shows of a Pod; ports and account never change.
fn view(pod: &Arc<Pod>) -> impl PartialEq + use<> {
    let node = pod::node(pod).map(str::to_owned);
    (pod.metadata.uid.clone(), pod.metadata.labels.clone(), has_identity(pod), node, addresses(pod))
}

/// Plans over all Pods and writes what differs: numbers first, then what nodes are told, then what is over.
pub(crate) async fn reconcile(cluster: Arc<Cluster>, options: Arc<Options>, state: Arc<Mutex<State>>) -> Result<Again> {
    tokio::time::sleep(TOGETHER).await;
    let mut world = lock(&state).look(&cluster, &options);
    let new = std::mem::take(&mut world.plan.create);
    let (made, result) = create(&cluster, new).await;
    let mut numbers = std::mem::take(&mut world.plan.numbers);
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
        publish(&cluster, writes).await?;
    }
    for number in std::mem::take(&mut world.plan.delete) {
        let Some(object) = cluster.caches.identities.get(&crate::cache::Key::new("", number.to_string())) else {
            continue;
        };
        cluster.delete(&*object, Grace::Own).await?;
        lock(&state).deleted(number);
    }
    result?;
    Ok(waits.into_iter().chain(world.plan.look_again).min())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes within this time is written together: the Pods of a Deployment come one after the other. Short beside the time
/// that a Pod's start takes, for its identity is waited for.
const TOGETHER: Duration = Duration::from_millis(20);
/// Pods that have gone may be told of later: nobody waits for it.
const PATIENCE: Duration = Duration::from_millis(500);
