//! Conditions of the own Node, and Events, that tell the cluster how the network does here. One says when a map of policy has no
//! room: then something on this node is denied that no policy denies, and whoever looks for the reason looks there.

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

/// What a condition of the Node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The condition's status.
    pub holds: bool,
    /// In one word.
    pub reason: &'static str,
    /// For people. What changes all the time has no place in it: each change is written.
    pub message: String,
    /// How much it matters.
    pub weight: Weight,
}

/// How much a statement matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Written only where something was said before.
    Quiet,
    /// Written.
    Plain,
    /// Written, and told by an Event: what the agent was doing.
    Warning(&'static str),
}

/// Writes what is sent there, until the sender is gone. Only the newest counts.
#[must_use]
pub fn start(client: kube::Client, node: String) -> watch::Sender<Room> {
    keep(client, node, CONDITION, statement)
}

fn statement(room: &Room) -> Option<Statement> {
    match room {
        Room::Unknown => None,
        Room::Enough => Some(Statement {
            holds: false,
            reason: FITS,
            message: "every policy of this node's Pods is in its maps".to_owned(),
            weight: Weight::Quiet,
        }),
        Room::Full(problem) => {
            Some(Statement { holds: true, reason: FULL, message: problem.clone(), weight: Weight::Warning("Program") })
        }
    }
}

/// Keeps one condition of the Node as what is sent says, until the sender is gone. Only the newest counts; of what says
/// nothing, nothing is written.
#[must_use]
pub fn keep<T: Clone + Default + PartialEq + Send + Sync + 'static>(
    client: kube::Client,
    node: String,
    condition: &'static str,
    statement: fn(&T) -> Option<Statement>,
) -> watch::Sender<T> {
    let (sender, mut news) = watch::channel(T::default());
    tokio::spawn(async move {
        let reporter = Reporter { controller: "malla.dev/agent".to_owned(), instance: Some(node.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let mut said = T::default();
        loop {
            let now = news.borrow_and_update().clone();
            if said != now {
                let told = async {
                    match statement(&now) {
                        Some(statement) => tell(&client, &recorder, &node, condition, &statement).await,
                        None => Ok(()),
                    }
                };
                match tokio::time::timeout(PATIENCE, told).await {
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

async fn tell(
    client: &kube::Client,
    recorder: &Recorder,
    name: &str,
    type_: &str,
    said: &Statement,
) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let node = api.get_status(name).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let known = conditions.iter().find(|one| one.type_ == type_);
    let status = if said.holds { "True" } else { "False" };
    match known {
        None if said.weight == Weight::Quiet => return Ok(()),
        Some(known) if known.status == status && known.message.as_deref() == Some(&said.message) => return Ok(()),
        _ => {}
    }
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut condition = json!({
        "type": type_, "status": status, "message": said.message, "lastHeartbeatTime": now, "reason": said.reason,
    });
    if known.is_none_or(|known| known.status != status) {
        condition["lastTransitionTime"] = json!(now);
    }
    let patch = json!({"status": {"conditions": [condition]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    let Weight::Warning(action) = said.weight else { return Ok(()) };
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: node.metadata.uid,
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: said.reason.to_owned(),
        note: Some(said.message.clone()),
        action: action.to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &about).await
}

#[cfg(test)]
#[path = "node_conditions_tests.rs"]
mod tests;
