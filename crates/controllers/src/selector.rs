//! Label selectors (`metav1.LabelSelector`, and the plain maps that Services use).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// True when the selector matches; an empty selector matches everything. An unknown operator matches nothing.
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let value_of = |key: &str| labels.and_then(|labels| labels.get(key));
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| value_of(key) == Some(value));
    exact
        && selector.match_expressions.iter().flatten().all(|term| {
            let value = value_of(&term.key);
            let listed = || value.is_some_and(|value| term.values.iter().flatten().any(|v| v == value));
            match term.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// True for a selector that names nothing, which as a Deployment's selector is a mistake.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A Service's selector; a Service without one selects nothing.
pub fn service_selects(selector: Option<&Labels>, labels: Option<&Labels>) -> bool {
    match selector {
        Some(selector) if !selector.is_empty() => {
            selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_labels: None,
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            }]),
        }
    }

    #[test]
    fn operators() {
        let web = labels(&[("app", "web"), ("tier", "front")]);
        for (selector, expected) in [
            (expression("app", "In", &["web", "api"]), true),
            (expression("app", "In", &["api"]), false),
            (expression("none", "In", &["web"]), false),
            (expression("app", "NotIn", &["api"]), true),
            (expression("app", "NotIn", &["web"]), false),
            (expression("none", "NotIn", &["web"]), true),
            (expression("app", "Exists", &[]), true),
            (expression("none", "Exists", &[]), false),
            (expression("none", "DoesNotExist", &[]), true),
            (expression("app", "DoesNotExist", &[]), false),
            (expression("app", "Bogus", &["web"]), false),
            (LabelSelector::default(), true),
        ] {
            assert_eq!(matches(&selector, Some(&web)), expected, "{selector:?}");
        }
        assert!(!matches(&expression("app", "Exists", &[]), None));
    }

    #[test]
    fn a_service_without_selector_selects_nothing() {
        let web = labels(&[("app", "web")]);
        assert!(service_selects(Some(&web), Some(&web)));
        assert!(!service_selects(Some(&Labels::new()), Some(&web)));
        assert!(!service_selects(None, Some(&web)));
        assert!(!service_selects(Some(&web), None));
    }
}
