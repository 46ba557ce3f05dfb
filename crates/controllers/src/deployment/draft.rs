//! ReplicaSets as they are and as they shall be: the planner works on drafts, and the changes are the differences.

use super::{
    limits::Limits,
    revision,
    template::{self, HASH_LABEL},
};
use crate::owner;
use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::sync::Arc;

/// One ReplicaSet under planning.
#[derive(Clone, Debug)]
pub struct Draft {
    /// As it was seen; `None` when it is to be created.
    pub seen: Option<Arc<ReplicaSet>>,
    /// As it shall be.
    pub set: ReplicaSet,
    /// It shall go.
    pub removed: bool,
}

impl Draft {
    /// A draft of an existing ReplicaSet, without changes yet.
    pub fn of(seen: &Arc<ReplicaSet>) -> Self {
        Self { seen: Some(Arc::clone(seen)), set: seen.as_ref().clone(), removed: false }
    }

    /// A ReplicaSet for the Deployment's present template, with no Pods yet.
    pub fn for_template(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = template::hash(&spec.template, collisions);
        let mut template = spec.template;
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH_LABEL.into(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector;
        selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{hash}")),
                namespace: deployment.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: Some(revision::inherited_annotations(deployment)),
                owner_references: Some(vec![owner::controller_reference(deployment)]),
                ..Default::default()
            },
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: Some(0),
                selector,
                template: Some(template),
            }),
            status: None,
        };
        Self { seen: None, set, removed: false }
    }

    /// Wanted Pods of this ReplicaSet.
    pub fn replicas(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    /// Wanted Pods before planning.
    pub fn replicas_seen(&self) -> i32 {
        self.seen.as_ref().map_or(0, |seen| seen.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1))
    }

    /// Asks for this many Pods, noting for proportional scaling what the Deployment wanted at that time.
    pub fn scale_to(&mut self, replicas: i32, limits: &Limits) {
        self.set.spec.get_or_insert_default().replicas = Some(replicas.max(0));
        revision::note_replicas(&mut self.set.metadata, limits);
    }

    /// Pods that exist.
    pub fn existing(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// Pods that are ready.
    pub fn ready(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    /// Pods that have been ready for long enough.
    pub fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    /// True when the draft differs from what was seen.
    pub fn is_changed(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| **seen != self.set)
    }
}

/// Sum over drafts.
pub fn sum<'a>(drafts: impl IntoIterator<Item = &'a Draft>, number: impl Fn(&Draft) -> i32) -> i32 {
    drafts.into_iter().map(number).fold(0, i32::saturating_add)
}
