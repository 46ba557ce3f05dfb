//! Wakes on every change of a policy object; those of Cilium's kinds also on changes of the groups and Services that they may
//! name.

use super::plan::{self, Finding, finding};
use crate::{
    Result,
    cache::Key,
    events::{Record, Severity, reference_to},
    worker::Again,
    write::{Cluster, Kind},
};
use custom_resources::{
    CiliumClusterwideNetworkPolicy, CiliumNetworkPolicy, ClusterNetworkPolicy, cilium_policy::PolicyRule,
};
use k8s_openapi::{
    api::{core::v1::Service, networking::v1::NetworkPolicy},
    apimachinery::pkg::apis::meta::v1::Time,
};
use policy::dialect::{
    cilium, cluster_network_policy, network_policy,
    references::{CidrGroup, References, ServiceFacts},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Network(Key),
    Cluster(Key),
    Cilium(Key),
    Clusterwide(Key),
}

/// What was told by an Event already, by the object's uid: kinds without a status have no other memory.
pub(crate) type Told = Mutex<HashMap<String, String>>;

pub(crate) fn wake(cluster: &Arc<Cluster>, inbox: &UnboundedSender<Subject>) {
    fn on<K: Kind>(cluster: &Cluster, inbox: &UnboundedSender<Subject>, subject: fn(Key) -> Subject) {
        let sender = inbox.clone();
        K::cache(&cluster.caches).on_change(move |old, new| {
            let Some(object) = new.or(old) else { return };
            let _ = sender.send(subject(Key::of(object.meta())));
        });
    }
    on::<NetworkPolicy>(cluster, inbox, Subject::Network);
    on::<ClusterNetworkPolicy>(cluster, inbox, Subject::Cluster);
    on::<CiliumNetworkPolicy>(cluster, inbox, Subject::Cilium);
    on::<CiliumClusterwideNetworkPolicy>(cluster, inbox, Subject::Clusterwide);
    let (sender, all) = (inbox.clone(), Arc::downgrade(cluster));
    let of_cilium = move |which: fn(&Option<PolicyRule>, &Option<Vec<PolicyRule>>) -> bool| {
        let Some(cluster) = all.upgrade() else { return };
        for object in cluster.caches.cilium_policies.all().iter().filter(|one| which(&one.spec, &one.specs)) {
            let _ = sender.send(Subject::Cilium(Key::of(&object.metadata)));
        }
        for object in cluster.caches.clusterwide_policies.all().iter().filter(|one| which(&one.spec, &one.specs)) {
            let _ = sender.send(Subject::Clusterwide(Key::of(&object.metadata)));
        }
    };
    let woken = of_cilium.clone();
    cluster.caches.cidr_groups.on_change(move |_, _| woken(|_, _| true));
    let woken = of_cilium.clone();
    cluster.caches.services.on_change(move |old, new| {
        let facts = |object: Option<&Arc<Service>>| object.map(|object| ServiceFacts::of(object));
        if facts(old) != facts(new) {
            woken(cilium::names_services);
        }
    });
    let (sender, all) = (inbox.clone(), Arc::downgrade(cluster));
    cluster.leadership.on_gain(move || {
        of_cilium(|_, _| true);
        let Some(cluster) = all.upgrade() else { return };
        for key in keys::<NetworkPolicy>(&cluster) {
            let _ = sender.send(Subject::Network(key));
        }
        for key in keys::<ClusterNetworkPolicy>(&cluster) {
            let _ = sender.send(Subject::Cluster(key));
        }
    });
}

fn keys<K: Kind>(cluster: &Cluster) -> Vec<Key> {
    K::cache(&cluster.caches).all().iter().map(|object| Key::of(object.meta())).collect()
}

