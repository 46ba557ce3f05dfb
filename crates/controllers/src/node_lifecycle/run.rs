//! Wakes on changes of Nodes, Leases and Pods, and when somebody's time is up.

use super::plan::{Change, Input, Memory, plan};
use crate::{
    Options, Result,
    cache::Key,
    events::{Record, Severity, reference_to},
    pod,
    worker::Again,
    write::{Cluster, Grace, Kind},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedSender;

/// What lasts from one round to the next.
#[derive(Default)]
pub(crate) struct State {
    memory: Memory,
    /// The API server did not answer: we may have missed heartbeats.
    deaf: bool,
    /// When the last round was, by both clocks.
    last: Option<(Instant, Timestamp)>,
}

impl State {
    /// A machine that slept, or whose clock was set, has missed heartbeats: Linux' monotonic clock stands still while
    /// the machine sleeps, the wall clock does not.
    fn notice_sleep(&mut self, monotonic: Instant, wall: Timestamp) {
        if let Some((monotonic_before, wall_before)) = self.last.replace((monotonic, wall)) {
            let awake = monotonic.saturating_duration_since(monotonic_before);
            if pod::elapsed(wall_before, wall).saturating_sub(awake) > LARGEST_DRIFT {
                self.memory.start_anew(wall);
            }
        }
    }
}

pub(crate) fn wake(cluster: &Cluster, inbox: &UnboundedSender<()>) {
    let sender = inbox.clone();
    cluster.caches.nodes.on_change(move |_, _| {
        let _ = sender.send(());
    });
    let sender = inbox.clone();
    cluster.caches.leases.on_change(move |_, _| {
        let _ = sender.send(());
    });
    let sender = inbox.clone();
    cluster.caches.pods.on_change(move |old, new| {
        // Only where a Pod lives and whether it is ready concerns us.
        let view = |pod: &Arc<Pod>| (pod::node(pod).map(str::to_owned), pod::is_ready(pod), pod::is_active(pod));
        if old.map(view) != new.map(view) {
            let _ = sender.send(());
        }
    });
}

pub(crate) async fn reconcile(cluster: Arc<Cluster>, options: Arc<Options>, state: Arc<Mutex<State>>) -> Result<Again> {
    if lock(&state).deaf {
        ask(&cluster, None).await?;
        let mut state = lock(&state);
        state.memory.start_anew(Timestamp::now());
        state.deaf = false;
    }
    let plan = {
        let (nodes, pods) = (cluster.caches.nodes.all(), cluster.caches.pods.all());
        let leases = cluster.caches.leases.in_namespace("kube-node-lease");
        let now = Timestamp::now();
        lock(&state).notice_sleep(Instant::now(), now);
        let input = Input { nodes: &nodes, leases: &leases, pods: &pods, options: &options, now };
        plan(&input, &mut lock(&state).memory)
    };
    // Before anyone is declared silent, make sure that it is not us who hear nothing.
    if plan.changes.iter().any(|change| matches!(change, Change::Unknown { .. }))
        && let Err(error) = ask(&cluster, cluster.caches.nodes.all().first()).await
    {
        lock(&state).deaf = true;
        return Err(error);
    }
    let mut failed = None;
    for change in plan.changes {
        if let Err(error) = apply(&cluster, change).await
            && !error.is_not_found()
        {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(plan.look_again), Err)
}

/// Does the API server answer? Any answer will do, "no such Node" too.
async fn ask(cluster: &Cluster, node: Option<&Arc<Node>>) -> Result<()> {
    let name = node.and_then(|node| node.metadata.name.clone()).unwrap_or_else(|| "any".into());
    match Node::api(cluster.client.clone(), "").get_opt(&name).await {
        Ok(_) | Err(kube::Error::Api(_)) => Ok(()),
        Err(source) => Err(crate::Error::Api { operation: "get", kind: "Node", name, source: Box::new(source) }),
    }
}

async fn apply(cluster: &Cluster, change: Change) -> Result<()> {
    match change {
        Change::Unknown { node, conditions } => {
            let mut silent = node.as_ref().clone();
            silent.status.get_or_insert_default().conditions = Some(conditions);
            cluster.patch_status(&*node, &silent).await?;
            let name = node.metadata.name.clone().unwrap_or_default();
            tracing::warn!(node = name, "Node is silent");
            record(
                cluster,
                &*node,
                Severity::Normal,
                "NodeNotReady",
                format!("Node {name} status is now: NodeNotReady"),
            );
            Ok(())
        }
        Change::Taints { node, taints } => {
            let mut tainted = node.as_ref().clone();
            tainted.spec.get_or_insert_default().taints = (!taints.is_empty()).then_some(taints);
            cluster.patch(&*node, &tainted).await
        }
        Change::PodReady { pod, condition } => {
            let mut changed = pod.as_ref().clone();
            let silent = condition.status == "False";
            for held in changed.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten()) {
                if held.type_ == condition.type_ {
                    *held = condition.clone();
                }
            }
            cluster.patch_status(&*pod, &changed).await?;
            if silent {
                record(cluster, &*pod, Severity::Warning, "NodeNotReady", "Node is not ready".into());
            }
            Ok(())
        }
        Change::Evict(pod) => {
            let key = Key::of(&pod.metadata);
            record(cluster, &*pod, Severity::Normal, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
            cluster.delete(&*pod, Grace::Own).await
        }
    }
}

fn record<K: Kind>(cluster: &Cluster, about: &K, severity: Severity, reason: &'static str, message: String) {
    cluster.recorder.record(Record {
        about: reference_to(about),
        severity,
        reason,
        message,
        component: "node-controller",
    });
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Clocks that are only being disciplined never drift apart by this much between two rounds.
const LARGEST_DRIFT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Is a Node that reported at the beginning silent after so many seconds by either clock?
    fn is_silent(monotonic_seconds: u64, wall_seconds: u64) -> bool {
        let node: Node = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "1970-01-01T00:00:00Z"}]},
        }))
        .expect("a Node");
        let nodes = [Arc::new(node)];
        let options = Options::default();
        let mut state = State::default();
        let (start, wall_start) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut round = |after: u64, now: Timestamp| {
            state.notice_sleep(start + Duration::from_secs(after), now);
            let input = Input { nodes: &nodes, leases: &[], pods: &[], options: &options, now };
            !plan(&input, &mut state.memory).changes.is_empty()
        };
        assert!(!round(0, wall_start));
        round(monotonic_seconds, wall_start + Duration::from_secs(wall_seconds))
    }

    #[test]
    fn a_machine_that_slept_declares_nobody_silent() {
        assert!(is_silent(40, 40));
        assert!(is_silent(41, 42), "a clock that is being disciplined");
        assert!(!is_silent(39, 39));
        assert!(!is_silent(1, 3600), "asleep for an hour");
        assert!(!is_silent(30, 90), "a clock that was set");
    }
}
