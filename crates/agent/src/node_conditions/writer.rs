//! One condition of one Node at the Kubernetes API, and the Events about it.

use super::{Statement, Weight};
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};
use std::time::Duration;

/// Writes it.
pub struct Writer {
    api: Api<Node>,
    recorder: Recorder,
    node: String,
    condition: &'static str,
    /// An Event that is not told yet though its condition is written, and how often that was tried.
    owed: Option<(Event, u32)>,
}

impl Writer {
    /// Nothing is known of what it says.
    pub fn new(client: kube::Client, node: String, condition: &'static str) -> Self {
        let instance = node.get(..INSTANCE).unwrap_or(&node).to_owned();
        let reporter = Reporter { controller: "malla.dev/agent".to_owned(), instance: Some(instance) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { api: Api::all(client), recorder, node, condition, owed: None }
    }

    /// Says it where it is not said already; an Event tells when status or reason become others. Whether that is done now; if
    /// not, it may be tried again.
    pub async fn tell(&mut self, said: &Statement) -> bool {
        done(self.try_to_tell(said)).await
    }

    /// Takes the condition away, if there is one. Whether that is done now.
    pub async fn remove(&self) -> bool {
        done(self.try_to_remove()).await
    }

    async fn try_to_tell(&mut self, said: &Statement) -> Result<(), kube::Error> {
        let node = self.api.get_status(&self.node).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let known = conditions.iter().find(|one| one.type_ == self.condition);
        let status = if said.holds { "True" } else { "False" };
        let is_same = known.is_some_and(|known| known.status == status);
        let is_turn = !is_same || known.is_none_or(|known| known.reason.as_deref() != Some(said.reason));
        match said.weight {
            // Before it is written: whether the write has come through may remain unknown.
            Weight::Warning(action) if is_turn => self.owed = Some((event(said, action), 0)),
            Weight::Warning(_) => {}
            // What is over is not told late.
            Weight::Quiet | Weight::Plain => self.owed = None,
        }
        let is_said = match known {
            None => said.weight == Weight::Quiet,
            Some(known) => !is_turn && known.message.as_deref() == Some(&*said.message),
        };
        if !is_said {
            let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let mut condition = json!({
                "type": self.condition, "status": status, "message": said.message, "lastHeartbeatTime": now,
                "reason": said.reason,
            });
            if !is_same {
                condition["lastTransitionTime"] = json!(now);
            }
            self.patch(&condition).await?;
        }
        self.pay(node.metadata.uid).await
    }

    async fn try_to_remove(&self) -> Result<(), kube::Error> {
        let node = self.api.get_status(&self.node).await?;
        let mut conditions = node.status.and_then(|status| status.conditions).unwrap_or_default().into_iter();
        if conditions.any(|one| one.type_ == self.condition) {
            self.patch(&json!({"$patch": "delete", "type": self.condition})).await?;
        }
        Ok(())
    }

    /// Conditions are merged by type: others are not touched.
    async fn patch(&self, condition: &Value) -> Result<(), kube::Error> {
        let patch = json!({"status": {"conditions": [condition]}});
        self.api.patch_status(&self.node, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
    }

    /// Tells the Event that is owed. Some APIs take none at all, so that it is not tried for ever.
    async fn pay(&mut self, uid: Option<String>) -> Result<(), kube::Error> {
        let Some((event, tries)) = &mut self.owed else { return Ok(()) };
        *tries += 1;
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(self.node.clone()),
            uid,
            ..ObjectReference::default()
        };
        let last = *tries >= TRIES;
        if let Err(error) = self.recorder.publish(event, &about).await {
            if !last {
                return Err(error);
            }
            tracing::warn!("an Event about {} can't be told: {}", self.condition, crate::error::chain(&error));
        }
        self.owed = None;
        Ok(())
    }
}

/// What can't be done in time is told to those who look for it.
async fn done(attempt: impl Future<Output = Result<(), kube::Error>>) -> bool {
    match tokio::time::timeout(PATIENCE, attempt).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::debug!("the Node's condition: {}", crate::error::chain(&error)),
        Err(_) => tracing::debug!("the Node's condition: the Kubernetes API does not answer"),
    }
    false
}

fn event(said: &Statement, action: &str) -> Event {
    Event {
        type_: EventType::Warning,
        reason: said.reason.to_owned(),
        note: Some(note(&said.message)),
        action: action.to_owned(),
        secondary: None,
    }
}

/// The message, or as much of it as there is room for.
fn note(message: &str) -> String {
    if message.len() <= NOTE {
        return message.to_owned();
    }
    let mut end = NOTE - MORE.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MORE}", &message[..end])
}

/// For one attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// To tell an Event.
const TRIES: u32 = 8;
/// Bytes of an Event's note; one that is longer is refused (kubernetes, pkg/apis/core/validation/events.go).
const NOTE: usize = 1024;
/// Bytes of the name of who tells it (the same file).
const INSTANCE: usize = 128;
const MORE: &str = "…";
