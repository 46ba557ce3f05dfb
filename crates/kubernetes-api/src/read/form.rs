use crate::http::{Accept, Form};
use crate::registry::Resource;
use crate::table;
use serde_json::{Value, json};

/// One object in the form the client wants.
pub fn shown(resource: &Resource, accept: &Accept, include: &str, object: Value) -> Value {
    match accept.form {
        Form::Table => {
            let version = object["metadata"]["resourceVersion"].clone();
            let mut table = table::table(resource, std::slice::from_ref(&object), include, &accept.version);
            table["metadata"] = json!({ "resourceVersion": version });
            table
        }
        Form::Metadata => partial(&object, &accept.version),
        _ => object,
    }
}

/// A list in the form the client wants; `metadata` is the list's own.
pub fn shown_list(resource: &Resource, accept: &Accept, include: &str, items: Vec<Value>, metadata: Value) -> Value {
    match accept.form {
        Form::Table => {
            let mut table = table::table(resource, &items, include, &accept.version);
            table["metadata"] = metadata;
            table
        }
        Form::MetadataList => {
            let items: Vec<Value> = items.iter().map(|item| partial(item, &accept.version)).collect();
            let version = format!("meta.k8s.io/{}", accept.version);
            json!({ "kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": metadata, "items": items })
        }
        _ => {
            json!({ "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(), "metadata": metadata, "items": items })
        }
    }
}

fn partial(object: &Value, version: &str) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": object["metadata"] })
}
