//! Events as people know them from `kubectl describe`: recorded beside the work, never in its way.
//!
//! A repetition raises the `count` of the first Event instead of adding another, as client-go's correlator does.

use crate::cache::Key;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

/// One thing worth telling about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Who it is about.
    pub about: ObjectReference,
    /// How bad it is.
    pub severity: Severity,
    /// One CamelCase word, e.g. `ScalingReplicaSet`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// Who says it, e.g. `deployment-controller`.
    pub component: &'static str,
}

/// Takes records; cheap to clone, never blocks.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Record>,
}

impl Recorder {
    /// A recorder and the other end, for [`write_events`].
    pub fn new() -> (Self, mpsc::Receiver<Record>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender }, receiver)
    }

    /// Records something. When people produce events faster than the API server takes them, the newest are dropped:
    /// events are for reading, not for control.
    pub fn record(&self, record: Record) {
        if self.sender.try_send(record).is_err() {
            tracing::debug!("an event was dropped");
        }
    }
}

/// A reference to a whole object, as Events and EndpointSlices hold it.
pub fn reference_to<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Writes records until cancelled.
pub async fn write_events(client: Client, mut records: mpsc::Receiver<Record>, cancel: CancellationToken) {
    let mut known = Known::default();
    loop {
        let record = tokio::select! {
            () = cancel.cancelled() => return,
            record = records.recv() => match record {
                Some(record) => record,
                None => return,
            },
        };
        for attempt in 1..=ATTEMPTS {
            match write(&client, &mut known, &record, Timestamp::now()).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(%error, attempt, reason = record.reason, "event not written")
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(100) * attempt) => {}
            }
        }
    }
}

async fn write(client: &Client, known: &mut Known, record: &Record, now: Timestamp) -> kube::Result<()> {
    let namespace = record.about.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let identity = Identity::of(record);
    if let Some((key, count)) = known.get(&identity) {
        let patch = json!({"count": count + 1, "lastTimestamp": Time(now)});
        match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                known.put(identity, key, count + 1);
                return Ok(());
            }
            // It has expired: begin anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let event = first(record, namespace, now);
    let key = Key::of(&event.metadata);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => known.put(identity, key, 1),
        // The namespace is going away and takes no new objects; the news has no readers.
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 409 => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn first(record: &Record, namespace: &str, now: Timestamp) -> Event {
    let about = record.about.name.as_deref().unwrap_or("unknown");
    Event {
        metadata: ObjectMeta {
            // client-go's own form: unique as long as no two events about one object fall into one nanosecond.
            name: Some(format!("{about}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..Default::default()
        },
        involved_object: record.about.clone(),
        reason: Some(record.reason.to_owned()),
        message: Some(record.message.clone()),
        type_: Some(match record.severity {
            Severity::Normal => "Normal".to_owned(),
            Severity::Warning => "Warning".to_owned(),
        }),
        source: Some(EventSource { component: Some(record.component.to_owned()), host: None }),
        reporting_component: Some(record.component.to_owned()),
        reporting_instance: Some(String::new()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Default::default()
    }
}

/// What makes two records the same news.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    uid: Option<String>,
    name: Option<String>,
    severity: Severity,
    reason: &'static str,
    message: String,
    component: &'static str,
}

impl Identity {
    fn of(record: &Record) -> Self {
        Self {
            uid: record.about.uid.clone(),
            name: record.about.name.clone(),
            severity: record.severity,
            reason: record.reason,
            message: record.message.clone(),
            component: record.component,
        }
    }
}

/// The newest news, with the Event that told it first and how often it came.
#[derive(Default)]
struct Known {
    events: HashMap<Identity, (Key, i32)>,
    order: VecDeque<Identity>,
}

impl Known {
    fn get(&self, identity: &Identity) -> Option<(Key, i32)> {
        self.events.get(identity).cloned()
    }

    fn put(&mut self, identity: Identity, key: Key, count: i32) {
        if self.events.insert(identity.clone(), (key, count)).is_none() {
            self.order.push_back(identity);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.events.remove(&oldest);
            }
        }
    }
}

/// Records that may wait; a burst of a few hundred Pods fits.
const CAPACITY: usize = 4096;
/// News remembered for counting repetitions.
const REMEMBERED: usize = 1024;
/// How often one event is tried while the API server is away (about one second in all).
const ATTEMPTS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &str) -> Record {
        Record {
            about: ObjectReference { name: Some("web".into()), ..Default::default() },
            severity: Severity::Normal,
            reason: "Test",
            message: message.into(),
            component: "tester",
        }
    }

    #[test]
    fn only_the_newest_news_is_remembered() {
        let mut known = Known::default();
        for number in 0..=REMEMBERED {
            known.put(Identity::of(&record(&number.to_string())), Key::new("default", "web.1"), 1);
        }
        assert_eq!(known.events.len(), REMEMBERED);
        assert!(known.get(&Identity::of(&record("0"))).is_none());
        assert!(known.get(&Identity::of(&record("1"))).is_some());
    }

    #[test]
    fn a_full_queue_drops_instead_of_blocking() {
        let (recorder, receiver) = Recorder::new();
        for _ in 0..CAPACITY + 10 {
            recorder.record(record("again"));
        }
        assert_eq!(receiver.len(), CAPACITY);
    }

    #[test]
    fn an_event_reads_as_kubectl_expects() {
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        let event = first(&record("hello"), "default", now);
        assert_eq!(event.metadata.name.as_deref(), Some("web.17979cfe362a0000"));
        assert_eq!(event.type_.as_deref(), Some("Normal"));
        assert_eq!(event.count, Some(1));
        assert_eq!(event.source.and_then(|source| source.component).as_deref(), Some("tester"));
    }
}
