//! What a watch has told, with mark and sweep over re-lists.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// One thing a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<K, V> {
    /// A list begins: what it does not name is gone when it ends.
    Begin,
    /// An object as it is now; `None` when it is there but of no interest.
    Set(K, Option<V>),
    /// An object is gone.
    Gone(K),
    /// The list is whole.
    End,
}

impl<K: Clone, V> Told<K, V> {
    /// The same, told of two things that an object says.
    pub fn halves<A, B>(self, cut: impl FnOnce(V) -> (Option<A>, Option<B>)) -> (Told<K, A>, Told<K, B>) {
        match self {
            Self::Begin => (Told::Begin, Told::Begin),
            Self::Set(key, value) => {
                let (one, other) = value.map_or((None, None), cut);
                (Told::Set(key.clone(), one), Told::Set(key, other))
            }
            Self::Gone(key) => (Told::Gone(key.clone()), Told::Gone(key)),
            Self::End => (Told::End, Told::End),
        }
    }
}

/// A difference: what was there before and is no longer so. The new value is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<K, V> {
    /// Which object.
    pub key: K,
    /// What it was; `None` = it is new.
    pub old: Option<V>,
}

/// The objects of one kind, as of the last thing told. While a list runs (also a repeated one, after the API was away)
/// nothing disappears: only its end shows what is gone.
#[derive(Debug)]
pub struct Watched<K, V> {
    items: HashMap<K, V>,
    listed: Option<HashSet<K>>,
    synced: bool,
}

impl<K, V> Default for Watched<K, V> {
    fn default() -> Self {
        Self { items: HashMap::new(), listed: None, synced: false }
    }
}

impl<K: Hash + Eq + Clone, V: PartialEq> Watched<K, V> {
    /// Takes what was told; answers with what became different.
    pub fn take(&mut self, told: Told<K, V>) -> Vec<Difference<K, V>> {
        match told {
            Told::Begin => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            Told::Set(key, value) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.put(key, value).into_iter().collect()
            }
            Told::Gone(key) => self.put(key, None).into_iter().collect(),
            Told::End => {
                self.synced = true;
                let Some(listed) = self.listed.take() else { return Vec::new() };
                let gone: Vec<K> = self.items.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.into_iter().filter_map(|key| self.put(key, None)).collect()
            }
        }
    }

    fn put(&mut self, key: K, value: Option<V>) -> Option<Difference<K, V>> {
        match value {
            Some(value) if self.items.get(&key) == Some(&value) => None,
            Some(value) => {
                let old = self.items.insert(key.clone(), value);
                Some(Difference { key, old })
            }
            None => self.items.remove(&key).map(|old| Difference { key, old: Some(old) }),
        }
    }

    /// Whether one list has been whole: only then may anything be called stale.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// The object with this key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.items.get(key)
    }

    /// Every object.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.items.values()
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.items.keys()
    }

    /// Number of objects.
    #[must_use]
    pub fn count(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_list_removes_only_at_its_end() {
        let mut table = Watched::default();
        for told in [Told::Begin, Told::Set(1, Some("a")), Told::Set(2, Some("b"))] {
            table.take(told);
        }
        assert!(!table.is_synced());
        assert!(table.take(Told::End).is_empty() && table.is_synced());
        assert!(table.take(Told::Begin).is_empty());
        assert!(table.take(Told::Set(1, Some("a"))).is_empty(), "unchanged");
        assert_eq!(table.count(), 2, "nothing disappears while the list runs");
        assert_eq!(table.take(Told::End), [Difference { key: 2, old: Some("b") }]);
    }

    #[test]
    fn an_object_of_no_interest_counts_as_gone() {
        let mut table = Watched::default();
        assert_eq!(table.take(Told::Set(1, Some("a"))), [Difference { key: 1, old: None }]);
        assert_eq!(table.take(Told::Set(1, None)), [Difference { key: 1, old: Some("a") }]);
        assert!(table.take(Told::Gone(1)).is_empty());
    }
}
