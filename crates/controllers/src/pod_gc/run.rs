//! Wakes when Nodes come or go, and when Pods are created, bound or deleted.

use super::plan::{Missing, Orphan, plan};
use crate::{
    Options, Result,
    cache::Key,
    pod,
    worker::Again,
    write::{Cluster, Grace, Kind},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<()>) {
    let sender = inbox.clone();
    cluster.caches.nodes.on_change(move |old, new| {
        if old.is_some() != new.is_some() {
            let _ = sender.send(());
        }
    });
    let sender = inbox.clone();
    cluster.caches.pods.on_change(move |old, new| {
        let view = |pod: &Arc<Pod>| (pod::node(pod).map(str::to_owned), pod.metadata.deletion_timestamp.is_some());
        if old.map(view) != new.map(view) {
            let _ = sender.send(());
        }
    });
}

pub(crate) async fn reconcile(
    cluster: Arc<Cluster>,
    options: Arc<Options>,
    missing: Arc<Mutex<Missing>>,
) -> Result<Again> {
    let plan = {
        let nodes = cluster.caches.nodes.all().iter().filter_map(|node| node.metadata.name.clone()).collect();
        let mut missing = missing.lock().unwrap_or_else(|poison| poison.into_inner());
        plan(&cluster.caches.pods.all(), &nodes, &mut missing, options.vanished_node_grace, Timestamp::now())
    };
    let mut failed = None;
    for (pod, orphan) in plan.remove {
        if let Err(error) = apply(&cluster, &pod, orphan).await {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(plan.look_again), Err)
}

async fn apply(cluster: &Cluster, pod: &Pod, orphan: Orphan) -> Result<()> {
    let node = pod::node(pod).unwrap_or_default();
    if orphan == Orphan::NodeVanished {
        // Removing Pods of a Node that our cache only has not seen yet would be unforgivable: ask once more.
        let found = Node::api(cluster.client.clone(), "").get_opt(node).await.map_err(|source| crate::Error::Api {
            operation: "get",
            kind: "Node",
            name: node.to_owned(),
            source: Box::new(source),
        })?;
        if found.is_some() {
            return Ok(());
        }
    }
    tracing::info!(pod = %Key::of(&pod.metadata), node, ?orphan, "removing an orphaned Pod");
    cluster.delete(pod, Grace::None).await
}
