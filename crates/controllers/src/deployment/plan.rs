//! What one Deployment needs next.

use super::{draft::Draft, rollout::Rollout};
use crate::owner::{self, Claim};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
    core::v1::Pod,
};
use std::{sync::Arc, time::Duration};

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write our owner reference into the ReplicaSet.
    Adopt(Arc<ReplicaSet>),
    /// Take our owner reference out of the ReplicaSet.
    Release(Arc<ReplicaSet>),
    /// Create a ReplicaSet.
    Create(Box<ReplicaSet>),
    /// Change metadata or size of a ReplicaSet.
    Update {
        /// As it was seen.
        old: Arc<ReplicaSet>,
        /// As it shall be.
        new: Box<ReplicaSet>,
    },
    /// Delete an old ReplicaSet.
    Delete(Arc<ReplicaSet>),
    /// Note the rollout's number on the Deployment.
    Revision(String),
    /// Report.
    Status(Box<DeploymentStatus>),
}

/// What the planner sees.
pub struct Input<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// All ReplicaSets of its namespace.
    pub sets: &'a [Arc<ReplicaSet>],
    /// All Pods of its namespace.
    pub pods: &'a [Arc<Pod>],
    /// The clock.
    pub now: Timestamp,
}

/// Changes, and when to look again although nothing may have changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they should be made.
    pub changes: Vec<Change>,
    /// When the progress deadline ends.
    pub look_again: Option<Duration>,
}

/// Plans one step. Carrying it out changes ReplicaSets, which brings the next step.
pub fn plan(input: &Input<'_>) -> Plan {
    let deployment = input.deployment;
    let Some(spec) = &deployment.spec else {
        return Plan::default();
    };
    let mut claims = Vec::new();
    let mut drafts = Vec::new();
    for set in input.sets {
        match owner::claim(&deployment.metadata, &spec.selector, &set.metadata) {
            Claim::Ours => drafts.push(Draft::of(set)),
            Claim::Adopt => claims.push(Change::Adopt(Arc::clone(set))),
            Claim::Release => claims.push(Change::Release(Arc::clone(set))),
            Claim::Foreign => {}
        }
    }
    if !claims.is_empty() {
        return Plan { changes: claims, look_again: None };
    }
    drafts.sort_by_key(|draft| {
        let meta = &draft.set.metadata;
        (meta.creation_timestamp.clone(), meta.name.clone())
    });
    let mut rollout = Rollout::new(input, drafts);
    if deployment.metadata.deletion_timestamp.is_none() {
        rollout.step();
    }
    rollout.finish()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
