//! Server-side apply (KEP-555): every manager owns the fields it applied, two that want different values for one field
//! are a conflict, and what a manager no longer applies and nobody else owns goes.
//!
//! Ownership of plain updates is followed only on objects that somebody applies to: all others stay without
//! `managedFields`, as before the first apply.

mod fields;

use crate::error::ApiError;
use crate::object;
use crate::registry::Resource;
use crate::schema::{Merge, Shape, definitions};
use fields::{FieldSet, field, is_keyed, item_key};
use serde_json::{Map, Value, json};

/// Who applies, and how.
#[derive(Debug, Clone)]
pub struct Applier {
    /// `fieldManager`.
    pub manager: String,
    /// Take fields from their owners.
    pub force: bool,
    /// As `status`.
    pub subresource: String,
}

/// One entry of `managedFields`.
struct Entry {
    manager: String,
    operation: String,
    subresource: String,
    time: String,
    set: FieldSet,
}

/// The object after `applied` was applied to `live`; None: it does not exist yet.
pub fn apply(resource: &Resource, live: Option<&Value>, applied: &Value, applier: &Applier) -> Result<Value, ApiError> {
    let shape = shape_of(resource);
    let set = fields::fields(&shape, applied);
    let mut entries = live.map(entries_of).unwrap_or_default();
    if let (Some(live), true) = (live, entries.is_empty()) {
        entries.push(Entry {
            manager: "before-first-apply".into(),
            operation: "Update".into(),
            subresource: String::new(),
            time: object::now(),
            set: fields::fields(&shape, live),
        });
    }
    let is_own = |entry: &Entry| {
        entry.manager == applier.manager && entry.operation == "Apply" && entry.subresource == applier.subresource
    };
    let own = entries.iter().position(&is_own);
    let before = own.map(|at| entries.remove(at)).map(|entry| entry.set).unwrap_or_default();
    if let Some(live) = live {
        settle_conflicts(resource, live, applied, &set, &mut entries, applier)?;
    }
    let mut merged = live.cloned().unwrap_or_else(|| json!({}));
    // First what goes, with the maps that it leaves empty: an empty selector that is applied means something.
    // In order of paths an item of a list comes before its fields: it goes whole, while its key can still be told.
    let dropped: Vec<_> = before
        .iter()
        .filter(|path| !set.contains(*path) && !entries.iter().any(|entry| entry.set.contains(*path)))
        .collect();
    for path in dropped {
        let still_inhabited = path.last().is_some_and(|last| last.starts_with("k:"))
            && entries.iter().any(|entry| entry.set.iter().any(|other| other.starts_with(path)));
        if !still_inhabited {
            fields::remove(&mut merged, path);
        }
    }
    merge(&shape, &Merge::default(), &mut merged, applied);
    let time = if before == set { live.map(|live| own_time(live, applier)).unwrap_or_default() } else { String::new() };
    let time = if time.is_empty() { object::now() } else { time };
    entries.push(Entry {
        manager: applier.manager.clone(),
        operation: "Apply".into(),
        subresource: applier.subresource.clone(),
        time,
        set,
    });
    write_entries(resource, &mut merged, entries);
    Ok(merged)
}

/// Follows a plain update on an object with `managedFields`: what it changed is its own from now on.
pub fn note_update(resource: &Resource, old: Option<&Value>, new: &mut Value, manager: &str, subresource: &str) {
    let Some(old) = old else {
        object::metadata_mut(new).remove("managedFields");
        return;
    };
    let managed = object::list(old, "/metadata/managedFields");
    // Somebody wrote the field itself: kubectl does, to hand ownership over.
    if managed.is_empty() || object::list(new, "/metadata/managedFields") != managed {
        return;
    }
    let shape = shape_of(resource);
    let (before, after) = (fields::fields(&shape, old), fields::fields(&shape, new));
    let changed: FieldSet = after
        .iter()
        .filter(|path| !before.contains(*path) || fields::get(old, path) != fields::get(new, path))
        .filter(|path| !path.last().is_some_and(|last| last.starts_with("k:")) || !before.contains(*path))
        .cloned()
        .collect();
    let gone: FieldSet = before.difference(&after).cloned().collect();
    if changed.is_empty() && gone.is_empty() {
        return;
    }
    let mut entries = entries_of(old);
    for entry in &mut entries {
        entry.set.retain(|path| !changed.contains(path) && !gone.contains(path));
    }
    let manager = if manager.is_empty() { "unknown" } else { manager };
    match entries
        .iter_mut()
        .find(|entry| entry.manager == manager && entry.operation == "Update" && entry.subresource == subresource)
    {
        Some(entry) => {
            entry.set.extend(changed);
            entry.time = object::now();
        }
        None => entries.push(Entry {
            manager: manager.into(),
            operation: "Update".into(),
            subresource: subresource.into(),
            time: object::now(),
            set: changed,
        }),
    }
    write_entries(resource, new, entries);
}

