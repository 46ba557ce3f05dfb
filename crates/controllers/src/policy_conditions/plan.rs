//! A policy object → what is to be said of it. Pure.

use custom_resources::cilium_policy::PolicyCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use policy::{dialect::Mistake, rule::Policy};

/// Type of the condition.
pub const VALID: &str = "Valid";

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// All of it is understood and enforced.
    pub valid: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, with the fields.
    pub message: String,
}

/// Reads what a dialect made of an object.
#[must_use]
pub fn finding(read: &Result<Vec<Policy>, Vec<Mistake>>) -> Finding {
    match read {
        Err(mistakes) => Finding {
            valid: false,
            reason: "Mistake",
            message: listed(
                mistakes.iter().map(ToString::to_string),
                "whom it selects is allowed nothing where it governs, unless a node knows an earlier version without mistake",
            ),
        },
        Ok(policies) => {
            let gaps: Vec<String> =
                policies.iter().flat_map(|one| &one.gaps).map(|gap| format!("{}: {}", gap.field, gap.why)).collect();
            let audit = if policies.iter().any(|policy| policy.audit) { " (audit mode: reported only)" } else { "" };
            if gaps.is_empty() {
                let message = format!("all of it is understood and enforced{audit}");
                return Finding { valid: true, reason: "Understood", message };
            }
            let message = format!("not enforced yet: fails closed{audit}");
            Finding { valid: false, reason: "NotEnforced", message: listed(gaps.into_iter(), &message) }
        }
    }
}

/// The fields first: they are what has to be changed.
fn listed(lines: impl Iterator<Item = String>, what: &str) -> String {
    let lines: Vec<String> = lines.collect();
    let (told, more) = (lines.len().min(TOLD), lines.len().saturating_sub(TOLD));
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let text: String = format!("{}{more}; {what}", lines[..told].join("; "));
    // The API takes 32,768 characters; people read fewer.
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST - 1).chain(['…']).collect() }
}

/// The conditions of a Cilium object once this is said; `None` when they say it already.
#[must_use]
pub fn cilium(
    old: Option<&Vec<PolicyCondition>>,
    finding: &Finding,
    generation: Option<i64>,
    now: &Time,
) -> Option<Vec<PolicyCondition>> {
    let known = old.into_iter().flatten().find(|one| one.kind == VALID);
    let status = word(finding.valid);
    let since = known.filter(|known| known.status == status).and_then(|known| known.last_transition_time.clone());
    let new = PolicyCondition {
        kind: VALID.to_owned(),
        status: status.to_owned(),
        observed_generation: generation,
        last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
        reason: Some(finding.reason.to_owned()),
        message: Some(finding.message.clone()),
    };
    // Cilium's own definition has no generation: there it is never said.
    let said = |known: &PolicyCondition| PolicyCondition {
        observed_generation: known.observed_generation.and(new.observed_generation),
        ..new.clone()
    };
    if known.is_some_and(|known| said(known) == *known) {
        return None;
    }
    Some(old.into_iter().flatten().filter(|one| one.kind != VALID).cloned().chain([new]).collect())
}

/// The same of an object with conditions of apimachinery's form.
#[must_use]
pub fn kubernetes(old: &[Condition], finding: &Finding, generation: Option<i64>, now: &Time) -> Option<Vec<Condition>> {
    let known = old.iter().find(|one| one.type_ == VALID);
    let status = word(finding.valid);
    let since = known.filter(|known| known.status == status).map(|known| known.last_transition_time.clone());
    let new = Condition {
        type_: VALID.to_owned(),
        status: status.to_owned(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| now.clone()),
        reason: finding.reason.to_owned(),
        message: finding.message.clone(),
    };
    if known == Some(&new) {
        return None;
    }
    Some(old.iter().filter(|one| one.type_ != VALID).cloned().chain([new]).collect())
}

const fn word(valid: bool) -> &'static str {
    if valid { "True" } else { "False" }
}

/// Fields that are named one by one.
const TOLD: usize = 10;
/// Characters of a message; an Event takes 1,024 bytes.
const LONGEST: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(count: usize) -> Result<Vec<Policy>, Vec<Mistake>> {
        Err((0..count).map(|at| Mistake { field: format!("spec.ingress[{at}]"), text: "is wrong".into() }).collect())
    }

    #[test]
    fn messages_name_the_fields_and_have_an_end() {
        let few = finding(&mistakes(2));
        assert!(few.message.starts_with("spec.ingress[0]: is wrong; spec.ingress[1]: is wrong; whom it selects"));
        assert_eq!((few.valid, few.reason), (false, "Mistake"));
        assert!(finding(&mistakes(12)).message.contains("spec.ingress[9]: is wrong; and 2 more; "));
        let long = Err(vec![Mistake { field: "ü".repeat(2_000), text: String::new() }]);
        assert_eq!(finding(&long).message.chars().count(), LONGEST);
        assert!(finding(&Ok(Vec::new())).valid);
    }

    #[test]
    fn the_time_changes_with_the_status_and_others_conditions_stay() {
        let time = |second| Time(jiff::Timestamp::from_second(second).expect("a time"));
        let other = Condition {
            type_: "Other".into(),
            status: "True".into(),
            observed_generation: None,
            last_transition_time: time(1),
            reason: "R".into(),
            message: String::new(),
        };
        let good = finding(&Ok(Vec::new()));
        let first = kubernetes(std::slice::from_ref(&other), &good, Some(1), &time(10)).expect("news");
        assert_eq!((&first[0], first.len()), (&other, 2));
        assert_eq!(kubernetes(&first, &good, Some(1), &time(20)), None, "said already");
        let second = kubernetes(&first, &good, Some(2), &time(30)).expect("of another generation");
        assert_eq!((second[1].observed_generation, &second[1].last_transition_time), (Some(2), &time(10)));
        let third = kubernetes(&second, &finding(&mistakes(1)), Some(3), &time(40)).expect("news");
        assert_eq!((&*third[1].status, &third[1].last_transition_time), ("False", &time(40)));
        let of_cilium = cilium(None, &good, Some(1), &time(10)).expect("news");
        assert_eq!(cilium(Some(&of_cilium), &good, Some(1), &time(20)), None);
        let bad = cilium(Some(&of_cilium), &finding(&mistakes(1)), Some(2), &time(20)).expect("news");
        assert_eq!((bad.len(), &*bad[0].status, &bad[0].last_transition_time), (1, "False", &Some(time(20))));
    }
}
