//! Structural schemas out of the types, and the definitions around them.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// What a definition says of its kind besides the schema.
pub(crate) struct Names {
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
}

/// A CustomResourceDefinition with a `status` and one version.
pub(crate) fn definition(names: &Names, scope: &str, version: &str, columns: &Value, root: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", names.plural, names.group) },
        "spec": {
            "group": names.group,
            "scope": scope,
            "names": {
                "kind": names.kind,
                "listKind": format!("{}List", names.kind),
                "plural": names.plural,
                "singular": names.kind.to_lowercase(),
                "shortNames": names.short_names,
                "categories": names.categories,
            },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": root },
            }],
        },
    })
}

/// The schema of a whole object.
pub(crate) fn root(description: &str, fields: Value, required: &[&str]) -> Value {
    let mut properties =
        json!({ "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "metadata": { "type": "object" } });
    if let (Some(all), Value::Object(fields)) = (properties.as_object_mut(), fields) {
        all.extend(fields);
    }
    let mut root = json!({ "type": "object", "description": description, "properties": properties });
    if !required.is_empty() {
        root["required"] = json!(required);
    }
    root
}

/// The structural schema of a type: nothing by reference, nothing that structural schemas have no word for.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(map) = value.as_object_mut() {
        map.remove("title");
    }
    plain(&mut value, Level::Schema);
    value
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Schema,
    /// A map from a property's name to its schema: its keys are no words of a schema.
    Properties,
}

/// Kubernetes prunes a null where a field is not nullable, which is what an `Option` means here; formats and bounds of
/// Rust's integers that Kubernetes doesn't know go, as does everything that schemars adds for others.
fn plain(value: &mut Value, level: Level) {
    match value {
        Value::Object(map) if level == Level::Properties => map.values_mut().for_each(|one| plain(one, Level::Schema)),
        Value::Object(map) => {
            for word in ["nullable", "$schema", "components", "title"] {
                map.remove(word);
            }
            // A doc comment's line breaks are the editor's, not the reader's.
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ").replace("  ", "\n\n");
            }
            for (key, one) in map.iter_mut() {
                match key.as_str() {
                    "properties" => plain(one, Level::Properties),
                    "items" | "additionalProperties" => plain(one, Level::Schema),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn schema(value: Value) -> Schema {
    match value {
        Value::Object(map) => map.into(),
        _ => Map::new().into(),
    }
}

/// A selector of labels: both lists have to match; an empty selector matches everything.
pub(crate) fn selector(_: &mut SchemaGenerator) -> Schema {
    schema(json!({
        "type": "object",
        "description": "Labels that have to be there; an empty selector selects everything.",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Keys with their values. A key may begin with its source, as in k8s:app or reserved:host.",
                "additionalProperties": { "type": "string", "maxLength": 63 },
            },
            "matchExpressions": {
                "type": "array",
                "description": "Terms, all of which have to hold.",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "description": "The label's key." },
                        "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "What has to be so." },
                        "values": { "type": "array", "items": { "type": "string" },
                            "description": "For In and NotIn: at least one value." },
                    },
                },
            },
        },
    }))
}

pub(crate) fn selectors(generator: &mut SchemaGenerator) -> Schema {
    list(selector(generator))
}

fn list(items: Schema) -> Schema {
    schema(json!({ "type": "array", "items": items.to_value() }))
}

/// Cilium's `pkg/policy/api/entity.go`.
pub(crate) fn entities(_: &mut SchemaGenerator) -> Schema {
    list(schema(json!({ "type": "string", "enum": [
        "all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "init", "ingress", "unmanaged", "remote-node",
        "health", "none", "kube-apiserver",
    ] })))
}

pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    schema(json!({ "x-kubernetes-int-or-string": true, "anyOf": [{ "type": "integer" }, { "type": "string" }] }))
}

pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    schema(json!({ "type": "string", "format": "date-time" }))
}

/// A list with one entry per `type`, so that several writers can each apply theirs.
pub(crate) fn conditions<T: JsonSchema>(_: &mut SchemaGenerator) -> Schema {
    schema(json!({ "type": "array", "items": of::<T>(), "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"] }))
}

/// The rules of a denying section: an allowing one's without what only makes sense for what is let through.
pub(crate) fn denied<T: JsonSchema>(_: &mut SchemaGenerator) -> Schema {
    let mut items = of::<T>();
    if let Some(properties) = items["properties"].as_object_mut() {
        properties.remove("authentication");
        properties.remove("toFQDNs");
        if let Some(ports) = properties["toPorts"]["items"]["properties"].as_object_mut() {
            ports.retain(|name, _| name == "ports");
        }
    }
    items["description"] = "Peers (of one kind) and ports that are refused, whatever allows them.".into();
    schema(json!({ "type": "array", "items": items }))
}
