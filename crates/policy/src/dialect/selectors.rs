//! Kubernetes' label selectors → [`Selector`].

use super::Findings;
use crate::selector::{Requirement, Selector, Test};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Longest key: a source, a domain of 253, a slash, a name of 63.
const LONGEST_KEY: usize = 350;
/// `k8s.io/apimachinery/pkg/util/validation.LabelValueMaxLength`.
const LONGEST_VALUE: usize = 63;

/// Every requirement of a selector, with keys as `key` makes them of what is written. What has no meaning is told and left
/// out: whoever asks must look at the findings.
pub(super) fn requirements(
    selector: &LabelSelector,
    field: &str,
    key: impl Fn(&str) -> String,
    findings: &mut Findings,
) -> Vec<Requirement> {
    let mut all = Vec::new();
    for (written, value) in selector.match_labels.iter().flatten() {
        let place = format!("{field}.matchLabels[{written:?}]");
        check_key(written, &place, findings);
        check_value(value, &place, findings);
        all.push(Requirement { key: key(written).into(), test: Test::In(vec![value.as_str().into()]) });
    }
    for (index, term) in selector.match_expressions.iter().flatten().enumerate() {
        let place = format!("{field}.matchExpressions[{index}]");
        check_key(&term.key, &format!("{place}.key"), findings);
        let values: Vec<Box<str>> = term.values.iter().flatten().map(|value| Box::from(value.as_str())).collect();
        for (at, value) in values.iter().enumerate() {
            check_value(value, &format!("{place}.values[{at}]"), findings);
        }
        let test = match (term.operator.as_str(), values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In" | "NotIn", true) => {
                findings.mistake(format!("{place}.values"), format!("{} needs at least one value", term.operator));
                continue;
            }
            ("Exists" | "DoesNotExist", false) => {
                findings.mistake(format!("{place}.values"), format!("{} takes no values", term.operator));
                continue;
            }
            (operator, _) => {
                let text = format!("is {operator:?}: write In, NotIn, Exists or DoesNotExist");
                findings.mistake(format!("{place}.operator"), text);
                continue;
            }
        };
        all.push(Requirement { key: key(&term.key).into(), test });
    }
    all
}

/// The keys that a selector names, as they are written.
pub(super) fn keys(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    let labels = selector.match_labels.iter().flatten().map(|(key, _)| key.as_str());
    labels.chain(selector.match_expressions.iter().flatten().map(|term| term.key.as_str()))
}

/// A selector of `k8s:` labels.
pub(super) fn kubernetes(selector: &LabelSelector, field: &str, findings: &mut Findings) -> Selector {
    Selector::new(requirements(selector, field, |key| format!("k8s:{key}"), findings))
}

fn check_key(key: &str, place: &str, findings: &mut Findings) {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    let name = key.split_once(':').map_or(key, |(_, name)| name);
    if name.is_empty() || key.starts_with(':') || key.len() > LONGEST_KEY || !key.chars().all(letters) {
        findings.mistake(
            place,
            "is no label's key: write letters, digits and -_./, with a source and a colon before it at most",
        );
    }
}

fn check_value(value: &str, place: &str, findings: &mut Findings) {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if value.len() > LONGEST_VALUE || !value.chars().all(letters) {
        findings.mistake(place, "is no label's value: write at most 63 letters, digits and -_.");
    }
}
