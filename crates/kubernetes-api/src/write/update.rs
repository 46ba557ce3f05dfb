use super::{WriteOptions, prepare};
use crate::api::{Api, present, stored};
use crate::custom;
use crate::error::{ApiError, Cause};
use crate::object;
use crate::registry::Resource;
use object_store::{Expect, StoreError, Write};
use serde_json::Value;

/// Which part of an object a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status (of kinds that have the subresource).
    Main,
    /// The status alone.
    Status,
    /// Everything: for the server's own controllers and subresources.
    Whole,
}

const CHANGED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// Reads, changes and writes one object; repeats when somebody else was faster, unless the change names a
/// resourceVersion that no longer stands.
pub async fn update(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    part: Part,
    options: &mut WriteOptions,
    mut change: impl FnMut(&Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let key = resource.key(namespace, name);
    let service = resource.group.is_empty() && resource.plural == "services" && part != Part::Status;
    let mut allocator = if service { Some(api.services.lock().await) } else { None };
    loop {
        let Some(entry) = api.store.get(&key) else {
            return Err(ApiError::not_found(&resource.group, &resource.plural, name));
        };
        let old = present(resource, &entry)?;
        let mut new = change(&old)?;
        if !new.is_object() || !new["metadata"].is_object() {
            return Err(ApiError::bad_request("the changed object has no metadata"));
        }
        let asked = object::text(&new, "/metadata/resourceVersion");
        if !asked.is_empty() && asked != entry.revision.to_string() {
            return Err(ApiError::conflict(&resource.group, &resource.plural, name, CHANGED));
        }
        keep_identity(resource, &old, &mut new)?;
        keep_other_part(resource, &old, &mut new, part);
        prepare::shape(resource, &mut new, options)?;
        if prepare::has_generation(resource) {
            let generation = object::number(&old, "/metadata/generation").unwrap_or(1);
            let moved = i64::from(part != Part::Status && prepare::counted(&old) != prepare::counted(&new));
            object::metadata_mut(&mut new).insert("generation".into(), (generation + moved).into());
        }
        if let Some(allocator) = &mut allocator {
            allocator
                .assign(&key, Some(&old), &mut new)
                .map_err(|causes| ApiError::invalid(&resource.group, &resource.kind, name, &causes))?;
        }
        // What may never change for others, the server's own subresources may: `binding` gives a Pod its node.
        let before = if part == Part::Whole { None } else { Some(&old) };
        prepare::validate(resource, before, &new)?;
        if !options.applied {
            let subresource = if part == Part::Status { "status" } else { "" };
            crate::apply::note_update(resource, Some(&old), &mut new, &options.field_manager, subresource);
        }
        object::set_resource_version(&mut new, entry.revision);
        if same_but_managed_times(&new, &old) {
            return Ok(old);
        }
        if options.dry_run {
            return Ok(new);
        }
        let gone = is_finished(resource, &new);
        let value = if gone { None } else { Some(stored(resource, &new)) };
        match api.store.write(Write { key: key.clone(), value, expect: Expect::Revision(entry.revision) }).await {
            Ok(revision) => {
                object::set_resource_version(&mut new, revision);
                if let Some(allocator) = &mut allocator {
                    if gone { allocator.release(&key) } else { allocator.record(&key, &new) }
                }
                if resource.plural == "customresourcedefinitions" {
                    if gone { custom::unregister(api, &new) } else { custom::register(api, &new) }
                }
                return Ok(new);
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Deletion had begun and nothing holds the object any more.
pub(super) fn is_finished(resource: &Resource, object: &Value) -> bool {
    let held = !object::finalizers(object).is_empty()
        || object::number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) > 0
        || (resource.group.is_empty()
            && resource.plural == "namespaces"
            && !object::list(object, "/spec/finalizers").is_empty());
    object::is_deleting(object) && !held
}

/// What nobody may change: name, uid, times.
fn keep_identity(resource: &Resource, old: &Value, new: &mut Value) -> Result<(), ApiError> {
    let name = object::name(old).to_owned();
    if object::name(new) != name {
        if object::name(new).is_empty() {
            object::metadata_mut(new).insert("name".into(), name.clone().into());
        } else {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                object::name(new)
            )));
        }
    }
    let uid = object::uid(new);
    if !uid.is_empty() && uid != object::uid(old) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object::uid(old));
        return Err(ApiError::conflict(&resource.group, &resource.plural, &name, &why));
    }
    let namespace = object::namespace(new);
    if !namespace.is_empty() && namespace != object::namespace(old) {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if object::is_deleting(old) {
        let before = object::finalizers(old);
        if let Some(added) = object::finalizers(new).iter().find(|finalizer| !before.contains(finalizer)) {
            let message = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            return Err(ApiError::invalid(
                &resource.group,
                &resource.kind,
                &name,
                &[Cause::forbidden("metadata.finalizers", message)],
            ));
        }
    }
    let metadata = object::metadata_mut(new);
    for field in [
        "uid",
        "creationTimestamp",
        "namespace",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    // A client that does not send them back (older ones, jq) does not mean to clear them.
    if metadata.get("managedFields").is_none_or(Value::is_null)
        && let Some(fields) = old["metadata"].get("managedFields")
    {
        metadata.insert("managedFields".into(), fields.clone());
    }
    metadata.remove("selfLink");
    Ok(())
}

fn keep_other_part(resource: &Resource, old: &Value, new: &mut Value, part: Part) {
    match part {
        Part::Whole => {}
        Part::Main if resource.status => match (old.get("status"), new.as_object_mut()) {
            (Some(status), Some(map)) => {
                map.insert("status".into(), status.clone());
            }
            (None, Some(map)) => {
                map.remove("status");
            }
            (_, None) => {}
        },
        Part::Main => {}
        Part::Status => {
            let status = new.get("status").cloned();
            let mut kept = old.clone();
            // Who manages which field may change with a status, all other metadata does not.
            if let Some(fields) = new["metadata"].get("managedFields") {
                object::metadata_mut(&mut kept).insert("managedFields".into(), fields.clone());
            }
            if let (Some(map), Some(status)) = (kept.as_object_mut(), status) {
                map.insert("status".into(), status);
            }
            *new = kept;
        }
    }
}

/// A write that changes nothing is not stored: no revision, no event. Times in managedFields alone do not count.
fn same_but_managed_times(new: &Value, old: &Value) -> bool {
    if new == old {
        return true;
    }
    let bare = |object: &Value| {
        let mut object = object.clone();
        for entry in object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        object
    };
    bare(new) == bare(old)
}
