//! The Pods of this node by their network namespaces, and which of those the socket hooks leave alone.

use super::Wish;
use crate::error::chain;
use crate::table::{Table, TableError};
use crate::watched::{Told, Watched};
use model::ObjectName;
use network_namespace::NetNs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A Pod that starts is waited for this long: usually the API has told of it before the runtime asks, and without the API
/// it must start all the same. Its sockets are then translated until the API tells otherwise.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the value of a set's entry is: nobody reads it.
const THERE: u8 = 1;

/// The sockets of this node's Pods. Cheap to share; told by the watches and by the CNI side.
pub struct PodSockets {
    untranslated: Box<dyn Table<u64, u8>>,
    inner: Mutex<Inner>,
    told: Condvar,
}

#[derive(Default)]
struct Inner {
    /// What Pods of this node say.
    pods: Watched<ObjectName, Wish>,
    /// What Namespaces say; their own `namespace` is empty.
    namespaces: Watched<ObjectName, Wish>,
    /// By the host side of the Pod's link.
    here: BTreeMap<String, Here>,
    /// The map is to be compared.
    changed: bool,
}

struct Here {
    pod: Option<ObjectName>,
    namespace: PathBuf,
    cookie: u64,
}

impl Inner {
    /// The Pod's word counts, then its Namespace's.
    fn is_translated(&self, pod: &ObjectName) -> bool {
        let own = self.pods.get(pod).and_then(|wish| wish.translate);
        let namespace = ObjectName::new("", &pod.namespace);
        own.or_else(|| self.namespaces.get(&namespace).and_then(|wish| wish.translate)).unwrap_or(true)
    }

    fn left_alone(&self) -> BTreeSet<u64> {
        let here = self.here.values().filter(|h| h.pod.as_ref().is_some_and(|pod| !self.is_translated(pod)));
        here.map(|h| h.cookie).collect()
    }

    fn is_synced(&self) -> bool {
        self.pods.is_synced() && self.namespaces.is_synced()
    }

    fn knows(&self, pod: &ObjectName) -> bool {
        self.pods.get(pod).is_some() && self.namespaces.is_synced()
    }
}

impl PodSockets {
    /// No Pods yet; the map may hold what an earlier agent wrote.
    #[must_use]
    pub fn new(untranslated: Box<dyn Table<u64, u8>>) -> Self {
        Self { untranslated, inner: Mutex::new(Inner { changed: true, ..Inner::default() }), told: Condvar::new() }
    }

    /// Takes what the watch of this node's Pods told.
    pub fn take_pod(&self, told: Told<ObjectName, Wish>) {
        self.take(|inner| &mut inner.pods, told);
    }

    /// Takes what the watch of Namespaces told.
    pub fn take_namespace(&self, told: Told<ObjectName, Wish>) {
        self.take(|inner| &mut inner.namespaces, told);
    }

    fn take(&self, which: fn(&mut Inner) -> &mut Watched<ObjectName, Wish>, told: Told<ObjectName, Wish>) {
        let mut inner = self.lock();
        let end = matches!(told, Told::End);
        inner.changed |= !which(&mut inner).take(told).is_empty() || end;
        drop(inner);
        self.told.notify_all();
    }

    /// A Pod starts: what the API says of it holds from its first socket on, if the API says it in time.
    pub fn attach(&self, interface: &str, pod: Option<ObjectName>, namespace: &Path) {
        self.adopt(interface, pod.clone(), namespace);
        if let Some(pod) = pod {
            let waited = self.told.wait_timeout_while(self.lock(), PATIENCE, |inner| !inner.knows(&pod));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        // The loop tries again, and tells it in status.
        if let Err(error) = self.settle() {
            tracing::warn!("socket translation of {interface}: {}", chain(&error));
        }
    }

    /// A Pod that runs already.
    pub fn adopt(&self, interface: &str, pod: Option<ObjectName>, namespace: &Path) {
        match NetNs::open(namespace).and_then(|netns| netns.cookie()) {
            Ok(cookie) => self.put(interface, Here { pod, namespace: namespace.to_owned(), cookie }),
            // One that ends while we start.
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!("sockets of {interface}: {}", chain(&error)),
        }
    }

    fn put(&self, interface: &str, here: Here) {
        let mut inner = self.lock();
        inner.here.insert(interface.to_owned(), here);
        inner.changed = true;
    }

    /// A Pod is gone.
    pub fn detach(&self, interface: &str) {
        let mut inner = self.lock();
        inner.changed |= inner.here.remove(interface).is_some();
        drop(inner);
        if let Err(error) = self.settle() {
            tracing::warn!("socket translation of {interface}: {}", chain(&error));
        }
    }

    /// Makes the map say what the API says. Nothing is taken out before the API has told everything.
    ///
    /// # Errors
    /// When the map refuses; the next call tries again.
    pub fn settle(&self) -> Result<(), TableError> {
        let mut inner = self.lock();
        if !inner.changed {
            return Ok(());
        }
        let wanted = inner.left_alone();
        let present: BTreeSet<u64> = self.untranslated.entries()?.into_iter().map(|(cookie, _)| cookie).collect();
        // First what makes room.
        if inner.is_synced() {
            for cookie in present.difference(&wanted) {
                self.untranslated.remove(cookie)?;
            }
        }
        for cookie in wanted.difference(&present) {
            self.untranslated.insert(cookie, &THERE)?;
        }
        inner.changed = false;
        Ok(())
    }

    /// The network namespaces of the Pods of this node.
    #[must_use]
    pub fn namespaces(&self) -> Vec<PathBuf> {
        self.lock().here.values().map(|here| here.namespace.clone()).collect()
    }

    /// The cookies of their network namespaces, by the host side of the Pod's link.
    #[must_use]
    pub fn cookies(&self) -> Vec<(String, u64)> {
        self.lock().here.iter().map(|(interface, here)| (interface.clone(), here.cookie)).collect()
    }

    /// Annotations that can't be followed, each in one line.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let inner = self.lock();
        let kinds = [("Pod", &inner.pods), ("Namespace", &inner.namespaces)];
        let all = kinds.into_iter().flat_map(|(kind, objects)| objects.keys().map(move |key| (kind, objects, key)));
        let mut out: Vec<String> = all
            .filter_map(|(kind, objects, key)| Some(format!("{kind} {key}: {}", objects.get(key)?.problem.as_ref()?)))
            .collect();
        out.sort();
        out
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
