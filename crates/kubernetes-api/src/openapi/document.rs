use crate::api::Api;
use crate::registry::{Registry, Resource};
use crate::schema::DEFINITIONS_JSON;
use serde_json::{Map, Value, json};

/// The whole v2 document.
pub fn v2(registry: &Registry) -> Value {
    let mut definitions: Map<String, Value> = serde_json::from_str(DEFINITIONS_JSON).unwrap_or_default();
    for value in definitions.values_mut() {
        plain_formats(value);
    }
    let mut paths = Map::new();
    for resource in registry.all() {
        let name = definition_name(resource);
        let definition = definitions.entry(name).or_insert_with(|| custom_definition(resource));
        definition["x-kubernetes-group-version-kind"] = json!([kind_of(resource)]);
        paths.extend(resource_paths(resource, "#/definitions/", true));
    }
    for name in ["DeleteOptions", "Status"] {
        if let Some(definition) = definitions.get_mut(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")) {
            definition["x-kubernetes-group-version-kind"] = json!([{ "group": "", "version": "v1", "kind": name }]);
        }
    }
    json!({ "swagger": "2.0", "info": { "title": "Kubernetes", "version": "v1.33.0" }, "paths": paths, "definitions": definitions })
}

/// `/openapi/v3`: which documents there are.
pub fn v3_index(api: &Api) -> Value {
    let registry = api.registry.load();
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let name = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            // The hash names the content to clients that cache: kinds come and go with the registry's generation.
            let url = format!("/openapi/v3/{name}?hash={}", registry.generation);
            paths.insert(name, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/GROUP/VERSION`.
pub fn v3_document(api: &Api, name: &str) -> Option<Value> {
    let registry = api.registry.load();
    let parts: Vec<&str> = name.split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    let definitions: Map<String, Value> = serde_json::from_str(DEFINITIONS_JSON).unwrap_or_default();
    let mut schemas = Map::new();
    let mut paths = Map::new();
    let mut wanted: Vec<String> =
        ["DeleteOptions", "Status"].map(|name| format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")).into();
    for resource in registry.all().filter(|one| one.group == group && one.version == version) {
        let name = definition_name(resource);
        let mut schema = definitions.get(&name).cloned().unwrap_or_else(|| custom_definition(resource));
        schema["x-kubernetes-group-version-kind"] = json!([kind_of(resource)]);
        references(&schema, &mut wanted);
        schemas.insert(name, schema);
        paths.extend(resource_paths(resource, "#/components/schemas/", false));
    }
    if schemas.is_empty() {
        return None;
    }
    while let Some(name) = wanted.pop() {
        if let (false, Some(schema)) = (schemas.contains_key(&name), definitions.get(&name)) {
            references(schema, &mut wanted);
            schemas.insert(name, schema.clone());
        }
    }
    for schema in schemas.values_mut() {
        plain_formats(schema);
        move_references(schema);
    }
    Some(json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "v1.33.0" }, "paths": paths, "components": { "schemas": schemas },
    }))
}

fn kind_of(resource: &Resource) -> Value {
    json!({ "group": resource.group, "version": resource.version, "kind": resource.kind })
}

/// Built-in kinds have their Go package's name; custom ones their group turned around, as Kubernetes names them.
fn definition_name(resource: &Resource) -> String {
    resource.definition.clone().unwrap_or_else(|| {
        let mut group: Vec<&str> = resource.group.split('.').collect();
        group.reverse();
        format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
    })
}

fn custom_definition(resource: &Resource) -> Value {
    let mut schema = resource.schema.as_deref().cloned().unwrap_or_else(|| json!({ "type": "object" }));
    if schema["properties"].is_object() {
        schema["properties"]["apiVersion"] = json!({ "type": "string" });
        schema["properties"]["kind"] = json!({ "type": "string" });
        schema["properties"]["metadata"] =
            json!({ "$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" });
    }
    schema
}

/// What only this server knows (`quantity`) is published as plain strings.
fn plain_formats(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("format") == Some(&json!("quantity")) {
                map.remove("format");
            }
            map.values_mut().for_each(plain_formats);
        }
        Value::Array(list) => list.iter_mut().for_each(plain_formats),
        _ => {}
    }
}

fn references(value: &Value, wanted: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                wanted.push(name.trim_start_matches("#/definitions/").to_owned());
            }
            map.values().for_each(|value| references(value, wanted));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, wanted)),
        _ => {}
    }
}

fn move_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get_mut("$ref") {
                *name = name.replace("#/definitions/", "#/components/schemas/");
            }
            map.values_mut().for_each(move_references);
        }
        Value::Array(list) => list.iter_mut().for_each(move_references),
        _ => {}
    }
}

/// The operations that clients look up: kubectl asks whether PATCH knows `dryRun` and `fieldValidation`.
fn resource_paths(resource: &Resource, references: &str, v2: bool) -> Vec<(String, Value)> {
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let namespaced = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{namespaced}/{}", resource.plural);
    let reference = json!({ "$ref": format!("{references}{}", definition_name(resource)) });
    let parameters = |names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| match v2 {
                true => json!({ "name": name, "in": "query", "type": "string", "uniqueItems": true }),
                false => json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } }),
            })
            .collect()
    };
    let operation = |action: &str, names: &[&str]| {
        let ok = match v2 {
            true => json!({ "description": "OK", "schema": reference }),
            false => json!({ "description": "OK", "content": { "application/json": { "schema": reference } } }),
        };
        json!({
            "operationId": format!("{action}{}{}", capital(&resource.version), resource.kind),
            "parameters": parameters(names), "responses": { "200": ok },
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind_of(resource),
        })
    };
    const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "pretty"];
    let mut on_collection = json!({ "post": operation("post", WRITE) });
    if resource.virtual_only {
        return vec![(collection, on_collection)];
    }
    on_collection["get"] = operation(
        "list",
        &["labelSelector", "fieldSelector", "limit", "continue", "watch", "resourceVersion", "timeoutSeconds"],
    );
    let on_object = json!({
        "get": operation("get", &["pretty"]), "put": operation("put", WRITE),
        "patch": operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force", "pretty"]),
        "delete": operation("delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
    });
    vec![(collection.clone(), on_collection), (format!("{collection}/{{name}}"), on_object)]
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