/// Says of one object what there is to say, where it does not say so already.
pub(crate) async fn reconcile(cluster: Arc<Cluster>, subject: Subject, told: Arc<Told>) -> Result<Again> {
    let Some(term) = cluster.leadership.term() else { return Ok(None) };
    let now = Time(jiff::Timestamp::now());
    match subject {
        Subject::Network(key) => {
            let Some(object) = of(&cluster, &cluster.caches.network_policies, &key, &told) else { return Ok(None) };
            let found = finding(&network_policy::convert(&object).map(|policy| vec![policy]));
            tell(&cluster, &*object, &found, &told);
        }
        Subject::Cluster(key) => {
            let Some(object) = of(&cluster, &cluster.caches.cluster_policies, &key, &told) else { return Ok(None) };
            let found = finding(&cluster_network_policy::cluster_network_policy(&object).map(|policy| vec![policy]));
            let old = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            if let Some(conditions) = plan::kubernetes(old, &found, object.metadata.generation, &now) {
                let mut new = ClusterNetworkPolicy::clone(&object);
                new.status.get_or_insert_default().conditions = conditions;
                cluster.leadership.check(term)?;
                cluster.patch_status(&*object, &new).await?;
            }
            tell(&cluster, &*object, &found, &told);
        }
        Subject::Cilium(key) => {
            let object = cluster.caches.cilium_policies.get(&key);
            let services = object.is_some_and(|one| cilium::names_services(&one.spec, &one.specs));
            let references = references(&cluster, services).await;
            let Some(object) = of(&cluster, &cluster.caches.cilium_policies, &key, &told) else { return Ok(None) };
            let found = finding(&cilium::network_policy(&object, &references));
            let old = object.status.as_ref().and_then(|status| status.conditions.as_ref());
            if let Some(conditions) = plan::cilium(old, &found, object.metadata.generation, &now) {
                let mut new = CiliumNetworkPolicy::clone(&object);
                new.status.get_or_insert_default().conditions = Some(conditions);
                cluster.leadership.check(term)?;
                cluster.patch_status(&*object, &new).await?;
            }
            tell(&cluster, &*object, &found, &told);
        }
        Subject::Clusterwide(key) => {
            let object = cluster.caches.clusterwide_policies.get(&key);
            let services = object.is_some_and(|one| cilium::names_services(&one.spec, &one.specs));
            let references = references(&cluster, services).await;
            let Some(object) = of(&cluster, &cluster.caches.clusterwide_policies, &key, &told) else {
                return Ok(None);
            };
            let found = finding(&cilium::clusterwide_policy(&object, &references));
            let old = object.status.as_ref().and_then(|status| status.conditions.as_ref());
            if let Some(conditions) = plan::cilium(old, &found, object.metadata.generation, &now) {
                let mut new = CiliumClusterwideNetworkPolicy::clone(&object);
                new.status.get_or_insert_default().conditions = Some(conditions);
                cluster.leadership.check(term)?;
                cluster.patch_status(&*object, &new).await?;
            }
            tell(&cluster, &*object, &found, &told);
        }
    }
    Ok(None)
}

/// The object as it is; of one that is going nothing is said.
fn of<K: Kind>(cluster: &Cluster, cache: &crate::cache::Cache<K>, key: &Key, told: &Told) -> Option<Arc<K>> {
    let object = cache.get(key);
    if object.is_none() {
        forget(cluster, told);
    }
    object.filter(|object| object.meta().deletion_timestamp.is_none())
}

/// Only of objects that are there is it remembered what was told.
fn forget(cluster: &Cluster, told: &Told) {
    fn uids<K: Kind>(cluster: &Cluster) -> Vec<Option<String>> {
        K::cache(&cluster.caches).all().iter().map(|object| object.meta().uid.clone()).collect()
    }
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_empty() {
        return;
    }
    let mut there = uids::<NetworkPolicy>(cluster);
    there.extend(uids::<ClusterNetworkPolicy>(cluster));
    there.extend(uids::<CiliumNetworkPolicy>(cluster));
    there.extend(uids::<CiliumClusterwideNetworkPolicy>(cluster));
    told.retain(|uid, _| there.iter().any(|one| one.as_ref() == Some(uid)));
}

/// An Event for what is wrong, once for the same words.
fn tell<K: Kind>(cluster: &Cluster, object: &K, found: &Finding, told: &Told) {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if found.valid {
        told.remove(&uid);
        return;
    }
    if told.get(&uid) == Some(&found.message) {
        return;
    }
    told.insert(uid, found.message.clone());
    cluster.recorder.record(Record {
        about: reference_to(object),
        severity: Severity::Warning,
        reason: found.reason,
        message: found.message.clone(),
        component: "policy-controller",
    });
}

/// What agents know beside the objects: the groups of prefixes, and Services where they are named. Whoever is behind a Service
/// changes nothing of what there is to say.
async fn references(cluster: &Cluster, services: bool) -> References {
    // Before they are listed none would seem to be there. A cluster may not have the kind, though.
    let caches = &cluster.caches;
    let _ = tokio::time::timeout(PATIENCE, caches.cidr_groups.synced()).await;
    let groups = caches.cidr_groups.all();
    let groups = groups.iter().filter_map(|group| Some((group.metadata.name.clone()?, CidrGroup::of(group))));
    let mut references = References { cidr_groups: groups.collect(), ..References::default() };
    if services {
        let _ = tokio::time::timeout(PATIENCE, caches.services.synced()).await;
        let named = |service: &Arc<Service>| {
            let Key { namespace, name } = Key::of(&service.metadata);
            ((namespace, name), ServiceFacts::of(service))
        };
        references.services = caches.services.all().iter().map(named).collect();
    }
    references
}

const PATIENCE: Duration = Duration::from_secs(3);
