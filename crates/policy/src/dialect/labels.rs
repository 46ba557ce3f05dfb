//! Label selectors of the API.

use super::Mistake;
use crate::selector::{Requirement, Selector, Test};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// The compiled form; each key gets `prefix` before it. None, and an empty one, select everything.
pub(crate) fn selector(
    selector: Option<&LabelSelector>,
    prefix: &str,
    field: &str,
    mistakes: &mut Vec<Mistake>,
) -> Selector {
    let Some(selector) = selector else { return Selector::default() };
    let mut all = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        all.push(Requirement { key: format!("{prefix}{key}").into(), test: Test::In(vec![value.as_str().into()]) });
    }
    for (at, term) in selector.match_expressions.iter().flatten().enumerate() {
        match test(term) {
            Ok(test) => all.push(Requirement { key: format!("{prefix}{}", term.key).into(), test }),
            Err((part, text)) => {
                mistakes.push(Mistake { field: format!("{field}.matchExpressions[{at}].{part}"), text });
            }
        }
    }
    Selector::new(all)
}

/// API reference, LabelSelectorRequirement: In and NotIn need values, the other two must have none.
fn test(term: &LabelSelectorRequirement) -> Result<Test, (&'static str, String)> {
    let values: Vec<Box<str>> = term.values.iter().flatten().map(|value| value.as_str().into()).collect();
    match (term.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Test::In(values)),
        ("NotIn", false) => Ok(Test::NotIn(values)),
        ("Exists", true) => Ok(Test::Exists),
        ("DoesNotExist", true) => Ok(Test::DoesNotExist),
        ("In" | "NotIn", true) => Err(("values", format!("{} needs values", term.operator))),
        ("Exists" | "DoesNotExist", false) => Err(("values", format!("{} takes no values", term.operator))),
        (other, _) => Err(("operator", format!("{other:?}: must be In, NotIn, Exists or DoesNotExist"))),
    }
}
