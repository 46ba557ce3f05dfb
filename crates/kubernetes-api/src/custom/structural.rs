//! Structural schemas (KEP-1111…, apiextensions `pkg/apiserver/schema`): prune, default, validate.

use crate::decode;
use crate::error::{ApiError, Cause};
use crate::object;
use crate::registry::Resource;
use serde_json::{Map, Value};

/// Deepest nesting that is looked at.
const MAX_DEPTH: usize = 100;

/// Makes a custom object fit: metadata is typed, the rest is pruned and completed by the schema. Returns what was
/// dropped.
pub fn shape(resource: &Resource, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let mut unknown = Vec::new();
    let metadata = object::metadata_mut(object);
    let mut typed = Value::Object(std::mem::take(metadata));
    let dropped = decode::decode("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", &resource.kind, &mut typed)?;
    unknown.extend(dropped.into_iter().map(|field| format!("metadata.{field}")));
    object["metadata"] = typed;
    let (Some(schema), Some(map)) = (resource.schema.as_deref(), object.as_object_mut()) else { return Ok(unknown) };
    let mut kept = Map::new();
    for key in ["apiVersion", "kind", "metadata"] {
        if let Some(value) = map.remove(key) {
            kept.insert(key.into(), value);
        }
    }
    let mut rest = Value::Object(std::mem::take(map));
    fit(schema, &mut rest, "", &mut unknown, 0);
    *object = rest;
    if let Some(map) = object.as_object_mut() {
        map.extend(kept);
    }
    Ok(unknown)
}

fn fit(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(map) => {
            if schema["x-kubernetes-embedded-resource"] == true && schema["properties"].is_null() {
                return;
            }
            let preserve = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let properties = schema["properties"].as_object();
            let additional = &schema["additionalProperties"];
            for (name, property) in properties.into_iter().flatten() {
                let absent = map.get(name).is_none_or(|value| value.is_null() && property["nullable"] != true);
                if absent && !property["default"].is_null() {
                    map.insert(name.clone(), property["default"].clone());
                } else if absent {
                    map.remove(name);
                }
            }
            let mut gone = Vec::new();
            for (key, item) in map.iter_mut() {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if let Some(property) = properties.and_then(|properties| properties.get(key)) {
                    fit(property, item, &below, unknown, depth + 1);
                } else if additional.is_object() {
                    fit(additional, item, &below, unknown, depth + 1);
                } else if !preserve && *additional != true && !embedded_meta(schema, key) {
                    unknown.push(below);
                    gone.push(key.clone());
                }
            }
            for key in gone {
                map.remove(&key);
            }
        }
        Value::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                fit(&schema["items"], item, &format!("{path}[{index}]"), unknown, depth + 1);
            }
        }
        _ => {}
    }
}

fn embedded_meta(schema: &Value, key: &str) -> bool {
    schema["x-kubernetes-embedded-resource"] == true && matches!(key, "apiVersion" | "kind" | "metadata")
}

/// Checks types, bounds, enums, patterns of simple form and required fields.
pub fn validate(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let Some(schema) = resource.schema.as_deref() else { return Ok(()) };
    let mut causes = Vec::new();
    check(schema, object, "", &mut causes, 0);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(&resource.group, &resource.kind, object::name(object), &causes))
    }
}

fn check(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>, depth: usize) {
    if depth > MAX_DEPTH || (value.is_null() && schema["nullable"] == true) {
        return;
    }
    let field = if path.is_empty() { "<root>" } else { path };
    if schema["x-kubernetes-int-or-string"] == true {
        if !value.is_string() && value.as_i64().is_none() {
            causes.push(Cause::invalid(field, value.clone(), "must be an integer or a string"));
        }
        return;
    }
    if let Some(kind) = schema["type"].as_str() {
        let fits = match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.as_i64().is_some() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            _ => true,
        };
        if !fits {
            let message = format!("must be of type {kind}: {value}");
            causes.push(Cause {
                reason: "FieldValueTypeInvalid",
                message: format!("Invalid value: {message}"),
                field: field.into(),
            });
            return;
        }
    }
    if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
        let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        causes.push(Cause::unsupported(field, value.as_str().unwrap_or(""), &names));
    }
    match value {
        Value::Object(map) => {
            for required in object::list(schema, "/required").iter().filter_map(Value::as_str) {
                if !map.contains_key(required) {
                    causes.push(Cause::required(join(path, required), ""));
                }
            }
            bound(schema, "Properties", map.len(), "properties", field, causes);
            for (key, item) in map {
                let property = &schema["properties"][key];
                if property.is_object() {
                    check(property, item, &join(path, key), causes, depth + 1);
                } else if schema["additionalProperties"].is_object() {
                    check(&schema["additionalProperties"], item, &join(path, key), causes, depth + 1);
                }
            }
        }
        Value::Array(list) => {
            bound(schema, "Items", list.len(), "items", field, causes);
            for (index, item) in list.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), causes, depth + 1);
            }
        }
        Value::String(text) => bound(schema, "Length", text.chars().count(), "characters", field, causes),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            let (low, high) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            if low.is_some_and(|low| number < low || (number == low && schema["exclusiveMinimum"] == true)) {
                let message = format!("should be greater than or equal to {}", schema["minimum"]);
                causes.push(Cause::invalid(field, value.clone(), format!("{field} in body {message}")));
            }
            if high.is_some_and(|high| number > high || (number == high && schema["exclusiveMaximum"] == true)) {
                let message = format!("should be less than or equal to {}", schema["maximum"]);
                causes.push(Cause::invalid(field, value.clone(), format!("{field} in body {message}")));
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
}

fn bound(schema: &Value, what: &str, size: usize, unit: &str, field: &str, causes: &mut Vec<Cause>) {
    let size = size as u64;
    if let Some(low) = schema[format!("min{what}")].as_u64().filter(|low| size < *low) {
        causes.push(Cause::invalid(field, size, format!("should have at least {low} {unit}")));
    }
    if let Some(high) = schema[format!("max{what}")].as_u64().filter(|high| size > *high) {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: format!("Too many: {size}: must have at most {high} {unit}"),
            field: field.into(),
        });
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prunes_completes_and_checks() {
        let schema = json!({ "type": "object", "required": ["spec"], "properties": { "spec": { "type": "object", "required": ["size"],
            "properties": { "size": { "type": "integer", "minimum": 1 }, "color": { "type": "string", "default": "red", "enum": ["red", "blue"] },
                "open": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                "port": { "x-kubernetes-int-or-string": true } } } } });
        let mut value = json!({ "spec": { "size": 1, "other": 2, "open": { "any": 1 } } });
        let mut unknown = Vec::new();
        fit(&schema, &mut value, "", &mut unknown, 0);
        assert_eq!(value, json!({ "spec": { "size": 1, "color": "red", "open": { "any": 1 } } }));
        assert_eq!(unknown, ["spec.other"]);
        for (wrong, field) in [
            (json!({}), "spec"),
            (json!({ "spec": {} }), "spec.size"),
            (json!({ "spec": { "size": "x" } }), "spec.size"),
            (json!({ "spec": { "size": 0 } }), "spec.size"),
            (json!({ "spec": { "size": 1, "color": "green" } }), "spec.color"),
            (json!({ "spec": { "size": 1, "port": [] } }), "spec.port"),
        ] {
            let mut causes = Vec::new();
            check(&schema, &wrong, "", &mut causes, 0);
            assert_eq!(causes.first().map(|cause| cause.field.as_str()), Some(field), "{wrong}");
        }
    }
}
