//! Label selectors, and the two keys by which Cilium's select a Service's name and namespace instead of a label.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Stands for `metadata.namespace` of a Service.
pub const SERVICE_NAMESPACE: &str = "io.kubernetes.service.namespace";
/// Stands for `metadata.name` of a Service.
pub const SERVICE_NAME: &str = "io.kubernetes.service.name";

/// A selector that says something that has no meaning. What can't be understood selects nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// What is wrong, for people.
    pub message: String,
}

/// Whether a Service is selected; everything is where there is no selector.
///
/// # Errors
/// When the selector has no meaning.
pub fn matches_service(selector: Option<&LabelSelector>, service: &ObjectMeta) -> Result<bool, SelectorError> {
    let Some(selector) = selector else { return Ok(true) };
    matches(selector, |key| match key {
        SERVICE_NAMESPACE => service.namespace.as_deref(),
        SERVICE_NAME => service.name.as_deref(),
        label => service.labels.as_ref().and_then(|labels| labels.get(label)).map(String::as_str),
    })
}

/// Whether labels are selected; all are where there is no selector.
///
/// # Errors
/// When the selector has no meaning.
pub fn matches_labels(selector: Option<&LabelSelector>, labels: Option<&Labels>) -> Result<bool, SelectorError> {
    let Some(selector) = selector else { return Ok(true) };
    matches(selector, |key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}

fn matches<'a>(selector: &LabelSelector, value: impl Fn(&str) -> Option<&'a str>) -> Result<bool, SelectorError> {
    let mut all = selector.match_labels.iter().flatten().all(|(key, wanted)| value(key) == Some(wanted));
    for term in selector.match_expressions.iter().flatten() {
        all &= fulfilled(term, value(&term.key))?;
    }
    Ok(all)
}

/// API reference, LabelSelectorRequirement: In and NotIn need values, the other two must have none.
fn fulfilled(term: &LabelSelectorRequirement, value: Option<&str>) -> Result<bool, SelectorError> {
    let values = term.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let error = |why: &str| SelectorError { message: format!("key {}: operator {} {why}", term.key, term.operator) };
    match (term.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(listed()),
        ("NotIn", false) => Ok(!listed()),
        ("In" | "NotIn", true) => Err(error("needs values")),
        ("Exists", true) => Ok(value.is_some()),
        ("DoesNotExist", true) => Ok(value.is_none()),
        ("Exists" | "DoesNotExist", false) => Err(error("takes no values")),
        _ => Err(error("is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: serde_json::Value) -> LabelSelector {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn names_and_namespaces_are_selected_by_their_special_keys() {
        let service: ObjectMeta = serde_json::from_value(serde_json::json!({
            "name": "web", "namespace": "shop", "labels": {"color": "blue", "io.kubernetes.service.name": "a lie"}
        }))
        .unwrap();
        let expression = |key: &str, operator: &str, values: &[&str]| {
            selector(serde_json::json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        for (selector, expected) in [
            (selector(serde_json::json!({})), true),
            (selector(serde_json::json!({"matchLabels": {"color": "blue"}})), true),
            (selector(serde_json::json!({"matchLabels": {"color": "red"}})), false),
            (selector(serde_json::json!({"matchLabels": {SERVICE_NAMESPACE: "shop"}})), true),
            (selector(serde_json::json!({"matchLabels": {SERVICE_NAMESPACE: "default"}})), false),
            (selector(serde_json::json!({"matchLabels": {SERVICE_NAME: "a lie"}})), false),
            (expression(SERVICE_NAME, "In", &["web", "api"]), true),
            (expression(SERVICE_NAME, "NotIn", &["web"]), false),
            (expression("color", "Exists", &[]), true),
            (expression("shape", "DoesNotExist", &[]), true),
            (expression("shape", "NotIn", &["round"]), true),
        ] {
            assert_eq!(matches_service(Some(&selector), &service), Ok(expected), "{selector:?}");
        }
        assert_eq!(matches_service(None, &service), Ok(true));
        for (operator, values) in [("In", &[][..]), ("NotIn", &[]), ("Exists", &["x"]), ("Like", &["x"])] {
            let selector = expression("color", operator, values);
            assert!(matches_service(Some(&selector), &service).is_err(), "{selector:?}");
        }
    }
}
