//! What `kubectl get` prints: the server makes the rows (KEP-… "server-side printing", meta.k8s.io/v1 Table).

mod age;
mod columns;
mod custom;
pub mod json_path;
mod network;
mod node;
mod pod;
mod workload;

use crate::registry::Resource;
use serde_json::{Value, json};

pub use age::age;

/// A column: name, type, and 1 where only `-o wide` shows it.
pub(crate) struct Column(pub &'static str, pub &'static str, pub u8);

/// Columns and cells of a kind.
pub(crate) struct Printer {
    pub columns: &'static [Column],
    pub cells: fn(&Value) -> Vec<Value>,
}

/// The Table of some objects of one kind.
pub fn table(resource: &Resource, objects: &[Value], include: &str, version: &str) -> Value {
    let version = if version.is_empty() { "v1" } else { version };
    let (columns, rows): (Vec<Value>, Vec<Vec<Value>>) = if resource.is_custom() {
        (custom::columns(resource), objects.iter().map(|object| custom::cells(resource, object)).collect())
    } else {
        let printer = columns::printer(resource);
        let columns =
            printer.columns.iter().map(|Column(name, kind, priority)| definition(name, kind, *priority)).collect();
        (columns, objects.iter().map(|object| (printer.cells)(object)).collect())
    };
    let rows: Vec<Value> = rows
        .into_iter()
        .zip(objects)
        .map(|(cells, object)| {
            let object = match include {
                "Object" => object.clone(),
                "None" => Value::Null,
                _ => json!({ "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": object["metadata"] }),
            };
            let mut row = json!({ "cells": cells });
            if !object.is_null() {
                row["object"] = object;
            }
            row
        })
        .collect();
    json!({ "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": {}, "columnDefinitions": columns, "rows": rows })
}

fn definition(name: &str, kind: &str, priority: u8) -> Value {
    let format = if name == "Name" { "name" } else { "" };
    json!({ "name": name, "type": kind, "format": format, "description": "", "priority": priority })
}
