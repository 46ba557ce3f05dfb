//! Sets of security labels.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A set of security labels, `source:key=value` each, as Cilium writes them (`k8s:app=web`).
///
/// Kept as one sorted text: two sets are equal exactly when their texts are, nothing is hashed, and fifty thousand sets
/// cost little more than their letters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Arc<str>);

/// One label of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label<'a> {
    /// Who says so: `k8s`, `reserved`, `malla`, …
    pub source: &'a str,
    /// Its key.
    pub key: &'a str,
    /// Its value; may be empty.
    pub value: &'a str,
}

/// What can't be a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelError {
    /// The key, with its source, as it was given.
    pub key: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Labels {
    /// A set from `source:key` → value, as a `CiliumIdentity` holds it.
    ///
    /// # Errors
    /// When a key has no source or no name, or a text has characters that no label has: they could make two different
    /// sets look the same.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Self, LabelError> {
        let mut text = String::new();
        for (key, value) in map {
            let wrong = |why| LabelError { key: key.clone(), why };
            match key.split_once(':') {
                Some((source, name)) if !source.is_empty() && !name.is_empty() => {}
                _ => return Err(wrong("is not source:key")),
            }
            if key.contains(['=', '\n']) || value.contains('\n') {
                return Err(wrong("has '=' in its key, or a line break"));
            }
            text.push_str(key);
            text.push('=');
            text.push_str(value);
            text.push('\n');
        }
        Ok(Self(text.into()))
    }

    /// `source:key` → value.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|label| (format!("{}:{}", label.source, label.key), label.value.to_owned())).collect()
    }

    /// Every label, by source and key.
    pub fn iter(&self) -> impl Iterator<Item = Label<'_>> + Clone {
        // What has no such form was refused when the set was made.
        self.0.lines().filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let (source, key) = key.split_once(':')?;
            Some(Label { source, key, value })
        })
    }

    /// Each as its [`Label`] is printed, which is nearly how they are kept.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0
            .lines()
            .map(|line| line.split_once('=').filter(|(_, value)| value.is_empty()).map_or(line, |(key, _)| key))
    }

    /// The value of a key of one source.
    #[must_use]
    pub fn get(&self, source: &str, key: &str) -> Option<&str> {
        self.iter().find(|label| label.source == source && label.key == key).map(|label| label.value)
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, key, value } = self;
        // As Cilium prints a label without a value.
        if value.is_empty() { write!(f, "{source}:{key}") } else { write!(f, "{source}:{key}={value}") }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, label) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            write!(f, "{label}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// A list of texts, as Cilium's own tools have it.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_set_is_its_map_whatever_the_order() {
        let pairs = [("k8s:app", "web"), ("malla:named-port.tcp.http", "8080"), ("k8s:empty", "")];
        let labels = Labels::from_map(&map(&pairs)).unwrap();
        assert_eq!(labels.to_map(), map(&pairs));
        assert_eq!(labels.to_string(), "k8s:app=web,k8s:empty,malla:named-port.tcp.http=8080");
        assert_eq!((labels.get("k8s", "app"), labels.get("any", "app")), (Some("web"), None));
        assert_eq!(labels.get("k8s", "empty"), Some(""));
        let odd = [("k8s:a", "="), ("k8s:b", "x="), ("k8s:c", ""), ("k8s:d:e", "f=g")];
        let odd = Labels::from_map(&map(&odd)).unwrap();
        let printed: Vec<String> = odd.iter().map(|label| label.to_string()).collect();
        assert_eq!(odd.texts().collect::<Vec<_>>(), printed);
        assert_eq!(printed, ["k8s:a==", "k8s:b=x=", "k8s:c", "k8s:d:e=f=g"]);
    }

    #[test]
    fn what_could_pretend_to_be_another_set_is_refused() {
        for (key, value) in
            [("app", "web"), (":app", ""), ("k8s:", ""), ("k8s:a=b", ""), ("k8s:a\nk8s:b", ""), ("k8s:a", "x\nk8s:b=c")]
        {
            let error = Labels::from_map(&map(&[(key, value)])).unwrap_err();
            assert_eq!(error.key, key);
        }
    }
}
