//! Sets of fields: what `managedFields` says of each manager (FieldsV1, sigs.k8s.io/structured-merge-diff).
//!
//! A path is a list of elements as FieldsV1 writes them: `f:name`, `k:{"name":"x"}` (an item of a keyed list),
//! `v:"x"` (an item of a set). A set holds leaves, and keyed items themselves.

use crate::schema::{Field, Merge, Shape, definitions};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Elements from the root.
pub type Path = Vec<String>;

/// Fields of one manager.
pub type FieldSet = BTreeSet<Path>;

/// What nobody manages: it identifies the object or is the server's own.
const UNMANAGED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:generateName"],
    &["f:metadata", "f:deletionTimestamp"],
    &["f:metadata", "f:deletionGracePeriodSeconds"],
];

/// All fields of an object.
pub fn fields(shape: &Shape, object: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(shape, &Merge::default(), object, &mut Vec::new(), &mut set);
    set.retain(|path| {
        !UNMANAGED.iter().any(|one| path.len() >= one.len() && path.iter().zip(*one).all(|(a, b)| a == b))
    });
    set
}

/// The type of a field; a map of unknown type merges by key, a list of unknown type is one value.
pub fn field(shape: &Shape, key: &str) -> Field {
    let unknown = || Field { shape: Shape::Any, merge: Merge::default() };
    match shape {
        Shape::Object(index) => definitions().get(*index).fields.get(key).cloned().unwrap_or_else(unknown),
        Shape::Map(items) => Field { shape: (**items).clone(), merge: Merge::default() },
        _ if key == "metadata" => Field {
            shape: definitions().shape("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
            merge: Merge::default(),
        },
        _ => unknown(),
    }
}

/// `k:{…}` of an item of a keyed list.
pub fn item_key(merge: &Merge, item: &Value) -> String {
    let mut key = Map::new();
    for name in &merge.list_keys {
        let value = match item.get(name) {
            Some(value) => value.clone(),
            // The one key that has a default in Kubernetes' own schemas.
            None if name == "protocol" => json!("TCP"),
            None => Value::Null,
        };
        key.insert(name.clone(), value);
    }
    format!("k:{}", Value::Object(key))
}

/// A list whose items are told apart by keys.
pub fn is_keyed(merge: &Merge) -> bool {
    merge.list_type.as_deref() == Some("map") && !merge.list_keys.is_empty()
}

fn collect(shape: &Shape, merge: &Merge, value: &Value, path: &mut Path, set: &mut FieldSet) {
    match (shape, value) {
        (_, Value::Object(map)) if !map.is_empty() && !merge.atomic_map => {
            for (key, item) in map {
                let field = field(shape, key);
                path.push(format!("f:{key}"));
                collect(&field.shape, &field.merge, item, path, set);
                path.pop();
            }
        }
        (Shape::List(items), Value::Array(list)) if is_keyed(merge) => {
            for item in list {
                path.push(item_key(merge, item));
                set.insert(path.clone());
                collect(items, &Merge::default(), item, path, set);
                path.pop();
            }
        }
        (Shape::List(_), Value::Array(list)) if merge.list_type.as_deref() == Some("set") => {
            for item in list {
                path.push(format!("v:{item}"));
                set.insert(path.clone());
                path.pop();
            }
        }
        _ => {
            set.insert(path.clone());
        }
    }
}

/// As FieldsV1.
pub fn to_json(set: &FieldSet) -> Value {
    let mut root = json!({});
    for path in set {
        let mut here = &mut root;
        for element in path {
            here = &mut here[element.as_str()];
            if !here.is_object() {
                *here = json!({});
            }
        }
        // A member that has members below is marked by a dot; only items of lists can be both.
        if path.last().is_some_and(|last| last.starts_with("k:")) {
            here["."] = json!({});
        }
    }
    root
}

/// From FieldsV1; what is no field set is an empty one.
pub fn from_json(value: &Value) -> FieldSet {
    fn walk(value: &Value, path: &mut Path, set: &mut FieldSet) {
        let Some(map) = value.as_object() else { return };
        if map.is_empty() && !path.is_empty() {
            set.insert(path.clone());
        }
        for (key, below) in map {
            if key == "." {
                set.insert(path.clone());
            } else {
                path.push(key.clone());
                walk(below, path, set);
                path.pop();
            }
        }
    }
    let mut set = FieldSet::new();
    walk(value, &mut Vec::new(), &mut set);
    set
}

/// The value at a path.
pub fn get<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((first, rest)) = path.split_first() else { return Some(value) };
    let next = match first.split_at_checked(2)? {
        ("f:", name) => value.get(name)?,
        ("k:", key) => value.as_array()?.iter().find(|item| matches_key(item, key))?,
        ("v:", wanted) => value.as_array()?.iter().find(|item| is_value(item, wanted))?,
        _ => return None,
    };
    get(next, rest)
}

/// Takes the value at a path away, and maps and lists that it leaves empty.
pub fn remove(value: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some((kind, name)) = first.split_at_checked(2) else { return };
    let emptied =
        |value: &Value| value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
    match (kind, value) {
        ("f:", Value::Object(map)) => {
            let gone = match map.get_mut(name) {
                Some(below) if !rest.is_empty() => {
                    remove(below, rest);
                    emptied(below)
                }
                _ => true,
            };
            if gone {
                map.remove(name);
            }
        }
        ("k:", Value::Array(list)) if rest.is_empty() => list.retain(|item| !matches_key(item, name)),
        ("k:", Value::Array(list)) => {
            if let Some(item) = list.iter_mut().find(|item| matches_key(item, name)) {
                remove(item, rest);
            }
        }
        ("v:", Value::Array(list)) => list.retain(|item| !is_value(item, name)),
        _ => {}
    }
}

fn is_value(item: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value == *item)
}

fn matches_key(item: &Value, key: &str) -> bool {
    let Ok(Value::Object(key)) = serde_json::from_str(key) else { return false };
    key.iter().all(|(name, value)| match item.get(name) {
        Some(found) => found == value,
        None => value.is_null() || (name == "protocol" && value == "TCP"),
    })
}

/// A path as people read it: `.spec.template.spec.containers[name="x"].image`.
pub fn shown(path: &[String]) -> String {
    path.iter()
        .map(|element| match element.split_at_checked(2) {
            Some(("f:", name)) => format!(".{name}"),
            Some(("k:", key)) => match serde_json::from_str::<Map<String, Value>>(key) {
                Ok(key) => format!(
                    "[{}]",
                    key.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
                ),
                Err(_) => format!("[{key}]"),
            },
            Some((_, rest)) => format!("[={rest}]"),
            None => String::new(),
        })
        .collect()
}
