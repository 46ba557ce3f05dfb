//! Conditions of one Node at the Kubernetes API, and the Events about them.

use super::{Statement, Weight};
use k8s_openapi::api::core::v1::{Node, NodeCondition, ObjectReference};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Writes them.
pub struct Writer {
    api: Api<Node>,
    recorder: Recorder,
    node: String,
    /// Events that are not told yet though their condition is written, by the condition, and how often that was tried.
    owed: BTreeMap<&'static str, (Event, u32)>,
}

/// What is to be said of one condition.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Its type.
    pub condition: &'static str,
    /// What it says.
    pub statement: Statement,
    /// Its heartbeat is renewed when it is older than this; `None`: only when it says something else.
    pub beat: Option<Duration>,
}

impl Writer {
    /// Nothing is known of what they say.
    pub fn new(client: kube::Client, node: String) -> Self {
        let instance = node.get(..INSTANCE).unwrap_or(&node).to_owned();
        let reporter = Reporter { controller: "malla.dev/agent".to_owned(), instance: Some(instance) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { api: Api::all(client), recorder, node, owed: BTreeMap::new() }
    }

    /// Says each where it is not said already, all in one write; an Event tells when status or reason become others. Whether that is
    /// done now; if not, it may be tried again.
    pub async fn tell(&mut self, all: &[Telling]) -> bool {
        done(self.try_to_tell(all)).await
    }

    /// Takes a condition away, if there is one. Whether that is done now.
    pub async fn remove(&self, condition: &str) -> bool {
        done(self.try_to_remove(condition)).await
    }

    async fn try_to_tell(&mut self, all: &[Telling]) -> Result<(), kube::Error> {
        let node = self.api.get_status(&self.node).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let now = Timestamp::now();
        let mut news = Vec::new();
        for telling in all {
            let known = conditions.iter().find(|one| one.type_ == telling.condition);
            match telling.statement.weight {
                // Before it is written: whether the write has come through may remain unknown.
                Weight::Warning(action) if telling.is_turn(known) => {
                    self.owed.insert(telling.condition, (event(&telling.statement, action), 0));
                }
                Weight::Warning(_) => {}
                // What is over is not told late.
                Weight::Quiet | Weight::Plain => drop(self.owed.remove(telling.condition)),
            }
            news.extend(telling.after(known, now));
        }
        if !news.is_empty() {
            self.patch(&news).await?;
        }
        self.pay(all, node.metadata.uid).await
    }

    async fn try_to_remove(&self, condition: &str) -> Result<(), kube::Error> {
        let node = self.api.get_status(&self.node).await?;
        let mut conditions = node.status.and_then(|status| status.conditions).unwrap_or_default().into_iter();
        if conditions.any(|one| one.type_ == condition) {
            self.patch(&[json!({"$patch": "delete", "type": condition})]).await?;
        }
        Ok(())
    }

    /// Conditions are merged by type: others are not touched.
    async fn patch(&self, conditions: &[Value]) -> Result<(), kube::Error> {
        let patch = json!({"status": {"conditions": conditions}});
        self.api.patch_status(&self.node, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
    }

    /// Tells the Events that are owed of these. Some APIs take none at all, so that none is tried for ever.
    async fn pay(&mut self, all: &[Telling], uid: Option<String>) -> Result<(), kube::Error> {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(self.node.clone()),
            uid,
            ..ObjectReference::default()
        };
        for Telling { condition, .. } in all {
            let Some((event, tries)) = self.owed.get_mut(condition) else { continue };
            *tries += 1;
            let last = *tries >= TRIES;
            if let Err(error) = self.recorder.publish(event, &about).await {
                if !last {
                    return Err(error);
                }
                tracing::warn!("an Event about {condition} can't be told: {}", crate::error::chain(&error));
            }
            self.owed.remove(condition);
        }
        Ok(())
    }
}

impl Telling {
    /// What is to be written where this is known.
    fn after(&self, known: Option<&NodeCondition>, now: Timestamp) -> Option<Value> {
        let Statement { reason, message, weight, .. } = &self.statement;
        let is_said = match known {
            None => *weight == Weight::Quiet,
            Some(known) => {
                !self.is_turn(Some(known)) && known.message.as_ref() == Some(message) && !self.is_old(known, now)
            }
        };
        if is_said {
            return None;
        }
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut condition = json!({
            "type": self.condition, "status": self.status(), "reason": reason, "message": message,
            "lastHeartbeatTime": time,
        });
        if known.is_none_or(|known| known.status != self.status()) {
            condition["lastTransitionTime"] = json!(time);
        }
        Some(condition)
    }

    const fn status(&self) -> &'static str {
        if self.statement.holds { "True" } else { "False" }
    }

    /// Status or reason are others than these.
    fn is_turn(&self, known: Option<&NodeCondition>) -> bool {
        known
            .is_none_or(|known| known.status != self.status() || known.reason.as_deref() != Some(self.statement.reason))
    }

    /// Its heartbeat is due; one of the future is of a clock that was wrong.
    fn is_old(&self, known: &NodeCondition, now: Timestamp) -> bool {
        let Some(beat) = self.beat else { return false };
        known.last_heartbeat_time.as_ref().is_none_or(|time| {
            let age = now.duration_since(time.0);
            age.is_negative() || age.unsigned_abs() >= beat
        })
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
