//! Garbage collection by `ownerReferences` (k8s.io/kubernetes `pkg/controller/garbagecollector`).

use crate::api::Api;
use crate::object;
use crate::write::{self, DeleteOptions, Part, WriteOptions};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Who owns whom. Keys are the store's.
#[derive(Default)]
pub struct Owners {
    /// Objects that exist: uid -> key, key -> uid.
    keys: HashMap<String, String>,
    uids: HashMap<String, String>,
    /// Owner's uid -> keys of its dependents.
    dependents: HashMap<String, HashSet<String>>,
    /// Dependent's key -> its owners' uids.
    owned_by: HashMap<String, Vec<String>>,
    /// Dependents whose owners must be looked at.
    suspects: HashSet<String>,
    /// Owners that wait for their dependents (foreground), or that must be left by them (orphan).
    ending: HashSet<String>,
}

impl Owners {
    /// An object is there, or has changed.
    pub fn add(&mut self, key: &str, value: &Value) {
        let uid = object::uid(value).to_owned();
        if uid.is_empty() {
            return;
        }
        if let Some(before) = self.uids.insert(key.to_owned(), uid.clone())
            && before != uid
        {
            self.keys.remove(&before);
            self.suspect_dependents(&before);
        }
        self.keys.insert(uid, key.to_owned());
        for owner in self.owned_by.remove(key).into_iter().flatten() {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(key);
            }
        }
        let owners: Vec<String> = object::list(value, "/metadata/ownerReferences")
            .iter()
            .map(|owner| object::text(owner, "/uid").to_owned())
            .collect();
        if !owners.is_empty() {
            for owner in &owners {
                self.dependents.entry(owner.clone()).or_default().insert(key.to_owned());
            }
            self.suspects.insert(key.to_owned());
            self.owned_by.insert(key.to_owned(), owners);
        }
        if object::is_deleting(value)
            && object::finalizers(value).iter().any(|finalizer| finalizer == FOREGROUND || finalizer == ORPHAN)
        {
            self.ending.insert(key.to_owned());
        }
    }

    /// An object is no more.
    pub fn gone(&mut self, key: &str) {
        for owner in self.owned_by.remove(key).into_iter().flatten() {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
        self.suspects.remove(key);
        self.ending.remove(key);
        if let Some(uid) = self.uids.remove(key) {
            self.keys.remove(&uid);
            self.suspect_dependents(&uid);
        }
    }

    fn suspect_dependents(&mut self, uid: &str) {
        self.suspects.extend(self.dependents.get(uid).into_iter().flatten().cloned());
    }

    /// Whether something waits to be looked at again.
    pub fn has_work(&self) -> bool {
        !self.ending.is_empty()
    }

    /// After a start, everything is suspect.
    pub async fn collect_all(&mut self, api: &Api) {
        self.suspects.extend(self.owned_by.keys().cloned());
        self.collect(api).await;
    }

    /// Deletes what has lost its last owner, and finishes foreground and orphan deletions.
    pub async fn collect(&mut self, api: &Api) {
        for key in std::mem::take(&mut self.suspects) {
            let lost =
                self.owned_by.get(&key).is_some_and(|owners| owners.iter().all(|owner| !self.keys.contains_key(owner)));
            if lost {
                delete_key(
                    api,
                    &key,
                    &DeleteOptions { propagation: Some("Background".into()), ..DeleteOptions::default() },
                )
                .await;
            }
        }
        for key in self.ending.clone() {
            if self.finish(api, &key).await {
                self.ending.remove(&key);
            }
        }
    }

    /// True where nothing more is to be done for this owner.
    async fn finish(&self, api: &Api, key: &str) -> bool {
        let Some((resource, namespace, name)) = crate::collector::sweep::locate(api, key) else { return true };
        let Ok((owner, _)) = api.get(&resource, namespace.as_deref(), &name) else { return true };
        let finalizers = object::finalizers(&owner);
        let uid = object::uid(&owner).to_owned();
        let dependents: Vec<&String> = self.dependents.get(&uid).into_iter().flatten().collect();
        if finalizers.iter().any(|one| one == ORPHAN) {
            for dependent in dependents {
                let Some((resource, namespace, name)) = crate::collector::sweep::locate(api, dependent) else {
                    continue;
                };
                let mut options = WriteOptions::default();
                let left =
                    write::update(api, &resource, namespace.as_deref(), &name, Part::Whole, &mut options, |old| {
                        let kept: Vec<Value> = object::list(old, "/metadata/ownerReferences")
                            .iter()
                            .filter(|one| one["uid"] != uid.as_str())
                            .cloned()
                            .collect();
                        let mut new = old.clone();
                        new["metadata"]["ownerReferences"] = kept.into();
                        Ok(new)
                    });
                if let Err(error) = left.await
                    && error.code != 404
                {
                    tracing::warn!(%error, %dependent, "cannot be orphaned");
                    return false;
                }
            }
        } else if finalizers.iter().any(|one| one == FOREGROUND) {
            let mut blocked = false;
            for dependent in dependents {
                blocked |= blocks(api, dependent, &uid);
                delete_key(
                    api,
                    dependent,
                    &DeleteOptions { propagation: Some("Foreground".into()), ..DeleteOptions::default() },
                )
                .await;
            }
            if blocked {
                return false;
            }
        } else {
            return true;
        }
        let mut options = WriteOptions::default();
        let released = write::update(api, &resource, namespace.as_deref(), &name, Part::Whole, &mut options, |old| {
            let kept: Vec<String> =
                object::finalizers(old).into_iter().filter(|one| one != FOREGROUND && one != ORPHAN).collect();
            let mut new = old.clone();
            new["metadata"]["finalizers"] = json!(kept);
            Ok(new)
        });
        match released.await {
            Ok(_) => true,
            Err(error) => error.code == 404,
        }
    }
}

/// Whether a dependent holds its owner back: it exists and says `blockOwnerDeletion`.
fn blocks(api: &Api, key: &str, owner: &str) -> bool {
    let Some((resource, namespace, name)) = crate::collector::sweep::locate(api, key) else { return false };
    let Ok((object, _)) = api.get(&resource, namespace.as_deref(), &name) else { return false };
    object::list(&object, "/metadata/ownerReferences")
        .iter()
        .any(|one| one["uid"] == owner && one["blockOwnerDeletion"] == true)
}

async fn delete_key(api: &Api, key: &str, options: &DeleteOptions) {
    let Some((resource, namespace, name)) = crate::collector::sweep::locate(api, key) else { return };
    if let Err(error) = write::delete(api, &resource, namespace.as_deref(), &name, options).await
        && error.code != 404
    {
        tracing::warn!(%error, key, "cannot be collected");
    }
}
