//! Writes what this node can't do of a Service into the Service's status, beside what other nodes say there:
//! `load_balancer::condition`.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use load_balancer::condition::{self, Report};
use model::{NodeName, ObjectName};
use serde_json::json;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::mpsc;

/// Writes what is sent there until the sender is gone. Of one Service only the newest report counts, and what can't be
/// written is tried again.
#[must_use]
pub fn start(client: kube::Client, node: NodeName) -> mpsc::UnboundedSender<(ObjectName, Report)> {
    let (sender, mut reports) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut waiting: BTreeMap<ObjectName, Report> = BTreeMap::new();
        let mut failures = 0_u32;
        loop {
            let pause = FIRST_PAUSE * 2_u32.pow(failures.min(7));
            tokio::select! {
                report = reports.recv() => {
                    let Some((service, report)) = report else { return };
                    waiting.insert(service, report);
                }
                () = tokio::time::sleep(pause), if !waiting.is_empty() => {
                    failures = write_all(&client, &node, &mut waiting, failures).await;
                }
            }
        }
    });
    sender
}

/// Answers with the failures in a row.
async fn write_all(
    client: &kube::Client,
    node: &NodeName,
    waiting: &mut BTreeMap<ObjectName, Report>,
    failures: u32,
) -> u32 {
    while let Some((service, report)) = waiting.pop_first() {
        let written = tokio::time::timeout(PATIENCE, write(client, &service, node, &report)).await;
        let why = match written {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => crate::error::chain(&error),
            Err(_) => "the Kubernetes API does not answer".to_owned(),
        };
        if failures == 0 {
            tracing::warn!("the condition of Service {service}: {why}");
        }
        waiting.insert(service, report);
        return failures.saturating_add(1);
    }
    0
}

async fn write(
    client: &kube::Client,
    service: &ObjectName,
    node: &NodeName,
    report: &Report,
) -> Result<(), kube::Error> {
    let api: Api<Service> = Api::namespaced(client.clone(), &service.namespace);
    for attempt in 0.. {
        let Some(object) = api.get_opt(&service.name).await? else { return Ok(()) };
        let Some(conditions) = condition::after(&object, node, report, Timestamp::now()) else { return Ok(()) };
        // The list is written whole; with the version, only if it is still the one that was read.
        let patch = json!({
            "metadata": {"resourceVersion": object.metadata.resource_version},
            "status": {"conditions": conditions},
        });
        match api.patch_status(&service.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => tokio::time::sleep(turn(node, attempt)).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How long to stay back after somebody else was faster: what befalls one node often befalls all of them at once.
fn turn(node: &NodeName, attempt: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (node, attempt).hash(&mut hasher);
    Duration::from_millis(1 + hasher.finish() % (u64::from(attempt.min(9)) * 50 + 50))
}

/// For one Service, with all its attempts.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reports that come within this are written together; after failures it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "service_conditions_tests.rs"]
mod tests;
