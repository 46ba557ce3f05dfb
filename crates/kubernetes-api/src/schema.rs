//! The shapes of the built-in kinds, compiled from `openapi/definitions.json`: what decoding, strategic merge and
//! server-side apply go by.

use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The type of a value.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Anything at all (RawExtension, FieldsV1, JSON).
    Any,
    /// A string.
    Text,
    /// RFC 3339.
    DateTime,
    /// A resource quantity; numbers become strings.
    Quantity,
    /// A port by number or name, a percentage …
    IntOrString,
    /// base64.
    Bytes,
    /// 32 or 64 bit.
    Integer { bits: u8 },
    /// A float.
    Number,
    /// true or false.
    Boolean,
    /// A list.
    List(Box<Shape>),
    /// A map from strings.
    Map(Box<Shape>),
    /// A definition, by index.
    Object(usize),
}

/// How a list or map merges.
#[derive(Debug, Clone, Default)]
pub struct Merge {
    /// Strategic merge: items are merged (by `patch_key`, or as a set), not replaced.
    pub patch_merge: bool,
    /// Strategic merge: the key.
    pub patch_key: Option<String>,
    /// Server-side apply: `map`, `set` or `atomic` list.
    pub list_type: Option<String>,
    /// Server-side apply: keys of a `map` list.
    pub list_keys: Vec<String>,
    /// Server-side apply: the map is one value.
    pub atomic_map: bool,
}

/// One field of a definition.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its type.
    pub shape: Shape,
    /// How it merges.
    pub merge: Merge,
}

/// A named object type.
#[derive(Debug, Default)]
pub struct Definition {
    /// As `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// Its fields.
    pub fields: HashMap<String, Field>,
}

/// All definitions.
#[derive(Debug)]
pub struct Definitions {
    list: Vec<Definition>,
    by_name: HashMap<String, usize>,
}

/// The table as published at `/openapi/v2`, before paths are added.
pub const DEFINITIONS_JSON: &str = include_str!("openapi/definitions.json");

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    let json: HashMap<String, Value> = serde_json::from_str(DEFINITIONS_JSON).unwrap_or_default();
    Definitions::compile(&json)
});

/// The compiled table.
pub fn definitions() -> &'static Definitions {
    &DEFINITIONS
}

impl Definitions {
    /// A definition by its index in a [`Shape::Object`].
    pub fn get(&self, index: usize) -> &Definition {
        &self.list[index]
    }

    /// The shape of a named definition; `Any` where it is unknown.
    pub fn shape(&self, name: &str) -> Shape {
        self.by_name.get(name).map_or(Shape::Any, |index| Shape::Object(*index))
    }

    fn compile(json: &HashMap<String, Value>) -> Self {
        let mut names: Vec<&String> =
            json.iter().filter(|(_, value)| value["properties"].is_object()).map(|(name, _)| name).collect();
        names.sort();
        let by_name: HashMap<String, usize> =
            names.iter().enumerate().map(|(index, name)| ((*name).clone(), index)).collect();
        let list = names
            .iter()
            .map(|name| {
                let empty = serde_json::Map::new();
                let properties = json[*name]["properties"].as_object().unwrap_or(&empty);
                let fields = properties
                    .iter()
                    .map(|(field, value)| {
                        (field.clone(), Field { shape: shape(value, json, &by_name), merge: merge(value) })
                    })
                    .collect();
                Definition { name: (*name).clone(), fields }
            })
            .collect();
        Self { list, by_name }
    }
}

fn shape(value: &Value, json: &HashMap<String, Value>, by_name: &HashMap<String, usize>) -> Shape {
    if let Some(reference) = value["$ref"].as_str() {
        let name = reference.trim_start_matches("#/definitions/");
        return match (by_name.get(name), json.get(name)) {
            (Some(index), _) => Shape::Object(*index),
            (None, Some(plain)) if plain["$ref"].is_null() => shape(plain, json, by_name),
            _ => Shape::Any,
        };
    }
    match (value["type"].as_str(), value["format"].as_str()) {
        (Some("string"), Some("date-time")) => Shape::DateTime,
        (Some("string"), Some("quantity")) => Shape::Quantity,
        (Some("string"), Some("int-or-string")) => Shape::IntOrString,
        (Some("string"), Some("byte")) => Shape::Bytes,
        (Some("string"), _) => Shape::Text,
        (Some("integer"), Some("int32")) => Shape::Integer { bits: 32 },
        (Some("integer"), _) => Shape::Integer { bits: 64 },
        (Some("number"), _) => Shape::Number,
        (Some("boolean"), _) => Shape::Boolean,
        (Some("array"), _) => Shape::List(Box::new(shape(&value["items"], json, by_name))),
        (Some("object"), _) if value["additionalProperties"].is_object() => {
            Shape::Map(Box::new(shape(&value["additionalProperties"], json, by_name)))
        }
        _ => Shape::Any,
    }
}

fn merge(value: &Value) -> Merge {
    let strategy = value["x-kubernetes-patch-strategy"].as_str().unwrap_or("");
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Merge {
        patch_merge: strategy.split(',').any(|word| word == "merge"),
        patch_key: text("x-kubernetes-patch-merge-key"),
        list_type: text("x-kubernetes-list-type"),
        list_keys: value["x-kubernetes-list-map-keys"]
            .as_array()
            .map(|keys| keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
        atomic_map: value["x-kubernetes-map-type"] == "atomic",
    }
}
