//! Label and field selectors, as clients write them in a query.

use crate::error::ApiError;
use crate::object;
use crate::registry::Resource;
use serde_json::Value;

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Above(String, i64),
    Below(String, i64),
}

/// A parsed label selector; the empty one takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(refused(text, "an empty requirement"));
            }
            requirements.push(requirement(part).ok_or_else(|| refused(text, part))?);
        }
        Ok(Self(requirements))
    }

    /// Whether labels satisfy every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let get = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => get(key).is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::NotIn(key, values) => get(key).is_none_or(|value| values.iter().all(|one| one != value)),
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::Absent(key) => get(key).is_none(),
            Requirement::Above(key, bound) => {
                get(key).and_then(|value| value.parse::<i64>().ok()).is_some_and(|value| value > *bound)
            }
            Requirement::Below(key, bound) => {
                get(key).and_then(|value| value.parse::<i64>().ok()).is_some_and(|value| value < *bound)
            }
        })
    }

    /// Takes everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn refused(text: &str, part: &str) -> ApiError {
    ApiError::bad_request(format!("unable to parse requirement in label selector {text:?}: {part}"))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    if let Some(key) = part.strip_prefix('!') {
        return label_key(key.trim()).map(Requirement::Absent);
    }
    if let Some((key, rest)) = part.split_once(|c: char| c.is_whitespace()) {
        let rest = rest.trim_start();
        let set = |word: &str| -> Option<Vec<String>> {
            let inside = rest.strip_prefix(word)?.trim().strip_prefix('(')?.strip_suffix(')')?;
            inside.split(',').map(|value| label_value(value.trim())).collect()
        };
        if let Some(values) = set("notin") {
            return Some(Requirement::NotIn(label_key(key)?, values));
        }
        if let Some(values) = set("in") {
            return Some(Requirement::In(label_key(key)?, values));
        }
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(label_key(key.trim())?, vec![label_value(value.trim())?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(label_key(key.trim())?, vec![label_value(value.trim())?]));
    }
    if let Some((key, value)) = part.split_once('>') {
        return Some(Requirement::Above(label_key(key.trim())?, value.trim().parse().ok()?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return Some(Requirement::Below(label_key(key.trim())?, value.trim().parse().ok()?));
    }
    label_key(part).map(Requirement::Exists)
}

fn label_key(text: &str) -> Option<String> {
    crate::validation::is_qualified_name(text).then(|| text.to_owned())
}

fn label_value(text: &str) -> Option<String> {
    crate::validation::is_label_value(text).then(|| text.to_owned())
}

/// A parsed field selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Parses `metadata.name=a,status.phase!=Failed`; fields that the kind does not offer are refused.
    pub fn parse(text: &str, resource: &Resource) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, equal, value) =
                match (part.split_once("!="), part.split_once("==").or_else(|| part.split_once('='))) {
                    (Some((field, value)), _) => (field, false, value),
                    (None, Some((field, value))) => (field, true, value),
                    (None, None) => {
                        return Err(ApiError::bad_request(format!(
                            "invalid selector: '{text}'; can't understand '{part}'"
                        )));
                    }
                };
            let field = field.trim();
            if !is_selectable(resource, field) {
                return Err(ApiError::bad_request(format!("field label not supported: {field}")));
            }
            terms.push((field.to_owned(), equal, value.trim().to_owned()));
        }
        Ok(Self(terms))
    }

    /// Whether the object's fields satisfy every term; an absent field is "" (or "false").
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            let found = match object.pointer(&pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None if matches!(field.as_str(), "spec.unschedulable" | "spec.hostNetwork") => {
                    "false".into()
                }
                Some(Value::Null) | None if field == "source" => String::new(),
                Some(Value::Null) | None => String::new(),
                Some(Value::Object(map)) if field == "source" => {
                    map.get("component").and_then(Value::as_str).unwrap_or("").into()
                }
                Some(other) => other.to_string(),
            };
            (found == *wanted) == *equal
        })
    }

    /// The one name asked for with `metadata.name=`, if any.
    pub fn exact_name(&self) -> Option<&str> {
        self.0.iter().find(|(field, equal, _)| field == "metadata.name" && *equal).map(|(_, _, name)| name.as_str())
    }

    /// Takes everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_selectable(resource: &Resource, field: &str) -> bool {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return true;
    }
    let fields: &[&str] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    };
    fields.contains(&field)
}

/// Both selectors of a request.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By labels.
    pub labels: LabelSelector,
    /// By fields.
    pub fields: FieldSelector,
}

impl Selection {
    /// Takes everything, so that objects need not be looked at.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is taken.
    pub fn matches(&self, object: &Value) -> bool {
        self.fields.exact_name().is_none_or(|name| object::name(object) == name)
            && self.labels.matches(object)
            && self.fields.matches(object)
    }
}

/// Whether a LabelSelector object (matchLabels, matchExpressions) takes these labels.
pub fn selector_object_matches(selector: &Value, labels: &Value) -> bool {
    let get = |key: &str| labels.get(key).and_then(Value::as_str);
    let by_labels = selector["matchLabels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| get(key) == value.as_str()));
    let by_expressions = object::list(selector, "/matchExpressions").iter().all(|expression| {
        let key = expression["key"].as_str().unwrap_or("");
        let values: Vec<&str> = object::list(expression, "/values").iter().filter_map(Value::as_str).collect();
        match expression["operator"].as_str().unwrap_or("") {
            "In" => get(key).is_some_and(|value| values.contains(&value)),
            "NotIn" => get(key).is_none_or(|value| !values.contains(&value)),
            "Exists" => get(key).is_some(),
            "DoesNotExist" => get(key).is_none(),
            _ => false,
        }
    });
    by_labels && by_expressions
}

/// A LabelSelector object in the query form.
pub fn selector_object_text(selector: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    if let Some(labels) = selector["matchLabels"].as_object() {
        parts.extend(labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))));
    } else if let Some(labels) = selector.as_object().filter(|map| !map.contains_key("matchExpressions")) {
        parts.extend(labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))));
    }
    for expression in object::list(selector, "/matchExpressions") {
        let key = expression["key"].as_str().unwrap_or("");
        let values: Vec<&str> = object::list(expression, "/values").iter().filter_map(Value::as_str).collect();
        parts.push(match expression["operator"].as_str().unwrap_or("") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests;
