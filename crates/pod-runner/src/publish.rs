//! Telling the API how a Pod is.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{
    backoff::Backoff,
    pod::{PodContext, Wanted},
    status::status,
};

/// Writes one Pod's status; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    context: Arc<PodContext>,
    wanted: watch::Receiver<Wanted>,
    /// What the API has taken last.
    published: Arc<Mutex<Option<PodStatus>>>,
    /// The Pod had ended before this runner came: its status is final.
    frozen: bool,
}

impl Publisher {
    pub fn new(context: Arc<PodContext>, wanted: watch::Receiver<Wanted>, frozen: bool) -> Self {
        Self { context, wanted, published: Arc::default(), frozen }
    }

    /// Publishes every change, newest first: what changes while a write is under way goes with the next.
    pub async fn run(mut self) {
        let mut facts = self.context.facts.subscribe();
        facts.mark_changed();
        let mut watching = true;
        loop {
            tokio::select! {
                changed = facts.changed() => if changed.is_err() { return },
                // Others' conditions (readiness gates) arrive with the object.
                changed = self.wanted.changed(), if watching => watching = changed.is_ok(),
            }
            self.publish_until_accepted().await;
        }
    }

    /// Writes the status as it is when the API takes it.
    pub async fn publish_until_accepted(&self) {
        let mut backoff = Backoff::operations();
        loop {
            match self.publish().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(pod = self.context.pod.metadata.name, %error, "status not written yet");
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    async fn publish(&self) -> Result<(), kube::Error> {
        let wanted = self.wanted.borrow().clone();
        let (Wanted::Present(pod), false) = (wanted, self.frozen) else { return Ok(()) };
        let published = self.published().clone();
        let status = self.compute(&pod, published.as_ref());
        if published.as_ref() == Some(&status) {
            return Ok(());
        }
        // With the uid: a new Pod of the same name must not get the old one's status.
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self.api().patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(refusal)) if is_final(refusal.code) => {
                tracing::debug!(pod = name, code = refusal.code, "status of a Pod that is gone");
            }
            Err(error) => return Err(error),
        }
        *self.published() = Some(status);
        Ok(())
    }

    /// Own conditions keep the times of what was published last, even while the watch lags behind.
    fn compute(&self, pod: &Pod, published: Option<&PodStatus>) -> PodStatus {
        let mut base = pod.clone();
        if let Some(published) = published {
            let theirs = base.status.take().unwrap_or_default();
            let mut ours = published.clone();
            let known: Vec<String> = ours.conditions.iter().flatten().map(|have| have.type_.clone()).collect();
            let conditions = ours.conditions.get_or_insert_default();
            for condition in theirs.conditions.into_iter().flatten() {
                match known.iter().position(|kind| *kind == condition.type_) {
                    Some(at) if at >= OWN_COUNT => conditions[at] = condition,
                    Some(_) => {}
                    None => conditions.push(condition),
                }
            }
            base.status = Some(ours);
        }
        status(&base, &self.context.facts.borrow(), Timestamp::now())
    }

    /// Tells the API that nothing of the Pod is left here, which lets its object go.
    pub async fn delete_object(&self) {
        let mut backoff = Backoff::operations();
        loop {
            let Wanted::Present(pod) = self.wanted.borrow().clone() else { return };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() }),
                ..DeleteParams::default()
            };
            match self.api().delete(name, &params).await {
                Ok(_) => return,
                // Not found, or another Pod has the name by now.
                Err(kube::Error::Api(refusal)) if is_final(refusal.code) => return,
                Err(error) => {
                    tracing::debug!(pod = name, %error, "Pod not deleted yet");
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.context.pod.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.context.node.client.clone(), namespace)
    }

    fn published(&self) -> std::sync::MutexGuard<'_, Option<PodStatus>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not found, conflict (another uid), invalid: trying again would not help.
fn is_final(code: u16) -> bool {
    matches!(code, 404 | 409 | 422)
}

/// How many conditions [`status`] writes itself, always first.
const OWN_COUNT: usize = 5;
