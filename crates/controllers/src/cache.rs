//! The controllers' view of one kind of object, filled by one watch and by the answers to our own writes.
//!
//! The contract: an object is replaced only by a newer resourceVersion, so it does not matter whether the watch or the
//! answer to a write comes first. Comparing versions as numbers is allowed for Kubernetes' own server since 1.35
//! (KEP-5504) and has always been true for the embedded one; a version that is no number counts as newer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, RwLock, RwLockReadGuard},
};
use tokio::sync::watch;

/// Namespace (empty for cluster-wide kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Called with the object before and after each change; must only enqueue keys.
type Handler<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync>;

/// The object before and after a change, or nothing when nothing changed.
type Change<K> = Option<(Option<Arc<K>>, Option<Arc<K>>)>;

/// All objects of one kind.
pub struct Cache<K> {
    state: RwLock<State<K>>,
    handlers: Mutex<Vec<Arc<Handler<K>>>>,
    synced: watch::Sender<bool>,
}

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    relist: Option<Relist>,
}

/// What was seen since a relist began: listed objects, and objects we wrote while the list was under way.
#[derive(Default)]
struct Relist {
    seen: BTreeSet<Key>,
    written: BTreeSet<Key>,
}

impl<K: Resource<DynamicType = ()>> Cache<K> {
    /// An empty cache that is not synced yet.
    pub fn new() -> Self {
        Self {
            state: RwLock::new(State { objects: BTreeMap::new(), relist: None }),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// Calls `handler` on every later change.
    pub fn on_change(&self, handler: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync + 'static) {
        self.handlers.lock().unwrap_or_else(|poison| poison.into_inner()).push(Arc::new(Box::new(handler)));
    }

    /// Waits for the first complete list.
    pub async fn synced(&self) {
        // The sender lives as long as the cache, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        self.read()
            .objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// The answer to one of our writes.
    pub fn written(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        let key = Key::of(object.meta());
        let change = {
            let mut state = self.write();
            if let Some(relist) = &mut state.relist {
                relist.written.insert(key.clone());
            }
            state.put(key, &object)
        };
        self.tell(change);
        object
    }

    /// Changes the cached object ahead of the watch, where the server's answer to a write does not hold the object.
    /// The watch's newer version replaces it.
    pub fn assume(&self, key: &Key, change: impl FnOnce(&mut K))
    where
        K: Clone,
    {
        let told = {
            let mut state = self.write();
            let Some(old) = state.objects.get(key).cloned() else {
                return;
            };
            let mut new = K::clone(&old);
            change(&mut new);
            let new = Arc::new(new);
            state.objects.insert(key.clone(), Arc::clone(&new));
            Some((Some(old), Some(new)))
        };
        self.tell(told);
    }

    /// The server says that this very object is gone.
    pub fn forget(&self, key: &Key, uid: Option<&str>) {
        let change = {
            let mut state = self.write();
            match state.objects.get(key) {
                Some(object) if object.meta().uid.as_deref() == uid => {
                    state.objects.remove(key).map(|old| (Some(old), None))
                }
                _ => None,
            }
        };
        self.tell(change);
    }

    /// The watch saw the object in this state.
    pub(crate) fn applied(&self, object: K) {
        let object = Arc::new(object);
        let key = Key::of(object.meta());
        let change = {
            let mut state = self.write();
            if let Some(relist) = &mut state.relist {
                relist.seen.insert(key.clone());
            }
            state.put(key, &object)
        };
        self.tell(change);
    }

    /// The watch saw the object go.
    pub(crate) fn deleted(&self, object: &K) {
        let key = Key::of(object.meta());
        let change = {
            let mut state = self.write();
            // A newer object of the same name, which we created meanwhile, stays.
            match state.objects.get(&key) {
                Some(held) if !is_newer(held.meta(), object.meta()) => {
                    state.objects.remove(&key).map(|old| (Some(old), None))
                }
                _ => None,
            }
        };
        self.tell(change);
    }

    /// A list begins: what is not seen until its end is gone.
    pub(crate) fn relist_begins(&self) {
        self.write().relist = Some(Relist::default());
    }

    /// The list is complete.
    pub(crate) fn relist_ends(&self) {
        let gone: Vec<Arc<K>> = {
            let mut state = self.write();
            let Some(Relist { seen, written }) = state.relist.take() else {
                return;
            };
            let keys: Vec<Key> =
                state.objects.keys().filter(|key| !seen.contains(*key) && !written.contains(*key)).cloned().collect();
            keys.iter().filter_map(|key| state.objects.remove(key)).collect()
        };
        for old in gone {
            self.tell(Some((Some(old), None)));
        }
        self.synced.send_replace(true);
    }

    fn tell(&self, change: Change<K>) {
        let Some((old, new)) = change else { return };
        let handlers: Vec<_> = self.handlers.lock().unwrap_or_else(|poison| poison.into_inner()).clone();
        for handler in handlers {
            handler(old.as_ref(), new.as_ref());
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(|poison| poison.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl<K: Resource<DynamicType = ()>> State<K> {
    fn put(&mut self, key: Key, object: &Arc<K>) -> Change<K> {
        if self.objects.get(&key).is_some_and(|held| !is_newer(object.meta(), held.meta())) {
            return None;
        }
        let old = self.objects.insert(key, Arc::clone(object));
        Some((old, Some(Arc::clone(object))))
    }
}

fn is_newer(candidate: &ObjectMeta, held: &ObjectMeta) -> bool {
    match (version(candidate), version(held)) {
        (Some(candidate), Some(held)) => candidate > held,
        _ => true,
    }
}

fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
