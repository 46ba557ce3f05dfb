//! What is wrong with a Service on this node, told as an Event of the Service, where its owner looks for it.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use kube::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use load_balancer::host_ports;
use model::ObjectName;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::mpsc;

/// A Service and what is wrong with it.
pub type Complaint = (ObjectName, String);

/// Who says it.
const CONTROLLER: &str = "malla.dev/agent";
/// For one Event: whoever waits longer has lost the API, and the agent's status says all of it anyway.
const PATIENCE: Duration = Duration::from_secs(5);
/// Complaints that wait; what comes on top is in the agent's status alone.
const QUEUE: usize = 256;

/// Tells of what is sent there, one after the other, until the sender is gone.
#[must_use]
pub fn start(client: kube::Client, node: String) -> mpsc::Sender<Complaint> {
    let (sender, mut complaints) = mpsc::channel::<Complaint>(QUEUE);
    tokio::spawn(async move {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(node.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        while let Some((service, text)) = complaints.recv().await {
            let told = tokio::time::timeout(PATIENCE, tell(&client, &recorder, &service, &node, text)).await;
            match told {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!("an Event of {}: {}", host_ports::described(&service), crate::error::chain(&error))
                }
                Err(_) => tracing::warn!(
                    "an Event of {}: the Kubernetes API does not answer",
                    host_ports::described(&service)
                ),
            }
        }
    });
    sender
}

async fn tell(
    client: &kube::Client,
    recorder: &Recorder,
    name: &ObjectName,
    node: &str,
    text: String,
) -> Result<(), kube::Error> {
    // `kubectl describe` finds Events by the object's uid.
    let pod = host_ports::pod(name);
    let (kind, name) = (if pod.is_some() { "Pod" } else { "Service" }, pod.as_ref().unwrap_or(name));
    let uid = match kind {
        "Pod" => uid::<Pod>(client, name).await?,
        _ => uid::<Service>(client, name).await?,
    };
    if uid.is_none() {
        return Ok(());
    }
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(name.namespace.to_string()),
        name: Some(name.name.to_string()),
        uid,
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: REASON.to_owned(),
        note: Some(format!("Node {node}: {text}")),
        action: "Program".to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &about).await
}

async fn uid<O>(client: &kube::Client, name: &ObjectName) -> Result<Option<String>, kube::Error>
where
    O: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<O> = Api::namespaced(client.clone(), &name.namespace);
    Ok(api.get_metadata_opt(&name.name).await?.and_then(|object| object.metadata.uid))
}

/// One CamelCase word.
const REASON: &str = "NotServedWhole";
