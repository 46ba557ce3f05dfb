//! Wakes a Service when it, one of its Pods, or one of its slices changes. Nothing is collected or delayed: a Pod's
//! readiness is on its way into the slice as soon as the watch tells of it.

use super::{
    desired,
    plan::{Change, Input, MANAGED_BY, MANAGER, SERVICE_NAME, plan},
};
use crate::{
    Result,
    cache::{Cache, Key},
    pod, selector,
    worker::Again,
    write::{Cluster, Grace},
};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<Key>) {
    wake_on_services_and_pods(cluster, inbox);

    let sender = inbox.clone();
    cluster.caches.endpoint_slices.on_change(move |old, new| {
        for slice in [old, new].into_iter().flatten() {
            let label = |key: &str| slice.metadata.labels.as_ref().and_then(|labels| labels.get(key));
            if label(MANAGED_BY).map(String::as_str) == Some(MANAGER)
                && let Some(service) = label(SERVICE_NAME)
            {
                let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
                let _ = sender.send(Key::new(namespace, service.as_str()));
            }
        }
    });

    let sender = inbox.clone();
    let services = Arc::clone(&cluster.caches.services);
    cluster.caches.nodes.on_change(move |old, new| {
        if old.and_then(zone) != new.and_then(zone) {
            for service in services.all() {
                let _ = sender.send(Key::of(&service.metadata));
            }
        }
    });
}

/// What both kinds of endpoints wake on.
pub(crate) fn wake_on_services_and_pods(cluster: &Cluster, inbox: &UnboundedSender<Key>) {
    let sender = inbox.clone();
    cluster.caches.services.on_change(move |old, new| {
        if let Some(service) = new.or(old) {
            let _ = sender.send(Key::of(&service.metadata));
        }
    });
    let sender = inbox.clone();
    let services = Arc::clone(&cluster.caches.services);
    cluster.caches.pods.on_change(move |old, new| {
        if let (Some(old), Some(new)) = (old, new)
            && view(old) == view(new)
        {
            return;
        }
        for pod in [old, new].into_iter().flatten() {
            for service in selecting(&services, pod) {
                let _ = sender.send(Key::of(&service.metadata));
            }
        }
    });
}

/// What an endpoint shows of its Pod.
fn view(pod: &Arc<Pod>) -> impl PartialEq + use<> {
    let spec = pod.spec.as_ref();
    (
        pod.metadata.labels.clone(),
        pod.metadata.deletion_timestamp.is_some(),
        desired::addresses(pod).collect::<Vec<_>>(),
        (pod::is_ready(pod), pod::has_ended(pod)),
        spec.map(|spec| (spec.node_name.clone(), spec.hostname.clone(), spec.subdomain.clone())),
    )
}

fn selecting(services: &Cache<Service>, pod: &Pod) -> Vec<Arc<Service>> {
    let mut matching = services.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    matching.retain(|service| selects(service, pod));
    matching
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector::service_selects(selector, pod.metadata.labels.as_ref())
}

/// The Pods that a Service selects.
pub(crate) fn selected(cluster: &Cluster, service: &Service) -> Vec<Arc<Pod>> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut pods = cluster.caches.pods.in_namespace(namespace);
    pods.retain(|pod| selects(service, pod));
    pods
}

fn zone(node: &Arc<Node>) -> Option<String> {
    node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").cloned()
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>, key: Key) -> Result<Again> {
    // A Service that is gone takes its slices along: they name it as their owner.
    let Some(service) = cluster.caches.services.get(&key) else {
        return Ok(None);
    };
    let changes = {
        let nodes = cluster.caches.nodes.all();
        let zones: HashMap<String, String> =
            nodes.iter().filter_map(|node| Some((node.metadata.name.clone()?, zone(node)?))).collect();
        let slices = cluster.caches.endpoint_slices.in_namespace(&key.namespace);
        let pods = selected(&cluster, &service);
        plan(&Input { service: &service, pods: &pods, zones: &zones, slices: &slices })
    };
    // In order, and no further after a failure: what is removed waits until what is added is there.
    for change in changes {
        apply(&cluster, change).await?;
    }
    Ok(None)
}

/// Carries one change out.
pub(crate) async fn apply(cluster: &Cluster, change: Change) -> Result<()> {
    match change {
        Change::Create(slice) => cluster.create(&*slice).await.map(drop),
        Change::Update(slice) => cluster.replace(&*slice).await.map(drop),
        Change::Delete(slice) => cluster.delete(&*slice, Grace::Own).await,
    }
}
