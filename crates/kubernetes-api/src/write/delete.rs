use super::update::is_finished;
use crate::api::{Api, present, stored};
use crate::custom;
use crate::error::ApiError;
use crate::object;
use crate::registry::Resource;
use object_store::{Expect, StoreError, Write};
use serde_json::{Value, json};

/// `DeleteOptions` of a request.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds for Pods.
    pub grace_period: Option<i64>,
    /// Background, Foreground or Orphan.
    pub propagation: Option<String>,
    /// Only this very object.
    pub uid: Option<String>,
    /// Only this very state.
    pub resource_version: Option<String>,
    /// Do everything but store.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// From a body (or nothing) and the query; the body wins, as in Kubernetes.
    pub fn parse(body: &Value, query: &crate::http::Query) -> Result<Self, ApiError> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let query_text = |name: &str| Some(query.get(name).to_owned()).filter(|text| !text.is_empty());
        let grace_period = match body.get("gracePeriodSeconds").and_then(Value::as_i64) {
            Some(seconds) => Some(seconds),
            None => query.number("gracePeriodSeconds")?.and_then(|seconds| i64::try_from(seconds).ok()),
        };
        if grace_period.is_some_and(|seconds| seconds < 0) {
            return Err(ApiError::bad_request("gracePeriodSeconds must not be negative"));
        }
        let orphan = body
            .get("orphanDependents")
            .and_then(Value::as_bool)
            .and_then(|orphan| orphan.then(|| "Orphan".to_owned()));
        let propagation = text("/propagationPolicy").or_else(|| query_text("propagationPolicy")).or(orphan);
        if let Some(policy) =
            propagation.as_deref().filter(|policy| !matches!(*policy, "Background" | "Foreground" | "Orphan"))
        {
            return Err(ApiError::bad_request(format!("invalid DeleteOptions: propagationPolicy: {policy:?}")));
        }
        Ok(Self {
            grace_period,
            propagation,
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            dry_run: query.dry_run()? || object::list(body, "/dryRun").iter().any(|word| word == "All"),
        })
    }
}

/// How a deletion ended.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// The object is gone; this is its last state.
    Gone(Value),
    /// Deletion has begun; the object is there until somebody finishes it.
    Begun(Value),
}

/// Deletes, or begins to: Pods on a node wait for the node, finalizers for whoever put them there.
pub async fn delete(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let key = resource.key(namespace, name);
    loop {
        let Some(entry) = api.store.get(&key) else {
            return Err(ApiError::not_found(&resource.group, &resource.plural, name));
        };
        let old = present(resource, &entry)?;
        check_preconditions(resource, &old, options)?;
        if resource.group.is_empty() && resource.plural == "namespaces" && crate::bootstrap::is_permanent(name) {
            return Err(ApiError::forbidden("", "namespaces", name, "this namespace may not be deleted"));
        }
        let mut new = old.clone();
        begin(resource, &mut new, options);
        if is_finished(resource, &new) {
            if options.dry_run || remove(api, resource, &key, &old, entry.revision).await? {
                return Ok(Deleted::Gone(new));
            }
            continue;
        }
        if new == old || options.dry_run {
            return Ok(Deleted::Begun(new));
        }
        match api
            .store
            .write(Write {
                key: key.clone(),
                value: Some(stored(resource, &new)),
                expect: Expect::Revision(entry.revision),
            })
            .await
        {
            Ok(revision) => {
                object::set_resource_version(&mut new, revision);
                return Ok(Deleted::Begun(new));
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the object out of the store; false where it was changed meanwhile.
pub async fn remove(api: &Api, resource: &Resource, key: &str, old: &Value, revision: u64) -> Result<bool, ApiError> {
    let service = resource.group.is_empty() && resource.plural == "services";
    let mut allocator = if service { Some(api.services.lock().await) } else { None };
    match api.store.write(Write { key: key.to_owned(), value: None, expect: Expect::Revision(revision) }).await {
        Ok(_) => {
            if let Some(allocator) = &mut allocator {
                allocator.release(key);
            }
            if resource.plural == "customresourcedefinitions" {
                custom::unregister(api, old);
            }
            Ok(true)
        }
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn check_preconditions(resource: &Resource, old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let checks = [
        ("UID", &options.uid, object::uid(old)),
        ("ResourceVersion", &options.resource_version, object::text(old, "/metadata/resourceVersion")),
    ];
    for (what, wanted, found) in checks {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
            return Err(ApiError::conflict(&resource.group, &resource.plural, object::name(old), &why));
        }
    }
    Ok(())
}

/// Marks the object as being deleted.
fn begin(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    let pod = resource.group.is_empty() && resource.plural == "pods";
    let grace = if pod { pod_grace(object, options) } else { 0 };
    let finalizer = match options.propagation.as_deref() {
        Some("Foreground") => Some("foregroundDeletion"),
        Some("Orphan") => Some("orphan"),
        _ => None,
    };
    let instances = (resource.plural == "customresourcedefinitions").then_some(custom::CLEANUP_FINALIZER);
    let mut finalizers = object::finalizers(object);
    if !object::is_deleting(object) {
        for finalizer in finalizer.into_iter().chain(instances) {
            if !finalizers.iter().any(|one| one == finalizer) {
                finalizers.push(finalizer.to_owned());
            }
        }
    }
    let deleting = object::is_deleting(object);
    let before = object::number(object, "/metadata/deletionGracePeriodSeconds");
    let metadata = object::metadata_mut(object);
    if !finalizers.is_empty() {
        metadata.insert("finalizers".into(), finalizers.into());
    }
    if deleting {
        // Grace may only become shorter.
        if before.is_none_or(|before| grace < before) && (pod || before.is_none()) {
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
            metadata.insert("deletionTimestamp".into(), object::in_seconds(grace).into());
        }
    } else {
        metadata.insert("deletionTimestamp".into(), object::in_seconds(grace).into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    if resource.group.is_empty() && resource.plural == "namespaces" {
        object["status"] = json!({ "phase": "Terminating" });
    }
}

/// A Pod that no node runs needs no grace.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let asked =
        options.grace_period.or_else(|| object::number(pod, "/spec/terminationGracePeriodSeconds")).unwrap_or(30);
    let unscheduled = object::text(pod, "/spec/nodeName").is_empty();
    let ended = matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    if unscheduled || ended { 0 } else { asked.max(0) }
}
