//! Which Pods to claim, create and delete.

use super::rank;
use crate::{
    owner::{self, Claim},
    pod,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::sync::Arc;

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write our owner reference into the Pod.
    Adopt(Arc<Pod>),
    /// Take our owner reference out of the Pod.
    Release(Arc<Pod>),
    /// Create this many Pods.
    Create {
        /// What each one looks like; the server completes the name.
        pod: Box<Pod>,
        /// How many.
        count: usize,
    },
    /// Delete the Pod.
    Delete(Arc<Pod>),
}

/// What the planner sees.
pub struct Input<'a> {
    /// The ReplicaSet.
    pub set: &'a ReplicaSet,
    /// All Pods of its namespace.
    pub pods: &'a [Arc<Pod>],
    /// Uids of the ReplicaSets of the same Deployment (ours among them): their Pods count when it is decided which
    /// Node is the fullest.
    pub siblings: &'a [String],
    /// The clock.
    pub now: Timestamp,
}

/// Plans one ReplicaSet. Adoption comes alone: what is adopted counts in the next round.
pub fn plan(input: &Input<'_>) -> Vec<Change> {
    let Some(spec) = &input.set.spec else {
        return Vec::new();
    };
    let meta = &input.set.metadata;
    let claims: Vec<Change> = input
        .pods
        .iter()
        .filter_map(|pod| match owner::claim(meta, &spec.selector, &pod.metadata) {
            // An ended Pod is history, whoever it belonged to.
            Claim::Adopt if pod::is_active(pod) => Some(Change::Adopt(Arc::clone(pod))),
            Claim::Release => Some(Change::Release(Arc::clone(pod))),
            _ => None,
        })
        .collect();
    if !claims.is_empty() || meta.deletion_timestamp.is_some() {
        return claims;
    }
    let held = held(input.set, input.pods);
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if held.len() < wanted {
        let count = (wanted - held.len()).min(BURST);
        return vec![Change::Create { pod: Box::new(from_template(input.set)), count }];
    }
    let surplus = (held.len() - wanted).min(BURST);
    if surplus == 0 {
        return Vec::new();
    }
    let related: Vec<&Arc<Pod>> = input
        .pods
        .iter()
        .filter(|pod| pod::is_active(pod))
        .filter(|pod| {
            owner::controller_of(&pod.metadata).is_some_and(|controller| input.siblings.contains(&controller.uid))
        })
        .collect();
    rank::expendable_first(&held, &related, input.now).into_iter().take(surplus).map(Change::Delete).collect()
}

/// The Pods that count: ours, matching and active.
pub fn held(set: &ReplicaSet, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let Some(spec) = &set.spec else {
        return Vec::new();
    };
    pods.iter()
        .filter(|pod| pod::is_active(pod))
        .filter(|pod| owner::claim(&set.metadata, &spec.selector, &pod.metadata) == Claim::Ours)
        .cloned()
        .collect()
}

/// A Pod as the template describes it.
fn from_template(set: &ReplicaSet) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.metadata.name.as_deref().unwrap_or_default())),
            namespace: set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner::controller_reference(set)]),
            ..Default::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Creations or deletions in one round (Kubernetes' `BurstReplicas`).
const BURST: usize = 500;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
