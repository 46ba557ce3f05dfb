//! Writes of identities and of slices.

use crate::{
    Result,
    cache::Key,
    events::{Record, Severity, reference_to},
    leader::Term,
    write::{Cluster, Grace},
};
use custom_resources::CiliumIdentity;
use futures::{StreamExt, stream};
use identity::{Change, SlicePlan};
use k8s_openapi::api::core::v1::Pod;
use model::Labels;
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

/// Makes the objects of new numbers. Answers with those that are made, and with the first failure: one that is taken meanwhile
/// does not keep the others waiting.
pub(super) async fn create(cluster: &Cluster, term: Term, new: Vec<(u32, Labels)>) -> (Vec<(Labels, u32)>, Result<()>) {
    let writes = new.into_iter().map(|(number, labels)| async move {
        let mut object = CiliumIdentity::new(number, labels.to_map());
        if let Some(namespace) = labels.get("k8s", NAMESPACE) {
            // As Cilium has it: `kubectl get ciliumid -l` and its column read it.
            let label = (NAMESPACE.to_owned(), namespace.to_owned());
            object.metadata.labels = Some(std::iter::once(label).collect());
        }
        cluster.leadership.check(term)?;
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

/// Takes the marks off numbers that are in use (again). Answers with those that have none, and with the first failure.
pub(super) async fn claim(
    cluster: &Cluster,
    term: Term,
    numbers: BTreeMap<Labels, u32>,
) -> (BTreeMap<Labels, u32>, Result<()>) {
    let (mut claimed, mut failure) = (BTreeMap::new(), Ok(()));
    for (labels, number) in numbers {
        match unmark(cluster, term, number).await {
            Ok(()) => drop(claimed.insert(labels, number)),
            Err(error) => failure = failure.and(Err(error)),
        }
    }
    (claimed, failure)
}

async fn unmark(cluster: &Cluster, term: Term, number: u32) -> Result<()> {
    let Some(object) = of_number(cluster, number).filter(|object| is_marked(object)) else { return Ok(()) };
    let mut new = CiliumIdentity::clone(&object);
    new.metadata.annotations.iter_mut().for_each(|all| drop(all.remove(UNUSED)));
    cluster.leadership.check(term)?;
    cluster.patch(&*object, &new).await
}

/// Takes a number that nobody uses one step further: marks its object, or deletes the one that is marked and unchanged
/// since. Whether it is gone.
pub(super) async fn collect(cluster: &Cluster, term: Term, number: u32) -> Result<bool> {
    let Some(object) = of_number(cluster, number) else { return Ok(false) };
    cluster.leadership.check(term)?;
    if is_marked(&object) {
        return cluster.delete_unchanged(&*object).await.map(|()| true);
    }
    let mut new = CiliumIdentity::clone(&object);
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    new.metadata.annotations.get_or_insert_default().insert(UNUSED.to_owned(), now);
    cluster.patch(&*object, &new).await.map(|()| false)
}

fn of_number(cluster: &Cluster, number: u32) -> Option<Arc<CiliumIdentity>> {
    cluster.caches.identities.get(&Key::new("", number.to_string()))
}

fn is_marked(object: &CiliumIdentity) -> bool {
    object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(UNUSED))
}

/// Annotation of an identity that is about to be deleted: since when.
const UNUSED: &str = "malla.dev/unused-since";

/// Writes slices, in their order and no further after a failure: what is given waits until it is taken away.
pub(super) async fn publish(cluster: &Cluster, term: Term, plan: SlicePlan) -> Result<()> {
    for change in plan.changes {
        cluster.leadership.check(term)?;
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
