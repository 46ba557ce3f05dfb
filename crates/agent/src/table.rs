//! A table of the kernel, or its twin in memory.

use std::error::Error as StdError;

/// A table of the kernel did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{operation} in map {map}")]
pub struct TableError {
    /// A verb.
    pub operation: &'static str,
    /// Name of the map.
    pub map: String,
    #[source]
    source: Box<dyn StdError + Send + Sync>,
}

impl TableError {
    /// An error of a map.
    pub fn new(operation: &'static str, map: &str, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { operation, map: map.to_owned(), source: Box::new(source) }
    }
}

/// Typed access to one map. Calls are short system calls and are made where they stand.
pub trait Table<K, V>: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &K) -> Result<Option<V>, TableError>;
    /// Writes one entry; readers see the old value or the new one.
    fn insert(&self, key: &K, value: &V) -> Result<(), TableError>;
    /// Removes an entry; tells whether it was there.
    fn remove(&self, key: &K) -> Result<bool, TableError>;
    /// All entries. Of a table that changes meanwhile, those that stayed are all there.
    fn entries(&self) -> Result<Vec<(K, V)>, TableError>;
}

impl<K, V, T: Table<K, V>> Table<K, V> for std::sync::Arc<T> {
    fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        (**self).get(key)
    }

    fn insert(&self, key: &K, value: &V) -> Result<(), TableError> {
        (**self).insert(key, value)
    }

    fn remove(&self, key: &K) -> Result<bool, TableError> {
        (**self).remove(key)
    }

    fn entries(&self) -> Result<Vec<(K, V)>, TableError> {
        (**self).entries()
    }
}

#[cfg(test)]
pub mod memory {
    //! The twin.

    use super::{Table, TableError};
    use std::collections::HashMap;
    use std::hash::Hash;
    use std::sync::Mutex;

    /// A map with a size.
    #[derive(Debug)]
    pub struct MemoryTable<K, V> {
        items: Mutex<HashMap<K, V>>,
        capacity: usize,
    }

    impl<K, V> MemoryTable<K, V> {
        pub fn with_capacity(capacity: usize) -> Self {
            Self { items: Mutex::new(HashMap::new()), capacity }
        }
    }

    impl<K: Hash + Eq + Clone + Send, V: Clone + Send> Table<K, V> for MemoryTable<K, V> {
        fn get(&self, key: &K) -> Result<Option<V>, TableError> {
            Ok(self.items.lock().unwrap().get(key).cloned())
        }

        fn insert(&self, key: &K, value: &V) -> Result<(), TableError> {
            let mut items = self.items.lock().unwrap();
            if items.len() >= self.capacity && !items.contains_key(key) {
                return Err(TableError::new("insert", "memory", std::io::Error::from(std::io::ErrorKind::StorageFull)));
            }
            items.insert(key.clone(), value.clone());
            Ok(())
        }

        fn remove(&self, key: &K) -> Result<bool, TableError> {
            Ok(self.items.lock().unwrap().remove(key).is_some())
        }

        fn entries(&self) -> Result<Vec<(K, V)>, TableError> {
            Ok(self.items.lock().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }
}
