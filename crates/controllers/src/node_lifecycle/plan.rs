//! Who has been silent for too long, and what follows from it.

use super::{
    eviction,
    taints::{self, Readiness, readiness},
};
use crate::{Options, pod};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, PodCondition, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write these conditions: the Node has been silent for too long.
    Unknown {
        /// The Node as it was seen.
        node: Arc<Node>,
        /// All its conditions.
        conditions: Vec<NodeCondition>,
    },
    /// Write these taints.
    Taints {
        /// The Node as it was seen.
        node: Arc<Node>,
        /// All its taints.
        taints: Vec<Taint>,
    },
    /// Set the Pod's Ready condition, because its Node went silent or came back.
    PodReady {
        /// The Pod as it was seen.
        pod: Arc<Pod>,
        /// The new Ready condition.
        condition: PodCondition,
    },
    /// Delete the Pod: it does not tolerate its Node's taint any longer.
    Evict(Arc<Pod>),
}

/// What the planner sees.
pub struct Input<'a> {
    /// All Nodes.
    pub nodes: &'a [Arc<Node>],
    /// All Leases of `kube-node-lease`.
    pub leases: &'a [Arc<Lease>],
    /// All Pods.
    pub pods: &'a [Arc<Pod>],
    /// Grace periods.
    pub options: &'a Options,
    /// The clock.
    pub now: Timestamp,
}

/// Changes, and when to look again although nothing may have changed.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they should be made.
    pub changes: Vec<Change>,
    /// When the next Node may have been silent for too long, or the next toleration ends.
    pub look_again: Option<Duration>,
}

/// When each Node's sign of life last *changed*, by our own clock: a heartbeat's own time says nothing where clocks
/// differ or after we ourselves were away.
#[derive(Debug, Default)]
pub struct Memory {
    nodes: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    heartbeat: Option<Timestamp>,
    since: Timestamp,
}

impl Memory {
    /// We could not have heard anything until now: every Node's time starts anew.
    pub fn start_anew(&mut self, now: Timestamp) {
        self.nodes.values_mut().for_each(|seen| seen.since = now);
    }
}

/// Plans for all Nodes.
pub fn plan(input: &Input<'_>, memory: &mut Memory) -> Plan {
    let mut plan = Plan::default();
    let mut on_node: HashMap<&str, Vec<&Arc<Pod>>> = HashMap::new();
    for pod in input.pods {
        on_node.entry(pod::node(pod).unwrap_or_default()).or_default().push(pod);
    }
    let name_of = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    memory.nodes.retain(|name, _| input.nodes.iter().any(|node| node.metadata.name.as_ref() == Some(name)));

    for node in input.nodes {
        let name = name_of(node);
        let left = time_left(input, memory, node, &name);
        let pods = on_node.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        match left {
            Some(left) => plan.again_in(left),
            None if readiness(node) != Readiness::Unknown => {
                // Taints and Pods follow in the next round, from the Node as it then is.
                plan.changes
                    .push(Change::Unknown { node: Arc::clone(node), conditions: unknown_conditions(node, input.now) });
                continue;
            }
            None => {}
        }
        if let Some(taints) = taints::wanted(node, input.now) {
            plan.changes.push(Change::Taints { node: Arc::clone(node), taints });
            continue;
        }
        plan.changes.extend(pods.iter().filter_map(|pod| pod_readiness(pod, readiness(node), input.now)));
        for pod in pods {
            match eviction::due(pod, node, input.options.default_toleration, input.now) {
                eviction::Due::Never => {}
                eviction::Due::Now => plan.changes.push(Change::Evict(Arc::clone(pod))),
                eviction::Due::In(left) => plan.again_in(left),
            }
        }
    }
    plan
}

impl Plan {
    fn again_in(&mut self, left: Duration) {
        self.look_again = Some(self.look_again.map_or(left, |other| other.min(left)));
    }
}

/// How long the Node may still stay silent; `None` when it has been for too long.
fn time_left(input: &Input<'_>, memory: &mut Memory, node: &Node, name: &str) -> Option<Duration> {
    let renewed = input
        .leases
        .iter()
        .find(|lease| lease.metadata.name.as_deref() == Some(name))
        .and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref())
        .map(|time| time.0);
    let reported = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "Ready")
        .and_then(|ready| ready.last_heartbeat_time.as_ref())
        .map(|time| time.0);
    let heartbeat = renewed.max(reported);
    let seen = memory.nodes.entry(name.to_owned()).or_insert(Seen { heartbeat, since: input.now });
    if heartbeat > seen.heartbeat {
        *seen = Seen { heartbeat, since: input.now };
    }
    let grace = match heartbeat {
        Some(_) => input.options.node_grace,
        None => input.options.node_startup_grace,
    };
    grace.checked_sub(pod::elapsed(seen.since, input.now)).filter(|left| !left.is_zero())
}

/// All conditions that a Node reports itself become Unknown, as in Kubernetes.
fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions: Vec<NodeCondition> =
        node.status.iter().flat_map(|status| status.conditions.iter().flatten()).cloned().collect();
    let reported = |condition: &NodeCondition| {
        ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].contains(&condition.type_.as_str())
    };
    for condition in conditions.iter_mut().filter(|condition| reported(condition) && condition.status != "Unknown") {
        condition.status = "Unknown".into();
        condition.reason = Some("NodeStatusUnknown".into());
        condition.message = Some("The Node stopped posting its status.".into());
        condition.last_transition_time = Some(Time(now));
    }
    if !conditions.iter().any(|condition| condition.type_ == "Ready") {
        conditions.push(NodeCondition {
            type_: "Ready".into(),
            status: "Unknown".into(),
            reason: Some("NodeStatusNeverUpdated".into()),
            message: Some("The Node never posted its status.".into()),
            last_transition_time: Some(Time(now)),
            last_heartbeat_time: None,
        });
    }
    conditions
}

/// A silent Node's Pods are not ready. When it is back, those that *we* marked are as ready as their containers are.
fn pod_readiness(pod: &Arc<Pod>, node: Readiness, now: Timestamp) -> Option<Change> {
    let ready = pod::condition(pod, "Ready")?;
    let marked = ready.reason.as_deref() == Some(MARKED);
    let containers_ready = pod::condition(pod, "ContainersReady").is_some_and(|condition| condition.status == "True");
    let (status, reason, message) = match node {
        Readiness::Unknown if ready.status == "True" => {
            ("False", Some(MARKED.to_owned()), Some("the Pod's Node is silent".to_owned()))
        }
        Readiness::Ready if ready.status == "False" && marked && containers_ready => ("True", None, None),
        _ => return None,
    };
    let condition =
        PodCondition { status: status.into(), reason, message, last_transition_time: Some(Time(now)), ..ready.clone() };
    Some(Change::PodReady { pod: Arc::clone(pod), condition })
}

/// Reason by which we know the Pods that we marked.
const MARKED: &str = "NodeNotReady";

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