fn shape_of(resource: &Resource) -> Shape {
    resource.definition.as_deref().map_or(Shape::Any, |name| definitions().shape(name))
}

/// Refuses, or with force takes the fields from their owners.
fn settle_conflicts(
    resource: &Resource,
    live: &Value,
    applied: &Value,
    set: &FieldSet,
    entries: &mut [Entry],
    applier: &Applier,
) -> Result<(), ApiError> {
    let differs = |path: &fields::Path| {
        // An item of a keyed list is shared by all who have fields in it.
        !path.last().is_some_and(|last| last.starts_with("k:")) && fields::get(live, path) != fields::get(applied, path)
    };
    let mut causes = Vec::new();
    for entry in entries {
        let contested: Vec<fields::Path> = entry.set.intersection(set).filter(|path| differs(path)).cloned().collect();
        for path in contested {
            if applier.force {
                entry.set.remove(&path);
            } else {
                let message = format!("conflict with {:?}", entry.manager);
                causes.push(
                    json!({ "reason": "FieldManagerConflict", "message": message, "field": fields::shown(&path) }),
                );
            }
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", object::text(cause, "/message"), object::text(cause, "/field")))
        .collect();
    let plural = if causes.len() == 1 { "" } else { "s" };
    let message = format!("Apply failed with {} conflict{plural}: {}", causes.len(), list.join("\n"));
    let details =
        json!({ "name": object::name(live), "group": resource.group, "kind": resource.plural, "causes": causes });
    Err(ApiError { details, ..ApiError::new(409, "Conflict", message) })
}

fn merge(shape: &Shape, how: &Merge, live: &mut Value, applied: &Value) {
    match (shape, applied) {
        (_, Value::Object(wanted)) if !how.atomic_map => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            let Value::Object(map) = live else { return };
            for (key, value) in wanted {
                let field = field(shape, key);
                merge(&field.shape, &field.merge, map.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Shape::List(items), Value::Array(wanted)) if is_keyed(how) => {
            if !live.is_array() {
                *live = json!([]);
            }
            let Value::Array(list) = live else { return };
            for value in wanted {
                let key = item_key(how, value);
                match list.iter_mut().find(|item| item_key(how, item) == key) {
                    Some(item) => merge(items, &Merge::default(), item, value),
                    None => list.push(value.clone()),
                }
            }
        }
        (Shape::List(_), Value::Array(wanted)) if how.list_type.as_deref() == Some("set") => {
            if !live.is_array() {
                *live = json!([]);
            }
            let Value::Array(list) = live else { return };
            for value in wanted {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        _ => *live = applied.clone(),
    }
}

fn entries_of(object: &Value) -> Vec<Entry> {
    object::list(object, "/metadata/managedFields")
        .iter()
        .map(|entry| Entry {
            manager: object::text(entry, "/manager").to_owned(),
            operation: object::text(entry, "/operation").to_owned(),
            subresource: object::text(entry, "/subresource").to_owned(),
            time: object::text(entry, "/time").to_owned(),
            set: fields::from_json(&entry["fieldsV1"]),
        })
        .collect()
}

fn own_time(live: &Value, applier: &Applier) -> String {
    let entries = entries_of(live);
    let own = entries.into_iter().find(|entry| {
        entry.manager == applier.manager && entry.operation == "Apply" && entry.subresource == applier.subresource
    });
    own.map(|entry| entry.time).unwrap_or_default()
}

fn write_entries(resource: &Resource, object: &mut Value, entries: Vec<Entry>) {
    let list: Vec<Value> = entries
        .into_iter()
        .filter(|entry| !entry.set.is_empty())
        .map(|entry| {
            let mut shown = json!({
                "manager": entry.manager, "operation": entry.operation, "apiVersion": resource.api_version(),
                "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": fields::to_json(&entry.set),
            });
            if !entry.subresource.is_empty() {
                shown["subresource"] = entry.subresource.into();
            }
            shown
        })
        .collect();
    object::metadata_mut(object).insert("managedFields".into(), list.into());
}

#[cfg(test)]
mod tests;
