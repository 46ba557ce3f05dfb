//! Tells the cluster, by a condition of the own Node and an Event, when a map of policy has no room: then something on this
//! node is denied that no policy denies, and whoever looks for the reason looks there.

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;

/// Type of the condition; True where something does not fit. Absent until it was true once.
pub const CONDITION: &str = "malla.dev/PolicyTablesFull";
/// Reason of the condition and of the Event.
const FULL: &str = "PolicyTablesFull";
/// Reason of the condition when it is over.
const FITS: &str = "PolicyTablesFit";
/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const RETRY: Duration = Duration::from_secs(2);

/// How policy fits into this node's maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Nothing was planned yet.
    #[default]
    Unknown,
    /// There is room.
    Enough,
    /// There is not: what does not fit, in words.
    Full(String),
}

/// Writes what is sent there, until the sender is gone. Only the newest counts.
#[must_use]
pub fn start(client: kube::Client, node: String) -> watch::Sender<Room> {
    let (sender, mut news) = watch::channel(Room::Unknown);
    tokio::spawn(async move {
        let reporter = Reporter { controller: "malla.dev/agent".to_owned(), instance: Some(node.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let mut said = Room::Unknown;
        loop {
            let now = news.borrow_and_update().clone();
            if said != now {
                match tokio::time::timeout(PATIENCE, tell(&client, &recorder, &node, &now)).await {
                    Ok(Ok(())) => said = now,
                    Ok(Err(error)) => tracing::debug!("the Node's condition: {}", crate::error::chain(&error)),
                    Err(_) => tracing::debug!("the Node's condition: the Kubernetes API does not answer"),
                }
            }
            let is_told = said == *news.borrow();
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if !is_told => {}
            }
        }
    });
    sender
}

async fn tell(client: &kube::Client, recorder: &Recorder, name: &str, room: &Room) -> Result<(), kube::Error> {
    let problem = match room {
        Room::Unknown => return Ok(()),
        Room::Enough => None,
        Room::Full(problem) => Some(problem.as_str()),
    };
    let api: Api<Node> = Api::all(client.clone());
    let node = api.get_status(name).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let known = conditions.iter().find(|one| one.type_ == CONDITION);
    let status = if problem.is_some() { "True" } else { "False" };
    let message = problem.unwrap_or("every policy of this node's Pods is in its maps");
    match known {
        None if problem.is_none() => return Ok(()),
        Some(known) if known.status == status && known.message.as_deref() == Some(message) => return Ok(()),
        _ => {}
    }
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut condition = json!({
        "type": CONDITION, "status": status, "message": message, "lastHeartbeatTime": now,
        "reason": if problem.is_some() { FULL } else { FITS },
    });
    if known.is_none_or(|known| known.status != status) {
        condition["lastTransitionTime"] = json!(now);
    }
    let patch = json!({"status": {"conditions": [condition]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    let Some(problem) = problem else { return Ok(()) };
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: node.metadata.uid,
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: FULL.to_owned(),
        note: Some(problem.to_owned()),
        action: "Program".to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &about).await
}

#[cfg(test)]
#[path = "node_conditions_tests.rs"]
mod tests;
