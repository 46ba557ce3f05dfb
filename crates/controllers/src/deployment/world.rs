//! A cluster of pure values: plans are carried out on it, and Pods become available when a test says so.

use super::super::{Change, Input, Plan, plan};
use crate::deployment::{progress, revision};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// A cluster in which every ReplicaSet's Pods appear and become ready when the test says so.
pub(super) struct World {
    pub(super) deployment: Deployment,
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) now: i64,
    pub(super) events: Vec<String>,
}

impl World {
    pub(super) fn new(spec: Value) -> Self {
        let mut whole = json!({
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "echo:1"}]}},
        });
        if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
            whole.extend(spec);
        }
        let deployment = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1,
                "annotations": {"note": "kept", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": whole,
        }))
        .expect("a Deployment");
        Self { deployment, sets: Vec::new(), pods: Vec::new(), now: 1000, events: Vec::new() }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&Input { deployment: &self.deployment, sets: &self.sets, pods: &self.pods, now: at(self.now) })
    }

    /// Plans and carries out once; false when nothing changed.
    pub(super) fn step(&mut self) -> bool {
        let changes = self.plan().changes;
        let changed = !changes.is_empty();
        for change in changes {
            match change {
                Change::Create(set) => {
                    let mut set = *set;
                    self.events.push(format!("create {}", size(&set)));
                    set.metadata.uid = set.metadata.name.clone();
                    set.metadata.creation_timestamp = Some(Time(at(self.now)));
                    set.metadata.generation = Some(1);
                    self.sets.push(Arc::new(set));
                    self.now += 1;
                }
                Change::Update { old, new } => {
                    if size(&old) != size(&new) {
                        self.events.push(format!("{}→{}", size(&old), size(&new)));
                    }
                    self.put(*new);
                }
                Change::Delete(old) => self.sets.retain(|set| set.metadata.name != old.metadata.name),
                Change::Revision(number) => {
                    self.deployment
                        .metadata
                        .annotations
                        .get_or_insert_default()
                        .insert(revision::REVISION.into(), number);
                }
                Change::Status(status) => self.deployment.status = Some(*status),
                Change::Adopt(_) | Change::Release(_) => {}
            }
        }
        changed
    }

    pub(super) fn put(&mut self, new: ReplicaSet) {
        for set in &mut self.sets {
            if set.metadata.name == new.metadata.name {
                *set = Arc::new(new.clone());
            }
        }
    }

    /// The ReplicaSet controller and a kubelet in one: up to `ready` Pods of each set are available.
    pub(super) fn settle_pods(&mut self, available: impl Fn(&ReplicaSet) -> i32) {
        for set in self.sets.clone() {
            let mut new = set.as_ref().clone();
            let count = available(&set).clamp(0, size(&set));
            new.status = Some(ReplicaSetStatus {
                replicas: size(&set),
                ready_replicas: Some(count),
                available_replicas: Some(count),
                observed_generation: set.metadata.generation,
                ..Default::default()
            });
            self.put(new);
        }
    }

    /// Everything becomes ready at once, until nothing changes any more.
    pub(super) fn run_to_the_end(&mut self) {
        for _ in 0..100 {
            let changed = self.step();
            self.settle_pods(size);
            if !changed && !self.step() {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.events);
    }

    pub(super) fn set_image(&mut self, image: &str) {
        let spec = self.deployment.spec.as_mut().expect("a spec");
        spec.template.spec.as_mut().expect("a template").containers[0].image = Some(image.into());
        self.bump();
    }

    pub(super) fn set_replicas(&mut self, replicas: i32) {
        self.deployment.spec.as_mut().expect("a spec").replicas = Some(replicas);
        self.bump();
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.deployment.spec.as_mut().expect("a spec").paused = Some(paused);
        self.bump();
    }

    pub(super) fn bump(&mut self) {
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|generation| generation + 1);
    }

    pub(super) fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| size(set)).collect()
    }

    pub(super) fn condition(&self, type_: &str) -> (String, String) {
        let status = self.deployment.status.as_ref().expect("a status");
        let condition = progress::find(status.conditions.as_deref().unwrap_or_default(), type_).expect(type_);
        (condition.status.clone(), condition.reason.clone().unwrap_or_default())
    }

    pub(super) fn revision(&self, meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> i64 {
        revision::of(meta)
    }
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn pair(status: &str, reason: &str) -> (String, String) {
    (status.into(), reason.into())
}
