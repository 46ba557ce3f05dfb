//! What this API server would say of an object's form, without a server: by the same code, for commands that check files.

use crate::{custom, decode, error::ApiError, object};
use serde_json::Value;

/// Something that the server would refuse, or drop without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Path of the field, `spec.ports[0].port`; empty for the whole object.
    pub field: String,
    /// What is wrong with it.
    pub text: String,
}

/// Of an object of a built-in kind, by its definition's name (`io.k8s.api.networking.v1.NetworkPolicy`). What would be
/// dropped is gone afterwards.
#[must_use]
pub fn built_in(definition: &str, kind: &str, object: &mut Value) -> Vec<Objection> {
    match decode::decode(definition, kind, object) {
        Ok(unknown) => dropped(unknown),
        Err(error) => vec![told(&error)],
    }
}

/// Of an object of a kind and version that a CustomResourceDefinition makes. What would be dropped is gone afterwards,
/// and what has a default is there.
#[must_use]
pub fn custom(definition: &Value, version: &str, object: &mut Value) -> Vec<Objection> {
    let versions = object::list(definition, "/spec/versions");
    let Some(version) = versions.iter().find(|one| one["name"] == version) else {
        return vec![Objection { field: "apiVersion".into(), text: format!("{version:?} is not served") }];
    };
    if !object.is_object() {
        return vec![Objection { field: String::new(), text: "must be an object".into() }];
    }
    let resource = custom::resource(definition, version);
    let mut all = match custom::shape(&resource, object) {
        Ok(unknown) => dropped(unknown),
        Err(error) => return vec![told(&error)],
    };
    if let Err(error) = custom::validate(&resource, object) {
        let causes = object::list(&error.details, "/causes");
        let text = |cause: &Value, field: &str| object::text(cause, field).to_owned();
        all.extend(
            causes.iter().map(|cause| Objection { field: text(cause, "/field"), text: text(cause, "/message") }),
        );
        if causes.is_empty() {
            all.push(told(&error));
        }
    }
    all
}

fn dropped(unknown: Vec<String>) -> Vec<Objection> {
    let text = "is unknown here: the API drops it without a word; look how it is spelled, and where it stands";
    unknown.into_iter().map(|field| Objection { field, text: text.into() }).collect()
}

/// A refusal names its field in its text, if at all: `…: spec.podSelector: …`, or Go's `cannot unmarshal … into … field`.
fn told(error: &ApiError) -> Objection {
    let is_path = |word: &&str| word.starts_with("spec.") || word.starts_with("metadata.");
    let field = error.message.split([' ', ':', ',']).find(is_path).unwrap_or_default();
    Objection { field: field.to_owned(), text: error.message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_would_refuse_or_drop() {
        let name = "io.k8s.api.networking.v1.NetworkPolicy";
        let check = |mut object: Value| {
            built_in(name, "NetworkPolicy", &mut object).into_iter().map(|one| one.field).collect::<Vec<_>>()
        };
        assert_eq!(check(json!({ "spec": { "podSelector": {} } })), Vec::<String>::new());
        assert_eq!(check(json!({ "spec": { "podSelector": {}, "ingres": [] } })), ["spec.ingres"]);
        assert_eq!(check(json!({ "spec": { "podSelector": [] } })), ["spec.podSelector"]);

        let definition = json!({ "spec": { "group": "x.io", "names": { "kind": "X", "plural": "xs" }, "versions": [{ "name": "v1",
            "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": { "type": "object", "required": ["port"],
                "properties": { "port": { "type": "integer", "minimum": 1 } } } } } } }] } });
        let check = |version: &str, mut object: Value| {
            custom(&definition, version, &mut object).into_iter().map(|one| one.field).collect::<Vec<_>>()
        };
        assert_eq!(check("v1", json!({ "metadata": { "name": "a" }, "spec": { "port": 1 } })), Vec::<String>::new());
        assert_eq!(check("v1", json!({ "spec": { "port": 0, "prot": 1 } })), ["spec.prot", "spec.port"]);
        assert_eq!(check("v1", json!({ "spec": {} })), ["spec.port"]);
        assert_eq!(check("v2", json!({ "spec": {} })), ["apiVersion"]);
        assert_eq!(check("v1", json!([])), [""]);
    }
}
