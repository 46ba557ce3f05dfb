//! Which lines may speak about a peer, without asking each: a new identity is asked about by every table of the node, and of
//! hundreds of lines a few are about its labels.

use crate::rule::Peer;
use crate::selector::{NAMESPACE, Requirement, Selector, Test};
use crate::subject::IdentityFacts;
use std::collections::HashMap;

/// Lines by a label that a peer must have for them to speak.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    by_label: HashMap<Box<str>, HashMap<Box<str>, Vec<u32>>>,
    /// Those that need no label in particular.
    others: Vec<u32>,
}

impl Index {
    /// Adds a line; they come in their order. None: it is about whoever has an identity.
    pub fn add(&mut self, line: u32, peers: Option<&[Peer]>) {
        let labels: Option<Vec<&Requirement>> = peers.and_then(|peers| peers.iter().map(needed).collect());
        let Some(labels) = labels else { return self.others.push(line) };
        for requirement in labels {
            let Test::In(values) = &requirement.test else { continue };
            let by_value = self.by_label.entry(requirement.key.clone()).or_default();
            for value in values {
                let lines = by_value.entry(value.clone()).or_default();
                if lines.last() != Some(&line) {
                    lines.push(line);
                }
            }
        }
    }

    /// Lines that may be about somebody, in their order.
    pub fn about(&self, facts: &IdentityFacts) -> Vec<u32> {
        let mut lines = self.others.clone();
        for (key, value) in facts.labels.iter() {
            let found = self.by_label.get(key).and_then(|by_value| by_value.get(value));
            lines.extend(found.into_iter().flatten());
        }
        lines.sort_unstable();
        lines.dedup();
        lines
    }
}

/// A label that whoever is meant has. Of several the one that says most: most Pods have their namespace's.
fn needed(peer: &Peer) -> Option<&Requirement> {
    let Peer::Endpoints(selector) = peer else { return None };
    let exact = |selector: &'_ Selector, own: bool| {
        selector.requirements().iter().position(|requirement| {
            // Of the source `any` there is no one key.
            let is_label = matches!(requirement.test, Test::In(_)) && !requirement.key.starts_with("any:");
            is_label && (&*requirement.key != NAMESPACE) == own
        })
    };
    let at = exact(selector, true).or_else(|| exact(selector, false))?;
    selector.requirements().get(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Entity;
    use crate::selector::Labels;
    use crate::subject::Kind;

    #[test]
    fn whoever_may_be_meant_is_found_and_few_others() {
        let of = |labels: &[(&str, &str)]| {
            let requirement = |(key, value): &(&str, &str)| Requirement {
                key: (*key).into(),
                test: Test::In(value.split('|').map(Into::into).collect()),
            };
            Peer::Endpoints(Selector::new(labels.iter().map(requirement).collect()))
        };
        let exists = Peer::Endpoints(Selector::default().and("k8s:app", Test::Exists));
        let mut index = Index::default();
        index.add(0, Some(&[of(&[(NAMESPACE, "shop")])]));
        index.add(1, Some(&[of(&[(NAMESPACE, "shop"), ("k8s:app", "web|db")])]));
        index.add(2, Some(&[of(&[(NAMESPACE, "lab")]), Peer::Entity(Entity::World)]));
        index.add(3, None);
        index.add(4, Some(&[of(&[("any:app", "web")])]));
        index.add(5, Some(&[exists]));
        index.add(6, Some(&[of(&[(NAMESPACE, "lab")]), of(&[("k8s:app", "web")])]));
        index.add(7, Some(&[]));
        let about = |namespace, app| {
            let labels = Labels::from_iter([(NAMESPACE, namespace), ("k8s:app", app)]);
            let facts = IdentityFacts { number: 1, labels, namespace: None, kind: Kind::Pod, named_ports: vec![] };
            index.about(&facts)
        };
        assert_eq!(about("shop", "web"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(about("shop", "cache"), [0, 2, 3, 4, 5]);
        assert_eq!(about("lab", "db"), [1, 2, 3, 4, 5, 6], "by its name alone: whoever asks looks closer");
    }
}
