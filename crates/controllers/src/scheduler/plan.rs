//! Which Pod goes to which Node: among those that can take it, the one with the fewest Pods of the same controller,
//! then the fewest in all, then the first by name.

use super::{
    fit,
    neighbours::{self, Place},
};
use crate::{owner, pod};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What happens to one Pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It goes to this Node.
    Bind {
        /// The Pod as it was seen.
        pod: Arc<Pod>,
        /// Name of the Node.
        node: String,
    },
    /// It stays where it is, and people are told why.
    Unschedulable {
        /// The Pod as it was seen.
        pod: Arc<Pod>,
        /// `0/3 nodes are available: …`
        message: String,
    },
}

/// True when this scheduler should find a Node for the Pod.
pub fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    pod::node(pod).is_none()
        && pod::is_active(pod)
        && spec.scheduler_name.as_deref().unwrap_or(SCHEDULER) == SCHEDULER
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
}

/// Decides for all waiting Pods at once: the oldest chooses first, and each one counts for the next.
pub fn plan(nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Vec<Decision> {
    let mut waiting: Vec<&Arc<Pod>> = pods.iter().filter(|pod| is_waiting(pod)).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    waiting.sort_by_key(|pod| {
        let meta = &pod.metadata;
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        (std::cmp::Reverse(priority), meta.creation_timestamp.clone(), meta.namespace.clone(), meta.name.clone())
    });
    let mut state: Vec<Occupied<'_>> = nodes
        .iter()
        .filter(|node| node.metadata.deletion_timestamp.is_none())
        .map(|node| Occupied::new(node))
        .collect();
    for pod in pods {
        let Some(name) = pod::node(pod) else { continue };
        if let Some(node) = state.iter_mut().find(|node| node.name() == name) {
            node.take(pod);
        }
    }
    waiting.into_iter().map(|pod| decide(pod, &mut state)).collect()
}

/// A Node and what it holds.
struct Occupied<'a> {
    node: &'a Node,
    residents: Vec<Arc<Pod>>,
    /// Counted Pods per group.
    groups: HashMap<Group, usize>,
    counted: usize,
}

/// Pods that should be spread: those of one controller, or else those that look alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Group {
    Controller(String),
    Labels(String, BTreeMap<String, String>),
}

impl Group {
    fn of(pod: &Pod) -> Self {
        match owner::controller_of(&pod.metadata) {
            Some(controller) => Self::Controller(controller.uid.clone()),
            None => Self::Labels(
                pod.metadata.namespace.clone().unwrap_or_default(),
                pod.metadata.labels.clone().unwrap_or_default(),
            ),
        }
    }
}

impl<'a> Occupied<'a> {
    fn new(node: &'a Node) -> Self {
        Self { node, residents: Vec::new(), groups: HashMap::new(), counted: 0 }
    }

    fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    fn take(&mut self, pod: &Arc<Pod>) {
        self.residents.push(Arc::clone(pod));
        // A Pod that is on its way out is no reason to avoid its Node.
        if pod::is_active(pod) {
            *self.groups.entry(Group::of(pod)).or_default() += 1;
            self.counted += 1;
        }
    }
}

fn decide(pod: &Arc<Pod>, nodes: &mut [Occupied<'_>]) -> Decision {
    if nodes.is_empty() {
        return Decision::Unschedulable { pod: Arc::clone(pod), message: "no nodes available to schedule pods".into() };
    }
    let group = Group::of(pod);
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<usize> = None;
    let places: Vec<Place<'_>> =
        nodes.iter().map(|node| Place { node: node.node, residents: &node.residents }).collect();
    for (index, node) in nodes.iter().enumerate() {
        let refused = fit::refusal(pod, node.node, &node.residents)
            .or_else(|| neighbours::refusal(pod, places[index], &places).map(str::to_owned));
        if let Some(reason) = refused {
            *refusals.entry(reason).or_default() += 1;
            continue;
        }
        let rank =
            |node: &Occupied<'_>| (node.groups.get(&group).copied().unwrap_or(0), node.counted, node.name().to_owned());
        if best.is_none_or(|best| rank(node) < rank(&nodes[best])) {
            best = Some(index);
        }
    }
    match best {
        Some(index) => {
            let node = &mut nodes[index];
            node.take(pod);
            Decision::Bind { pod: Arc::clone(pod), node: node.name().to_owned() }
        }
        None => Decision::Unschedulable { pod: Arc::clone(pod), message: explain(nodes.len(), &refusals) },
    }
}

/// Kubernetes' own sentence (`FitError.Error`): reasons with their counts, sorted as text.
fn explain(nodes: usize, refusals: &BTreeMap<String, usize>) -> String {
    let mut reasons: Vec<String> = refusals.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

/// The name by which Pods ask for this scheduler.
const SCHEDULER: &str = "default-scheduler";

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
