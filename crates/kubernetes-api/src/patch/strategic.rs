//! Strategic merge patch (apimachinery `pkg/util/strategicpatch`): as a merge patch, but lists with a merge key are
//! merged item by item, and directives (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`)
//! say what a merge alone cannot.

use crate::error::ApiError;
use crate::schema::{Field, Merge, Shape, definitions};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVE: &str = "$deleteFromPrimitiveList/";

/// Applies `patch` to `target`, which has `shape`.
pub fn strategic_patch(shape: &Shape, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let (Value::Object(patch), true) = (patch, !matches!(target, Value::Array(_))) else {
        *target = without_directives(patch.clone());
        return Ok(());
    };
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            *target = without_directives(Value::Object(patch.clone()));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(unknown_directive(other)),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    if let Some(Value::Array(kept)) = patch.get(RETAIN_KEYS) {
        target.retain(|key, _| kept.iter().any(|name| name == key.as_str()));
    }
    for (key, value) in patch {
        if key == PATCH || key == RETAIN_KEYS || key.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVE) {
            let gone = value.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(Value::Array(items)) = target.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if value.is_null() {
            target.remove(key);
            continue;
        }
        let field = field(shape, key);
        match (&field.shape, value) {
            (_, Value::Object(_)) => {
                let slot = target.entry(key.clone()).or_insert(Value::Null);
                strategic_patch(&field.shape, slot, value)?;
            }
            (Shape::List(items), Value::Array(patches)) if field.merge.patch_merge => {
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                let slot = target.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
                if !slot.is_array() {
                    *slot = Value::Array(Vec::new());
                }
                let Value::Array(list) = slot else { continue };
                merge_list(items, &field.merge, list, patches)?;
                if let Some(order) = order {
                    sort(&field.merge, list, order);
                }
            }
            _ => {
                target.insert(key.clone(), without_directives(value.clone()));
            }
        }
    }
    // An order without items in the patch: only the order of a list changes.
    for (key, order) in patch {
        let Some(list_name) = key.strip_prefix(ORDER) else { continue };
        if patch.contains_key(list_name) {
            continue;
        }
        if let (Some(Value::Array(list)), Some(order)) = (target.get_mut(list_name), order.as_array()) {
            sort(&field(shape, list_name).merge, list, order);
        }
    }
    Ok(())
}

fn unknown_directive(found: &str) -> ApiError {
    ApiError::bad_request(format!("unknown patch type found: {found}"))
}

fn field(shape: &Shape, key: &str) -> Field {
    let unknown = Field { shape: Shape::Any, merge: Merge::default() };
    match shape {
        Shape::Object(index) => definitions().get(*index).fields.get(key).cloned().unwrap_or(unknown),
        Shape::Map(items) => Field { shape: (**items).clone(), merge: Merge::default() },
        _ => unknown,
    }
}

fn merge_list(items: &Shape, merge: &Merge, list: &mut Vec<Value>, patches: &[Value]) -> Result<(), ApiError> {
    let Some(key) = &merge.patch_key else {
        // A set of plain values.
        for value in patches {
            if !list.contains(value) {
                list.push(value.clone());
            }
        }
        return Ok(());
    };
    if patches.iter().any(|patch| patch[PATCH] == "replace") {
        *list = patches.iter().filter(|patch| patch[PATCH] != "replace").cloned().map(without_directives).collect();
        return Ok(());
    }
    for patch in patches {
        if !patch.is_object() {
            return Err(ApiError::bad_request(format!(
                "a patch of a list merged by {key:?} has an item that is no map"
            )));
        }
        let Some(id) = patch.get(key) else {
            return Err(ApiError::bad_request(format!("map: {patch} does not contain declared merge key: {key}")));
        };
        let at = list.iter().position(|item| item.get(key) == Some(id));
        match (patch[PATCH].as_str(), at) {
            (Some("delete"), _) => list.retain(|item| item.get(key) != Some(id)),
            (Some("merge") | None, Some(at)) => strategic_patch(items, &mut list[at], patch)?,
            (Some("merge") | None, None) => {
                let mut item = Value::Object(Map::new());
                strategic_patch(items, &mut item, patch)?;
                list.push(item);
            }
            (Some(other), _) => return Err(unknown_directive(other)),
        }
    }
    Ok(())
}

/// Puts a list into the order the client asked for; items it did not know of keep their place after the one that
/// stood before them.
fn sort(merge: &Merge, list: &mut Vec<Value>, order: &[Value]) {
    let id = |item: &Value| match &merge.patch_key {
        Some(key) => item.get(key).cloned().unwrap_or(Value::Null),
        None => item.clone(),
    };
    let rank = |item: &Value| order.iter().position(|wanted| id(wanted) == id(item));
    let before = std::mem::take(list);
    let mut known: Vec<Value> = before.iter().filter(|item| rank(item).is_some()).cloned().collect();
    known.sort_by_key(|item| rank(item));
    let mut previous: Option<Value> = None;
    for item in before {
        if rank(&item).is_none() {
            let at = previous
                .as_ref()
                .and_then(|previous| known.iter().position(|one| id(one) == *previous))
                .map_or(0, |at| at + 1);
            known.insert(at, item.clone());
        }
        previous = Some(id(&item));
    }
    *list = known;
}

fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| {
                key != PATCH && key != RETAIN_KEYS && !key.starts_with(ORDER) && !key.starts_with(DELETE_PRIMITIVE)
            })
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_directives(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(list) => {
            list.into_iter().filter(|item| item[PATCH] != "delete").map(without_directives).collect::<Vec<_>>().into()
        }
        plain => plain,
    }
}

#[cfg(test)]
#[path = "strategic_tests.rs"]
mod tests;
