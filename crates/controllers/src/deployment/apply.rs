//! Carries out a Deployment's plan.

use super::{plan::Change, revision, template};
use crate::{
    Error, Result,
    cache::Key,
    events::{Record, Severity, reference_to},
    owner,
    write::{Cluster, Grace, Kind},
};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

/// Makes one change after the other and stops at the first that fails: the rest was planned on its success.
pub(crate) async fn apply(cluster: &Cluster, deployment: &Deployment, changes: Vec<Change>) -> Result<()> {
    for change in changes {
        one(cluster, deployment, change).await?;
    }
    Ok(())
}

async fn one(cluster: &Cluster, deployment: &Deployment, change: Change) -> Result<()> {
    match change {
        Change::Adopt(set) => cluster.patch(&*set, &owner::adopt(deployment, &*set)).await,
        Change::Release(set) => cluster.patch(&*set, &owner::release(&deployment.metadata, &*set)).await,
        Change::Create(set) => create(cluster, deployment, &set).await,
        Change::Update { old, new } => {
            cluster.patch(&*old, &*new).await?;
            let size = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
            tell_scaling(cluster, deployment, &new, size(&old), size(&new));
            Ok(())
        }
        Change::Delete(set) => cluster.delete(&*set, Grace::Own).await,
        Change::Revision(number) => {
            let current = current(cluster, deployment);
            let mut changed = current.clone();
            let annotations = changed.metadata.annotations.get_or_insert_default();
            annotations.insert(revision::REVISION.into(), number);
            cluster.patch(&current, &changed).await
        }
        Change::Status(status) => {
            let current = current(cluster, deployment);
            let mut changed = current.clone();
            changed.status = Some(*status);
            cluster.patch_status(&current, &changed).await
        }
    }
}

/// The Deployment after our own earlier writes of this round; anybody else's write means that the plan is old, and the
/// resourceVersion of what was planned on makes ours fail.
fn current(cluster: &Cluster, planned: &Deployment) -> Deployment {
    let held = cluster.caches.deployments.get(&Key::of(&planned.metadata));
    let same_plan = held.filter(|held| {
        held.metadata.uid == planned.metadata.uid && held.metadata.generation == planned.metadata.generation
    });
    same_plan.map_or_else(|| planned.clone(), |held| held.as_ref().clone())
}

async fn create(cluster: &Cluster, deployment: &Deployment, set: &ReplicaSet) -> Result<()> {
    let created = match cluster.create(set).await {
        Ok(created) => created,
        Err(error) if error.is_already_exists() => {
            return collide(cluster, deployment, set, error).await;
        }
        Err(error) => {
            let name = set.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Failed to create new replica set \"{name}\": {}", error.message());
            record(cluster, deployment, Severity::Warning, "ReplicaSetCreateError", message);
            return Err(error);
        }
    };
    let size = created.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    tell_scaling(cluster, deployment, &created, 0, size);
    Ok(())
}

/// The name is taken: by our own ReplicaSet that the cache has not seen yet, or by a stranger, for whom the next try
/// uses another hash.
async fn collide(cluster: &Cluster, deployment: &Deployment, set: &ReplicaSet, error: Error) -> Result<()> {
    let key = Key::of(&set.metadata);
    let found = ReplicaSet::api(cluster.client.clone(), &key.namespace).get_opt(&key.name).await;
    let found = found.map_err(|source| Error::Api {
        operation: "get",
        kind: "ReplicaSet",
        name: key.to_string(),
        source: Box::new(source),
    })?;
    let Some(found) = found else {
        return Err(error);
    };
    let template_of = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    if owner::is_controlled_by(&found.metadata, &deployment.metadata)
        && template::same(&template_of(&found), &template_of(set))
    {
        cluster.caches.replica_sets.written(found);
        return Ok(());
    }
    let current = current(cluster, deployment);
    let mut changed = current.clone();
    let status = changed.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
    cluster.patch_status(&current, &changed).await?;
    Err(error)
}

fn tell_scaling(cluster: &Cluster, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
    if from == to {
        return;
    }
    let direction = if to > from { "up" } else { "down" };
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
    record(cluster, deployment, Severity::Normal, "ScalingReplicaSet", message);
}

fn record(cluster: &Cluster, about: &Deployment, severity: Severity, reason: &'static str, message: String) {
    cluster.recorder.record(Record {
        about: reference_to(about),
        severity,
        reason,
        message,
        component: "deployment-controller",
    });
}
