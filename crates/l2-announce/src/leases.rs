//! Leases of the API: the election's effects.

use crate::election::{Seen, Timing, Written};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};
use model::ObjectName;
use std::time::Duration;

/// Where Cilium keeps them by default.
pub const NAMESPACE: &str = "kube-system";
/// What their names begin with.
pub const PREFIX: &str = "cilium-l2announce-";

/// The name of a Service's Lease.
#[must_use]
pub fn name(service: &ObjectName) -> String {
    format!("{PREFIX}{}-{}", service.namespace, service.name)
}

/// A Lease as the election sees it.
#[must_use]
pub fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or(1)),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0),
        acquired: spec.and_then(|spec| spec.acquire_time.as_ref()).map(|time| time.0.to_string()),
    }
}

/// Writes that the Lease is this node's, going on from what was seen.
pub async fn take(client: Client, name: String, node: String, timing: Timing, from: Option<Seen>) -> Written {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let lease = of_node(&name, &node, timing, from.as_ref());
    let write = async {
        match &from {
            None => api.create(&PostParams::default(), &lease).await,
            Some(_) => api.replace(&name, &PostParams::default(), &lease).await,
        }
    };
    match tokio::time::timeout(timing.attempt(), write).await {
        Ok(Ok(lease)) => Written::Done(seen(&lease)),
        // Somebody was faster, or it is gone: what is there now?
        Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 && from.is_some() => {
            match tokio::time::timeout(timing.attempt(), api.get_opt(&name)).await {
                Ok(Ok(lease)) => Written::Lost(lease.as_ref().map(seen)),
                _ => Written::Unknown,
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(lease = name, %error, "write");
            Written::Unknown
        }
        Err(_) => Written::Unknown,
    }
}

/// Gives the Lease up, so that somebody else need not wait. Gone, or somebody else's by now, is as good.
pub async fn give_up(client: Client, name: String, version: String) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let only_this = Preconditions { uid: None, resource_version: Some(version) };
    let params = DeleteParams::default().preconditions(only_this);
    if let Err(error) = api.delete(&name, &params).await {
        tracing::debug!(lease = name, %error, "give up");
    }
}

fn of_node(name: &str, node: &str, timing: Timing, from: Option<&Seen>) -> Lease {
    let now = MicroTime(Timestamp::now());
    let renewed = from.filter(|seen| seen.holder == node);
    let acquired = renewed.and_then(|seen| seen.acquired.as_ref()?.parse().ok()).map(MicroTime);
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            resource_version: from.map(|seen| seen.version.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(i32::try_from(timing.duration.as_secs()).unwrap_or(i32::MAX).max(1)),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(match (from, renewed) {
                (None, _) => 0,
                (Some(seen), Some(_)) => seen.transitions,
                (Some(seen), None) => seen.transitions.saturating_add(1),
            }),
            ..LeaseSpec::default()
        }),
    }
}
