//! Namespaces and CRDs that are being deleted: first their contents, then they.

use crate::api::Api;
use crate::custom::CLEANUP_FINALIZER;
use crate::object;
use crate::registry::Resource;
use crate::write::{self, DeleteOptions, Part, WriteOptions};
use object_store::PageRequest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is being emptied.
#[derive(Default)]
pub struct Pending {
    namespaces: BTreeSet<String>,
    /// CRDs: key -> prefix of its objects.
    definitions: BTreeMap<String, String>,
}

const NAMESPACES: &str = "/registry/core/namespaces/";
const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// Kind, namespace and name of a key.
pub fn locate(api: &Api, key: &str) -> Option<(Arc<Resource>, Option<String>, String)> {
    let resource = api.registry.load().of_key(key)?;
    let rest = key.strip_prefix(&resource.prefix(None))?;
    match rest.split_once('/') {
        Some((namespace, name)) if resource.namespaced => Some((resource, Some(namespace.to_owned()), name.to_owned())),
        None if !resource.namespaced => Some((resource, None, rest.to_owned())),
        _ => None,
    }
}

impl Pending {
    /// An object is there, or has changed.
    pub fn note(&mut self, key: &str, value: &Value) {
        if !object::is_deleting(value) {
            return;
        }
        if let Some(name) = key.strip_prefix(NAMESPACES) {
            self.namespaces.insert(name.to_owned());
        } else if key.starts_with(DEFINITIONS) {
            let prefix = format!(
                "/registry/{}/{}/",
                object::text(value, "/spec/group"),
                object::text(value, "/spec/names/plural")
            );
            self.definitions.insert(key.to_owned(), prefix);
        }
    }

    /// An object is no more.
    pub fn gone(&mut self, key: &str) {
        if let Some(name) = key.strip_prefix(NAMESPACES) {
            self.namespaces.remove(name);
        }
        self.definitions.remove(key);
    }

    /// Nothing is being emptied.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.definitions.is_empty()
    }

    /// One round: deletes contents; where none are left, lets go of the container.
    pub async fn sweep(&mut self, api: &Api) {
        for namespace in self.namespaces.clone() {
            let registry = api.registry.load_full();
            let mut prefixes: BTreeSet<String> = BTreeSet::new();
            for resource in registry.all().filter(|resource| resource.namespaced && !resource.virtual_only) {
                prefixes.insert(resource.prefix(Some(&namespace)));
            }
            let mut left = 0;
            for prefix in prefixes {
                left += empty(api, &prefix).await;
            }
            if left == 0 {
                self.release_namespace(api, &namespace).await;
            }
        }
        for (key, prefix) in self.definitions.clone() {
            if empty(api, &prefix).await == 0 {
                self.release_definition(api, &key).await;
            }
        }
    }

    async fn release_namespace(&mut self, api: &Api, namespace: &str) {
        let Ok(namespaces) = api.builtin("", "namespaces") else { return };
        let mut options = WriteOptions::default();
        let released = write::update(api, &namespaces, None, namespace, Part::Whole, &mut options, |old| {
            let mut new = old.clone();
            new["spec"]["finalizers"] = json!([]);
            Ok(new)
        });
        match released.await {
            Err(error) if error.code != 404 => tracing::warn!(%error, namespace, "cannot be finished"),
            _ => {
                self.namespaces.remove(namespace);
            }
        }
    }

    async fn release_definition(&mut self, api: &Api, key: &str) {
        let Some((resource, _, name)) = locate(api, key) else { return };
        let mut options = WriteOptions::default();
        let released = write::update(api, &resource, None, &name, Part::Whole, &mut options, |old| {
            let kept: Vec<String> =
                object::finalizers(old).into_iter().filter(|one| one != CLEANUP_FINALIZER).collect();
            let mut new = old.clone();
            new["metadata"]["finalizers"] = json!(kept);
            Ok(new)
        });
        match released.await {
            Err(error) if error.code != 404 => tracing::warn!(%error, key, "cannot be finished"),
            _ => {
                self.definitions.remove(key);
            }
        }
    }
}

/// Deletes everything under a prefix; returns how much was still there.
async fn empty(api: &Api, prefix: &str) -> usize {
    let Ok(page) = api.store.list(prefix, &PageRequest::default()) else { return 1 };
    for (key, entry) in &page.entries {
        let deleting = serde_json::from_slice::<Value>(&entry.value).is_ok_and(|value| object::is_deleting(&value));
        if deleting {
            continue;
        }
        let Some((resource, namespace, name)) = locate(api, key) else { continue };
        if let Err(error) = write::delete(api, &resource, namespace.as_deref(), &name, &DeleteOptions::default()).await
            && error.code != 404
        {
            tracing::warn!(%error, key, "cannot be deleted");
        }
    }
    // What was deleted at once is gone: the next round, shortly, sees it.
    api.store.list(prefix, &PageRequest::default()).map_or(1, |page| page.entries.len())
}
