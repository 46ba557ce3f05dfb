//! Rules and selectors that do nothing by how they are written.

use policy::rule::{Action, Peers, Policy, PortMatch, PortSet, Ports, Rule, Tier};
use policy::selector::{Selector, Test};

/// A rule that never decides, and the one because of which it doesn't.
pub struct Shadowed<'a> {
    pub rule: &'a Rule,
    pub by: &'a Rule,
    /// It says the same, so that nothing is lost.
    pub says_the_same: bool,
}

/// The rules of a policy that another one of it makes pointless.
pub fn shadowed(policy: &Policy) -> Vec<Shadowed<'_>> {
    let mut all = Vec::new();
    for (at, rule) in policy.rules.iter().enumerate() {
        let by = policy.rules.iter().enumerate().find(|(other_at, other)| {
            // Of two that cover each other, the second one is the pointless one.
            *other_at != at
                && precedes(other, rule)
                && covers(other, rule)
                && (*other_at < at || !covers(rule, other) || !precedes(rule, other))
        });
        if let Some((_, by)) = by {
            all.push(Shadowed { rule, by, says_the_same: by.action == rule.action });
        }
    }
    all
}

/// Whether one rule decides where both match.
fn precedes(one: &Rule, other: &Rule) -> bool {
    if one.direction != other.direction {
        return false;
    }
    match (one.tier, other.tier) {
        (Tier::Normal, Tier::Normal) => one.action == Action::Deny || one.action == other.action,
        (a, b) => a == b && one.order < other.order,
    }
}

fn covers(one: &Rule, other: &Rule) -> bool {
    let peers = match (&one.peers, &other.peers) {
        (Peers::Any, _) => true,
        (Peers::OneOf(_), Peers::Any) => false,
        (Peers::OneOf(all), Peers::OneOf(some)) => some.iter().all(|peer| all.contains(peer)),
    };
    let ports = match (&one.ports, &other.ports) {
        (Ports::Any, _) => true,
        (Ports::OneOf(_), Ports::Any) => false,
        (Ports::OneOf(all), Ports::OneOf(some)) => some.iter().all(|port| all.iter().any(|one| holds(one, port))),
    };
    peers && ports
}

fn holds(one: &PortMatch, other: &PortMatch) -> bool {
    let (PortMatch::Port(transport, set), PortMatch::Port(other_transport, other_set)) = (one, other) else {
        return one == other;
    };
    let transport = other_transport.numbers().iter().all(|number| transport.numbers().contains(number));
    transport
        && match (set, other_set) {
            (PortSet::All, _) => true,
            (PortSet::Range(first, last), PortSet::Range(from, to)) => first <= from && to <= last,
            _ => set == other_set,
        }
}

/// Why no labels can ever be selected, if that is so.
pub fn contradiction(selector: &Selector) -> Option<String> {
    let all = selector.requirements();
    let clash = |key: &str| format!("nothing is selected: what is asked of {key} can't all be so");
    for (at, one) in all.iter().enumerate() {
        for other in all[at + 1..].iter().filter(|other| other.key == one.key && !one.key.starts_with("any:")) {
            let impossible = match (&one.test, &other.test) {
                (Test::In(a), Test::In(b)) => !a.iter().any(|value| b.contains(value)),
                (Test::In(a), Test::NotIn(b)) | (Test::NotIn(b), Test::In(a)) => {
                    a.iter().all(|value| b.contains(value))
                }
                (Test::In(_) | Test::Exists, Test::DoesNotExist) | (Test::DoesNotExist, Test::In(_) | Test::Exists) => {
                    true
                }
                _ => false,
            };
            if impossible {
                return Some(clash(&one.key));
            }
        }
    }
    None
}
