use super::{WriteOptions, prepare};
use crate::api::{Api, stored};
use crate::custom;
use crate::error::ApiError;
use crate::object;
use crate::registry::Resource;
use object_store::{Expect, StoreError, Write};
use serde_json::{Value, json};

/// Creates an object in a namespace (None for kinds without).
pub async fn create(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    mut object: Value,
    options: &mut WriteOptions,
) -> Result<Value, ApiError> {
    place(resource, namespace, &mut object)?;
    if !object::text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let generated = object::name(&object).is_empty() && !object::text(&object, "/metadata/generateName").is_empty();
    // A name that is taken is tried anew, as Kubernetes does since 1.30.
    for attempt in 0.. {
        let mut candidate = object.clone();
        if generated {
            let prefix: String = object::text(&object, "/metadata/generateName").chars().take(58).collect();
            object::metadata_mut(&mut candidate).insert("name".into(), format!("{prefix}{}", suffix()).into());
        }
        match create_named(api, resource, namespace, candidate, options).await {
            Err(error) if error.reason == "AlreadyExists" && generated && attempt < 8 => {}
            done => return done,
        }
    }
    Err(ApiError::internal("no free name"))
}

async fn create_named(
    api: &Api,
    resource: &Resource,
    namespace: Option<&str>,
    mut object: Value,
    options: &mut WriteOptions,
) -> Result<Value, ApiError> {
    let metadata = object::metadata_mut(&mut object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), object::now().into());
    if prepare::has_generation(resource) {
        metadata.insert("generation".into(), 1.into());
    }
    // A status belongs to whoever observes, not to whoever creates.
    if resource.status
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    if resource.plural == "namespaces" && resource.group.is_empty() {
        object["spec"] = json!({ "finalizers": ["kubernetes"] });
    }
    prepare::shape(resource, &mut object, options)?;
    let name = object::name(&object).to_owned();
    let key = resource.key(namespace, &name);
    let service = resource.group.is_empty() && resource.plural == "services";
    let mut allocator = if service { Some(api.services.lock().await) } else { None };
    // Before anything is allocated or judged: a name that is taken is told first, as Kubernetes does.
    if !name.is_empty() && api.store.get(&key).is_some() {
        return Err(ApiError::already_exists(&resource.group, &resource.plural, &name));
    }
    if let Some(allocator) = &mut allocator {
        allocator
            .assign(&key, None, &mut object)
            .map_err(|causes| ApiError::invalid(&resource.group, &resource.kind, &name, &causes))?;
    }
    prepare::validate(resource, None, &object)?;
    if let Some(namespace) = namespace {
        require_live_namespace(api, resource, namespace, &name)?;
    }
    if !options.applied {
        crate::apply::note_update(resource, None, &mut object, "", "");
    }
    if options.dry_run {
        return Ok(object);
    }
    let write = Write { key: key.clone(), value: Some(stored(resource, &object)), expect: Expect::Absent };
    let revision = match api.store.write(write).await {
        Ok(revision) => revision,
        Err(StoreError::Conflict { .. }) => {
            return Err(ApiError::already_exists(&resource.group, &resource.plural, &name));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(allocator) = &mut allocator {
        allocator.record(&key, &object);
    }
    object::set_resource_version(&mut object, revision);
    if resource.plural == "customresourcedefinitions" {
        custom::register(api, &object);
    }
    Ok(object)
}

/// Namespace of path and body must agree.
fn place(resource: &Resource, namespace: Option<&str>, object: &mut Value) -> Result<(), ApiError> {
    if object.get("metadata").is_some_and(|metadata| !metadata.is_object() && !metadata.is_null()) {
        return Err(ApiError::bad_request("metadata is no map"));
    }
    match namespace {
        Some(namespace) => {
            let asked = object::namespace(object);
            if !asked.is_empty() && asked != namespace {
                return Err(ApiError::bad_request(format!(
                    "the namespace of the provided object does not match the namespace sent on the request ({asked:?} and {namespace:?})"
                )));
            }
            object::metadata_mut(object).insert("namespace".into(), namespace.into());
        }
        None if resource.namespaced => {
            return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
        }
        None => {
            object::metadata_mut(object).remove("namespace");
        }
    }
    Ok(())
}

fn require_live_namespace(api: &Api, resource: &Resource, namespace: &str, name: &str) -> Result<(), ApiError> {
    let namespaces = api.builtin("", "namespaces")?;
    let (found, _) = api.get(&namespaces, None, namespace)?;
    if object::is_deleting(&found) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(&resource.group, &resource.plural, name, &why);
        error.details["causes"] = json!([{ "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace" }]);
        return Err(error);
    }
    Ok(())
}

/// Five letters that cannot make words, as Kubernetes' generated names end.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    uuid::Uuid::new_v4().into_bytes()[..5]
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}
