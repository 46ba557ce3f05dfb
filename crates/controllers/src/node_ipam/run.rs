//! Wakes on every change of a Node.

use super::plan::{Change, plan};
use crate::{
    Options, Result,
    events::{Record, Severity, reference_to},
    worker::Again,
    write::Cluster,
};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

pub(crate) fn wake(cluster: &Cluster, inbox: UnboundedSender<()>) {
    cluster.caches.nodes.on_change(move |_, _| {
        let _ = inbox.send(());
    });
}

/// Plans over all Nodes and writes one after the other, so that a conflict on one never gives its range to another.
pub(crate) async fn reconcile(cluster: Arc<Cluster>, options: Arc<Options>) -> Result<Again> {
    let mut failed = None;
    for change in plan(&cluster.caches.nodes.all(), &options.node_ranges) {
        if let Err(error) = apply(&cluster, change).await {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(None), Err)
}

async fn apply(cluster: &Cluster, change: Change) -> Result<()> {
    match change {
        Change::Assign { node, ranges } => {
            let mut assigned = node.as_ref().clone();
            let spec = assigned.spec.get_or_insert_default();
            spec.pod_cidr = ranges.first().map(ToString::to_string);
            spec.pod_cidrs = Some(ranges.iter().map(ToString::to_string).collect());
            cluster.patch(&*node, &assigned).await?;
            tracing::info!(node = node.metadata.name.as_deref(), ?ranges, "Pod ranges given");
            Ok(())
        }
        Change::Exhausted { node, cluster: range } => {
            cluster.recorder.record(Record {
                about: reference_to(&*node),
                severity: Severity::Warning,
                reason: "CIDRNotAvailable",
                message: format!("no Pod range is left in {range} for this Node; use a larger cluster range"),
                component: "cidrAllocator",
            });
            Ok(())
        }
    }
}
