//! Which Pods have nobody left who could end them (Kubernetes' `gc_controller.go`).

use crate::pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// Why a Pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// Its Node object is gone.
    NodeVanished,
    /// It was deleted before it ever had a Node.
    NeverScheduled,
}

/// Pods to remove, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Delete these without grace.
    pub remove: Vec<(Arc<Pod>, Orphan)>,
    /// When the next Node has been gone long enough.
    pub look_again: Option<Duration>,
}

/// Since when each Node that still has Pods has been missing.
pub type Missing = HashMap<String, Timestamp>;

/// Plans for all Pods. `missing` is the planner's memory: a Node may be replaced by one of the same name, so its Pods
/// stay for `grace`.
pub fn plan(
    pods: &[Arc<Pod>],
    nodes: &HashSet<String>,
    missing: &mut Missing,
    grace: Duration,
    now: Timestamp,
) -> Plan {
    let gone = |pod: &Arc<Pod>| pod::node(pod).filter(|node| !nodes.contains(*node)).map(str::to_owned);
    let wanted: HashSet<String> = pods.iter().filter_map(gone).collect();
    missing.retain(|node, _| wanted.contains(node));
    for node in wanted {
        missing.entry(node).or_insert(now);
    }
    let mut plan = Plan::default();
    for pod in pods {
        if pod::node(pod).is_none() && pod.metadata.deletion_timestamp.is_some() {
            plan.remove.push((Arc::clone(pod), Orphan::NeverScheduled));
        }
        let Some(since) = gone(pod).and_then(|node| missing.get(&node).copied()) else {
            continue;
        };
        match grace.checked_sub(pod::elapsed(since, now)).filter(|left| !left.is_zero()) {
            Some(left) => plan.look_again = Some(plan.look_again.map_or(left, |other| other.min(left))),
            None => plan.remove.push((Arc::clone(pod), Orphan::NodeVanished)),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn pod(name: &str, node: Option<&str>, deleted: bool) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.deletion_timestamp = deleted.then_some(Time(Timestamp::UNIX_EPOCH));
        pod.spec.get_or_insert_default().node_name = node.map(Into::into);
        Arc::new(pod)
    }

    #[test]
    fn cases() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let grace = Duration::from_secs(40);
        let nodes: HashSet<String> = ["worker-1".to_owned()].into();
        let pods = [
            pod("fine", Some("worker-1"), false),
            pod("ending", Some("worker-1"), true),
            pod("waiting", None, false),
            pod("cancelled", None, true),
            pod("orphan", Some("worker-9"), false),
        ];
        let mut missing = Missing::new();
        let names = |plan: &Plan| -> Vec<String> {
            plan.remove.iter().filter_map(|(pod, _)| pod.metadata.name.clone()).collect()
        };
        let early = plan(&pods, &nodes, &mut missing, grace, at(100));
        assert_eq!(names(&early), ["cancelled"]);
        assert_eq!(early.look_again, Some(grace));
        assert_eq!(names(&plan(&pods, &nodes, &mut missing, grace, at(139))), ["cancelled"]);
        assert_eq!(names(&plan(&pods, &nodes, &mut missing, grace, at(140))), ["cancelled", "orphan"]);
        // The Node is back: the next absence counts from its own beginning.
        let back: HashSet<String> = ["worker-1".to_owned(), "worker-9".to_owned()].into();
        assert_eq!(names(&plan(&pods, &back, &mut missing, grace, at(141))), ["cancelled"]);
        assert_eq!(names(&plan(&pods, &nodes, &mut missing, grace, at(150))), ["cancelled"]);
    }
}
