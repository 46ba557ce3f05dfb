//! Labels and what selects them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Key of a Pod's namespace among its labels.
pub const NAMESPACE: &str = "k8s:io.kubernetes.pod.namespace";
/// Before the key of a namespace's own label among the labels of its Pods.
pub const NAMESPACE_LABELS: &str = "k8s:io.cilium.k8s.namespace.labels.";
/// Key of a Pod's service account among its labels.
pub const SERVICE_ACCOUNT: &str = "k8s:io.cilium.k8s.policy.serviceaccount";
/// Key of a Pod's cluster among its labels.
pub const CLUSTER: &str = "k8s:io.cilium.k8s.policy.cluster";

/// Labels as `source:key` = value, sorted; a key once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Box<str>, Box<str>>", into = "BTreeMap<Box<str>, Box<str>>")]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of `source:key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &*self.0[at].1)
    }

    /// Whether there is `source:key`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All of them, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    /// Of a key that comes twice the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let map: BTreeMap<Box<str>, Box<str>> =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self(map.into_iter().collect())
    }
}

impl From<BTreeMap<Box<str>, Box<str>>> for Labels {
    fn from(labels: BTreeMap<Box<str>, Box<str>>) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl From<Labels> for BTreeMap<Box<str>, Box<str>> {
    fn from(labels: Labels) -> Self {
        labels.0.into_iter().collect()
    }
}

impl From<Vec<Requirement>> for Selector {
    fn from(requirements: Vec<Requirement>) -> Self {
        Self::new(requirements)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{key}", if at == 0 { "" } else { "," })?;
            if !value.is_empty() {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// What a selector asks of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// The key is there with one of these values.
    In(Vec<Box<str>>),
    /// The key is not there, or with none of these values.
    NotIn(Vec<Box<str>>),
    /// The key is there.
    Exists,
    /// The key is not there.
    DoesNotExist,
}

/// One key and its test.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// `source:key`; with the source `any`, of whichever source.
    pub key: Box<str>,
    /// What is asked.
    pub test: Test,
}

/// Selects labels that fulfil all requirements; without any, all labels. Selectors that mean the same compare equal if
/// they were written of the same requirements in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Vec<Requirement>")]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// From its requirements.
    #[must_use]
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        for requirement in &mut requirements {
            if let Test::In(values) | Test::NotIn(values) = &mut requirement.test {
                values.sort_unstable();
                values.dedup();
            }
        }
        requirements.sort_unstable();
        requirements.dedup();
        Self(requirements)
    }

    /// Of one label.
    #[must_use]
    pub fn label(key: &str, value: &str) -> Self {
        Self(vec![Requirement { key: key.into(), test: Test::In(vec![value.into()]) }])
    }

    /// The same and one requirement more.
    #[must_use]
    pub fn and(self, key: &str, test: Test) -> Self {
        let mut all = self.0;
        all.push(Requirement { key: key.into(), test });
        Self::new(all)
    }

    /// What it asks, sorted.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether these labels are selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.is_met(labels))
    }
}

impl Requirement {
    fn is_met(&self, labels: &Labels) -> bool {
        match &self.test {
            Test::In(values) => self.any(labels, |value| listed(values, value)),
            Test::NotIn(values) => !self.any(labels, |value| listed(values, value)),
            Test::Exists => self.any(labels, |_| true),
            Test::DoesNotExist => !self.any(labels, |_| true),
        }
    }

    /// Whether a value that the key has (several, with the source `any`) is so.
    fn any(&self, labels: &Labels, test: impl Fn(&str) -> bool) -> bool {
        match self.key.strip_prefix("any:") {
            None => labels.get(&self.key).is_some_and(test),
            Some(key) => {
                labels.iter().any(|(k, value)| k.split_once(':').is_some_and(|(_, k)| k == key) && test(value))
            }
        }
    }
}

fn listed(values: &[Box<str>], value: &str) -> bool {
    values.binary_search_by(|v| (**v).cmp(value)).is_ok()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("everything");
        }
        for (at, Requirement { key, test }) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::DoesNotExist => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator() {
        let labels: Labels = [("k8s:app", "web"), ("k8s:tier", "front"), ("reserved:host", "")].into_iter().collect();
        let list = |values: &[&str]| values.iter().map(|v| Box::from(*v)).collect::<Vec<_>>();
        for (key, test, expected) in [
            ("k8s:app", Test::In(list(&["web", "api"])), true),
            ("k8s:app", Test::In(list(&["api"])), false),
            ("k8s:none", Test::In(list(&["api"])), false),
            ("any:app", Test::In(list(&["web"])), true),
            ("any:host", Test::Exists, true),
            ("other:app", Test::Exists, false),
            ("k8s:app", Test::NotIn(list(&["web"])), false),
            ("k8s:app", Test::NotIn(list(&["api"])), true),
            ("k8s:none", Test::NotIn(list(&["api"])), true),
            ("any:app", Test::NotIn(list(&["web"])), false),
            ("k8s:tier", Test::Exists, true),
            ("k8s:none", Test::Exists, false),
            ("k8s:tier", Test::DoesNotExist, false),
            ("k8s:none", Test::DoesNotExist, true),
            ("any:tier", Test::DoesNotExist, false),
        ] {
            let selector = Selector::default().and(key, test);
            assert_eq!(selector.matches(&labels), expected, "{selector}");
        }
        assert!(Selector::default().matches(&labels));
        assert!(
            !Selector::label("k8s:app", "web").and("k8s:tier", Test::DoesNotExist).matches(&labels),
            "all are asked"
        );
    }

    #[test]
    fn order_does_not_count() {
        let a = Selector::label("k8s:a", "1").and("k8s:b", Test::In(vec!["2".into(), "1".into(), "2".into()]));
        let b = Selector::default()
            .and("k8s:b", Test::In(vec!["1".into(), "2".into()]))
            .and("k8s:a", Test::In(vec!["1".into()]));
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "k8s:a=1,k8s:b in (1,2)");
    }
}
