//! Events are one kind in two groups with other names for the same fields (k8s.io/kubernetes `pkg/apis/events/v1`,
//! conversion). They are stored as core/v1.

use serde_json::{Map, Value};

/// core/v1 name, events.k8s.io/v1 name.
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// core/v1 -> events.k8s.io/v1
pub fn to_events_group(object: &mut Value) {
    rename(object, FIELDS.iter().map(|(core, events)| (*core, *events)), "events.k8s.io/v1");
}

/// events.k8s.io/v1 -> core/v1
pub fn to_core(object: &mut Value) {
    rename(object, FIELDS.iter().map(|(core, events)| (*events, *core)), "v1");
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>, api_version: &str) {
    let Some(map) = object.as_object_mut() else { return };
    let moved: Map<String, Value> = names.filter_map(|(from, to)| Some((to.to_owned(), map.remove(from)?))).collect();
    map.extend(moved);
    map.insert("apiVersion".into(), api_version.into());
}
