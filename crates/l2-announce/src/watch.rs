//! What the API tells: one watch per kind, reduced at once to what announcing needs.

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use std::{collections::BTreeMap, fmt::Debug, time::Duration};
use tokio::{sync::mpsc::UnboundedSender, task::JoinHandle};

/// One thing that the API told about one kind.
#[derive(Debug)]
pub enum Told<V> {
    /// A list begins: what it does not name is gone.
    Begin,
    /// It is there, and so; by `namespace/name`.
    Set(String, V),
    /// It is gone, or of no interest.
    Gone(String),
    /// The list is whole.
    End,
}

/// What is known of one kind.
#[derive(Debug)]
pub struct Known<V> {
    now: BTreeMap<String, V>,
    listed: Option<BTreeMap<String, V>>,
    synced: bool,
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), listed: None, synced: false }
    }
}

impl<V> Known<V> {
    /// Takes what was told. During a list the old state stands until the new one is whole.
    pub fn take(&mut self, told: Told<V>) {
        match told {
            Told::Begin => self.listed = Some(BTreeMap::new()),
            Told::End => {
                self.synced = true;
                if let Some(listed) = self.listed.take() {
                    self.now = listed;
                }
            }
            Told::Set(key, value) => {
                self.listed.as_mut().unwrap_or(&mut self.now).insert(key, value);
            }
            Told::Gone(key) => {
                self.listed.as_mut().unwrap_or(&mut self.now).remove(&key);
            }
        }
    }

    /// Everything, once a list was whole.
    pub fn all(&self) -> Option<&BTreeMap<String, V>> {
        self.synced.then_some(&self.now)
    }
}

/// Watches until the handle is aborted.
pub fn start<O, V, I>(
    api: Api<O>,
    config: watcher::Config,
    sender: UnboundedSender<I>,
    reduce: fn(&O) -> Option<V>,
    input: fn(Told<V>) -> I,
) -> JoinHandle<()>
where
    O: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + Debug + Send + 'static,
    V: Send + 'static,
    I: Send + 'static,
{
    tokio::spawn(async move {
        let mut events = watcher::watcher(api, config.page_size(200)).backoff(Steady::default()).boxed();
        while let Some(event) = events.next().await {
            let told = match event {
                Ok(Event::Init) => Told::Begin,
                Ok(Event::InitDone) => Told::End,
                Ok(Event::InitApply(object) | Event::Apply(object)) => match reduce(&object) {
                    Some(value) => Told::Set(key(&object), value),
                    None => Told::Gone(key(&object)),
                },
                Ok(Event::Delete(object)) => Told::Gone(key(&object)),
                Err(error) => {
                    tracing::debug!(kind = %O::kind(&()), %error, "watch");
                    continue;
                }
            };
            if sender.send(input(told)).is_err() {
                return;
            }
        }
    })
}

fn key<O: Resource>(object: &O) -> String {
    let meta = object.meta();
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// From 100 ms to 5 s: the kind may not be there yet, and an API that is back should be noticed soon.
#[derive(Debug, Default)]
struct Steady {
    failures: u32,
}

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(100) * 2_u32.pow(self.failures.min(6));
        self.failures += 1;
        Some(wait.min(Duration::from_secs(5)))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
