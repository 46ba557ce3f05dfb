//! Writes of identities and of slices.

use crate::{
    Result,
    events::{Record, Severity, reference_to},
    write::{Cluster, Grace},
};
use custom_resources::CiliumIdentity;
use futures::{StreamExt, stream};
use identity::{Change, SlicePlan};
use k8s_openapi::api::core::v1::Pod;
use model::Labels;
use std::ops::RangeInclusive;

/// Makes the objects of new numbers. Answers with those that are made, and with the first failure: one that is taken meanwhile
/// does not keep the others waiting.
pub(super) async fn create(cluster: &Cluster, new: Vec<(u32, Labels)>) -> (Vec<(Labels, u32)>, Result<()>) {
    let writes = new.into_iter().map(|(number, labels)| async move {
        let mut object = CiliumIdentity::new(number, labels.to_map());
        if let Some(namespace) = labels.get("k8s", NAMESPACE) {
            // As Cilium has it: `kubectl get ciliumid -l` and its column read it.
            let label = (NAMESPACE.to_owned(), namespace.to_owned());
            object.metadata.labels = Some(std::iter::once(label).collect());
        }
        cluster.create(&object).await.map(|_| (labels, number))
    });
    let mut made = Vec::new();
    let mut failure = Ok(());
    let mut results = stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(WRITES_AT_ONCE);
    while let Some(result) = results.next().await {
        match result {
            Ok(pair) => made.push(pair),
            Err(error) => failure = failure.and(Err(error)),
        }
    }
    (made, failure)
}

/// Writes slices, in their order and no further after a failure: what is given waits until it is taken away.
pub(super) async fn publish(cluster: &Cluster, plan: SlicePlan) -> Result<()> {
    for change in plan.changes {
        match change {
            Change::Create(slice) => cluster.create(&slice).await.map(drop)?,
            Change::Update(slice) => cluster.replace(&slice).await.map(drop)?,
            Change::Delete(slice) => cluster.delete(&slice, Grace::Own).await?,
        }
    }
    Ok(())
}

/// Tells a Pod that there is no number for it.
pub(super) fn tell(cluster: &Cluster, pod: &Pod, numbers: &RangeInclusive<u32>) {
    let (first, last) = (numbers.start(), numbers.end());
    cluster.recorder.record(Record {
        about: reference_to(pod),
        severity: Severity::Warning,
        reason: "IdentityExhausted",
        message: format!(
            "all identities from {first} to {last} are taken: nodes do not know who this Pod is. Leave out labels that differ \
             from Pod to Pod, so that fewer sets of labels are different (`kubectl get ciliumidentities`)"
        ),
        component: "identity-controller",
    });
}

const WRITES_AT_ONCE: usize = 16;
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
