//! Events in Kubernetes' style: what `kubectl describe pod` shows at its end.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::status::time;

/// Writes events in the background; cheap to clone. Losing one is no error: they are news, not state.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<News>,
}

#[derive(Debug)]
struct News {
    about: ObjectReference,
    kind: &'static str,
    reason: String,
    message: String,
    at: Timestamp,
}

impl Recorder {
    /// Starts writing for `node`.
    #[must_use]
    pub fn start(client: Client, node: String) -> Self {
        let (queue, news) = mpsc::channel(1024);
        tokio::spawn(write(client, node, news));
        Self { queue }
    }

    /// Something went as it should.
    pub fn normal(&self, about: &ObjectReference, reason: &str, message: impl Into<String>) {
        self.record(about, "Normal", reason, message.into());
    }

    /// Something did not.
    pub fn warning(&self, about: &ObjectReference, reason: &str, message: impl Into<String>) {
        self.record(about, "Warning", reason, message.into());
    }

    fn record(&self, about: &ObjectReference, kind: &'static str, reason: &str, message: String) {
        let news = News { about: about.clone(), kind, reason: reason.into(), message, at: Timestamp::now() };
        if self.queue.try_send(news).is_err() {
            tracing::debug!(reason, "event dropped: the API takes them too slowly");
        }
    }
}

/// The same thing happening again counts up the event that is there.
async fn write(client: Client, node: String, mut news: mpsc::Receiver<News>) {
    let mut written: HashMap<(String, String, String, String), (String, i32)> = HashMap::new();
    while let Some(news) = news.recv().await {
        let namespace = news.about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (
            news.about.uid.clone().unwrap_or_default(),
            news.about.field_path.clone().unwrap_or_default(),
            news.reason.clone(),
            news.message.clone(),
        );
        if let Some((name, count)) = written.get_mut(&key) {
            *count += 1;
            let again = json!({"count": count, "lastTimestamp": time(news.at)});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(again)).await {
                Ok(_) => continue,
                // Expired or deleted: write it anew.
                Err(_) => drop(written.remove(&key)),
            }
        }
        let name = format!("{}.{:x}", news.about.name.as_deref().unwrap_or("unknown"), news.at.as_nanosecond());
        let event = event(name.clone(), namespace, &node, news);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if written.len() >= REMEMBERED {
                    written.clear();
                }
                written.insert(key, (name, 1));
            }
            Err(error) => tracing::debug!(%error, "event not written"),
        }
    }
}

fn event(name: String, namespace: String, node: &str, news: News) -> Event {
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: news.about,
        type_: Some(news.kind.into()),
        reason: Some(news.reason),
        message: Some(news.message),
        count: Some(1),
        first_timestamp: Some(time(news.at)),
        last_timestamp: Some(time(news.at)),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(node.into()),
        ..Event::default()
    }
}

/// Tools look for kubelet's events, and this does kubelet's work.
const COMPONENT: &str = "kubelet";

/// Events whose repetitions are counted.
const REMEMBERED: usize = 4096;
