//! What creating and updating have in common.

use super::WriteOptions;
use crate::error::ApiError;
use crate::object;
use crate::registry::Resource;
use crate::{custom, decode, defaults, validation};
use serde_json::Value;

/// Types and unknown fields alone, for what is only a part of an object.
pub fn known_fields(resource: &Resource, object: &mut Value, options: &mut WriteOptions) -> Result<(), ApiError> {
    check_kind(resource, object)?;
    if let Some(definition) = &resource.definition {
        let unknown = decode::decode(definition, &resource.kind, object)?;
        options.unknown_fields(&unknown)?;
    }
    Ok(())
}

/// Makes the object fit its kind: types, unknown fields, defaults.
pub fn shape(resource: &Resource, object: &mut Value, options: &mut WriteOptions) -> Result<(), ApiError> {
    check_kind(resource, object)?;
    let unknown = match &resource.definition {
        Some(definition) => decode::decode(definition, &resource.kind, object)?,
        None => custom::shape(resource, object)?,
    };
    options.unknown_fields(&unknown)?;
    defaults::apply(resource, object);
    if resource.plural == "customresourcedefinitions" {
        custom::complete_definition(object);
    }
    Ok(())
}

/// Everything that must hold before storing.
pub fn validate(resource: &Resource, old: Option<&Value>, new: &Value) -> Result<(), ApiError> {
    validation::validate(resource, old, new)?;
    match resource.plural.as_str() {
        "customresourcedefinitions" => custom::validate_definition(new),
        _ if resource.is_custom() => custom::validate(resource, new),
        _ => Ok(()),
    }
}

fn check_kind(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the object is no map"));
    }
    let (api_version, kind) =
        (object::text(object, "/apiVersion").to_owned(), object::text(object, "/kind").to_owned());
    let expected = resource.api_version();
    if (!api_version.is_empty() && api_version != expected) || (!kind.is_empty() && kind != resource.kind) {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; got apiVersion {api_version:?}, \
             kind {kind:?}, expected {expected:?}",
            resource.kind
        )));
    }
    object["apiVersion"] = expected.into();
    object["kind"] = resource.kind.clone().into();
    Ok(())
}

/// Whether `metadata.generation` counts this kind's changes.
pub fn has_generation(resource: &Resource) -> bool {
    match resource.group.as_str() {
        "" => matches!(resource.plural.as_str(), "pods" | "replicationcontrollers"),
        "apps" | "batch" | "policy" | "networking.k8s.io" | "discovery.k8s.io" | "apiextensions.k8s.io" => true,
        _ => resource.is_custom(),
    }
}

/// The parts of an object that `metadata.generation` counts.
pub fn counted(object: &Value) -> Value {
    let mut rest = object.clone();
    if let Some(map) = rest.as_object_mut() {
        for key in ["metadata", "status", "apiVersion", "kind"] {
            map.remove(key);
        }
    }
    rest
}
