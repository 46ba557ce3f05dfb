//! Columns of custom kinds: as their CRD asks (`additionalPrinterColumns`), else NAME and AGE.

use super::age;
use super::json_path::get;
use crate::object;
use crate::registry::Resource;
use serde_json::{Value, json};

/// Column definitions.
pub fn columns(resource: &Resource) -> Vec<Value> {
    let mut columns = vec![super::definition("Name", "string", 0)];
    if resource.columns.is_empty() {
        columns.push(super::definition("Age", "date", 0));
    }
    columns.extend(resource.columns.iter().map(|column| {
        json!({ "name": column.name, "type": column.kind, "format": "", "description": "", "priority": column.priority })
    }));
    columns
}

/// Cells of one object.
pub fn cells(resource: &Resource, object: &Value) -> Vec<Value> {
    let mut cells = vec![object::name(object).into()];
    if resource.columns.is_empty() {
        cells.push(age(&object["metadata"]["creationTimestamp"]).into());
    }
    for column in &resource.columns {
        let found = get(object, &column.json_path);
        cells.push(match (column.kind.as_str(), found) {
            (_, None | Some(Value::Null)) => Value::Null,
            ("date", Some(value)) => age(value).into(),
            ("integer" | "number" | "boolean", Some(value)) => value.clone(),
            (_, Some(Value::String(text))) => text.clone().into(),
            (_, Some(other)) => other.to_string().into(),
        });
    }
    cells
}
