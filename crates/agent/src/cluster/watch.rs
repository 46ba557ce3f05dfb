//! Watches that survive the API: what they tell is reduced to the model at once, so that memory holds nothing else.

use super::node;
use super::served::{Served, Wanted, is_not_found, served};
use crate::policies::{self, objects};
use crate::sockets::{self, Wish};
use crate::watched::Told;
use custom_resources::{
    CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumEndpointSlice, CiliumIdentity, CiliumNetworkPolicy,
    ClusterNetworkPolicy,
};
use futures::StreamExt;
use identity::{NUMBERS, Published, published, workload_of};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use model::{EndpointSlice, Labels, Node, NodeName, ObjectName, Service, Workload};
use policy::dialect::references::{CidrGroup, ServiceFacts};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// One thing that the API told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a queue of some hundred, and each is taken apart at once")]
pub enum Input {
    /// About a Node.
    Node(Told<NodeName, Node>),
    /// About a Service: what is balanced of it, and what policies see.
    Service(Told<ObjectName, (Option<Service>, ServiceFacts)>),
    /// About an EndpointSlice.
    Slice(Told<ObjectName, EndpointSlice>),
    /// About a Pod of this node: its sockets, and what it belongs to.
    Pod(Told<ObjectName, (Wish, Option<Arc<Workload>>)>),
    /// About those of a Namespace's Pods; its own `namespace` is empty.
    Namespace(Told<ObjectName, Wish>),
    /// About a CiliumIdentity, by its number; 0 for all that are no numbers.
    Identity(Told<u32, Labels>),
    /// About a CiliumEndpointSlice.
    Published(Told<Box<str>, Vec<Published>>),
    /// About a policy.
    Policy(policies::Input),
}

/// What the API told, and when it was heard.
#[derive(Debug)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// What.
    pub input: Input,
}

impl Heard {
    fn now(input: Input) -> Self {
        Self { at: Instant::now(), input }
    }
}

/// How a watch does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchState {
    /// Kind of object.
    pub kind: String,
    /// One list has been whole.
    pub synced: bool,
    /// The API answers.
    pub connected: bool,
    /// What it said last, when it did not do what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Failed attempts since the start.
    pub errors: u64,
    /// The API does not have the kind, which counts as none of it; it is looked for again and again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_served: bool,
    #[serde(skip)]
    failed_at: Option<Instant>,
}

/// A watch that is away fails at least this often: an attempt takes up to 3 s, and the next comes within 2 s. One that has
/// been silent for longer is back, though a watch that goes on where it was has nothing to tell.
const SILENCE: Duration = Duration::from_secs(6);

impl WatchState {
    fn heard(&mut self) {
        self.connected = true;
        self.last_error = None;
        self.failed_at = None;
    }

    fn failed(&mut self, text: String) {
        if self.connected || self.errors == 0 {
            tracing::warn!("watching {}: {text}", self.kind);
        }
        self.connected = false;
        self.failed_at = Some(Instant::now());
        self.last_error = Some(text);
        self.errors += 1;
    }
}

/// How all watches do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watches {
    states: Arc<Mutex<Vec<WatchState>>>,
    lags: Lags,
}

/// Of each kind.
pub type Lags = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// Whole seconds are all that objects tell.
const LAGS: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

impl Default for Watches {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(LAGS);
        Self { states: Arc::default(), lags: Family::new_with_constructor(histogram) }
    }
}

impl Watches {
    /// All of them now.
    #[must_use]
    pub fn now(&self) -> Vec<WatchState> {
        let mut all = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in all.iter_mut().filter(|w| w.failed_at.is_some_and(|at| at.elapsed() > SILENCE)) {
            watch.heard();
        }
        all.clone()
    }

    /// From a change to the moment at which it was heard of.
    #[must_use]
    pub fn lags(&self) -> Lags {
        self.lags.clone()
    }

    /// The newest time that an object tells of itself is that of the change, if somebody has changed it at all.
    fn lagged(&self, kind: &'static str, object: &impl ResourceExt) {
        // A deletion that waits for somebody is in no manager's fields.
        if object.meta().deletion_timestamp.is_some() {
            return;
        }
        let times = object.managed_fields().iter().filter_map(|entry| entry.time.as_ref()).map(|time| time.0);
        let Some(changed) = times.chain(object.creation_timestamp().map(|time| time.0)).max() else { return };
        let lag = jiff::Timestamp::now().duration_since(changed);
        // Another machine's clock may be ahead.
        self.lags.get_or_create(&[("kind", kind)]).observe(lag.as_secs_f64().max(0.0));
    }

    fn update(&self, kind: &str, change: impl FnOnce(&mut WatchState)) {
        let mut all = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|w| w.kind == kind) {
            Some(state) => change(state),
            None => {
                let mut state = WatchState { kind: kind.to_owned(), ..WatchState::default() };
                change(&mut state);
                all.push(state);
            }
        }
    }
}

/// Starts the watches; they end with the runtime.
#[must_use]
pub fn start(client: &kube::Client, own: &NodeName, watches: &Watches) -> mpsc::Receiver<Heard> {
    // A full channel holds the watches back: the API's backlog stays with the API.
    let (sender, receiver) = mpsc::channel(512);
    let start = Start { client, watches, sender: &sender };
    let everything = watcher::Config::default();
    let here = everything.clone().fields(&format!("spec.nodeName={own}"));
    start.spawn::<core::Node, _, _>("Node", &everything, node_name, node::from_kubernetes, Input::Node);
    let slice = load_balancer::from_kubernetes::endpoint_slice;
    start.spawn::<discovery::EndpointSlice, _, _>("EndpointSlice", &everything, object_name, slice, Input::Slice);
    let service =
        |object: &core::Service| Some((load_balancer::from_kubernetes::service(object), ServiceFacts::of(object)));
    start.spawn::<core::Service, _, _>("Service", &everything, object_name, service, Input::Service);
    let pod = |object: &core::Pod| sockets::of_pod(object).map(|wish| (wish, workload_of(object).map(Arc::new)));
    start.spawn::<core::Pod, _, _>("Pod", &here, object_name, pod, Input::Pod);
    let namespace = sockets::of_namespace;
    start.spawn::<core::Namespace, _, _>("Namespace", &everything, object_name, namespace, Input::Namespace);
    start.spawn::<CiliumIdentity, _, _>("CiliumIdentity", &everything, number, labels, Input::Identity);
    let (name, read) = (plain_name::<CiliumEndpointSlice>, |slice: &CiliumEndpointSlice| Some(published(slice)));
    start.spawn::<CiliumEndpointSlice, _, _>("CiliumEndpointSlice", &everything, name, read, Input::Published);
    start.policies(&everything);
    receiver
}

/// What every watch is started with.
struct Start<'a> {
    client: &'a kube::Client,
    watches: &'a Watches,
    sender: &'a mpsc::Sender<Heard>,
}

/// What it means that the API does not have a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// That there is none of it.
    Empty,
    /// Nothing: it is waited for.
    Awaited,
}

/// How long to wait before a kind that the API does not have is looked for again. Somebody adds a kind once in a
/// cluster's life; a hundred nodes without five kinds ask fifty times a second.
const APPEARANCE: Duration = Duration::from_secs(10);

impl Start<'_> {
    /// Clusters without the definitions of Cilium's or of ClusterNetworkPolicy are usual: there nobody can have written any.
    fn policies(&self, all: &watcher::Config) {
        use policies::Input as P;
        let network = |told| Input::Policy(P::Network(told));
        self.spawn::<networking::NetworkPolicy, _, _>("NetworkPolicy", all, object_name, objects::network, network);
        let cluster = |told| Input::Policy(P::Cluster(told));
        self.optional::<ClusterNetworkPolicy, _, _>("ClusterNetworkPolicy", object_name, objects::cluster, cluster);
        let cilium = |told| Input::Policy(P::Cilium(told));
        self.optional::<CiliumNetworkPolicy, _, _>("CiliumNetworkPolicy", object_name, objects::whole, cilium);
        let (kind, wide) = ("CiliumClusterwideNetworkPolicy", |told| Input::Policy(P::Clusterwide(told)));
        self.optional::<CiliumClusterwideNetworkPolicy, _, _>(kind, object_name, objects::whole, wide);
        let group = |told| Input::Policy(P::Group(told));
        let read = |object: &CiliumCIDRGroup| Some(CidrGroup::of(object));
        self.optional::<CiliumCIDRGroup, _, _>("CiliumCIDRGroup", object_name, read, group);
    }

    fn spawn<O, K, V>(
        &self,
        kind: &'static str,
        selection: &watcher::Config,
        key: fn(&O) -> K,
        read: fn(&O) -> Option<V>,
        input: fn(Told<K, V>) -> Input,
    ) where
        O: Watchable,
        K: Send + 'static,
        V: Send + 'static,
    {
        self.watch(Watch { kind, absent: Absent::Awaited, key, read, input, pause: APPEARANCE }, selection);
    }

    /// A kind that a cluster need not have.
    fn optional<O, K, V>(
        &self,
        kind: &'static str,
        key: fn(&O) -> K,
        read: fn(&O) -> Option<V>,
        input: fn(Told<K, V>) -> Input,
    ) where
        O: Watchable,
        K: Send + 'static,
        V: Send + 'static,
    {
        let watch = Watch { kind, absent: Absent::Empty, key, read, input, pause: APPEARANCE };
        self.watch(watch, &watcher::Config::default());
    }

    fn watch<O, K, V>(&self, watch: Watch<O, K, V>, selection: &watcher::Config)
    where
        O: Watchable,
        K: Send + 'static,
        V: Send + 'static,
    {
        // Small pages: what waits to be reduced is what a list costs in memory.
        let config = selection.clone().page_size(200);
        self.watches.update(watch.kind, |_| ());
        tokio::spawn(watch.run(self.client.clone(), config, self.watches.clone(), self.sender.clone()));
    }
}

/// What can be watched.
trait Watchable:
    Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static
{
}

impl<O> Watchable for O where
    O: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static
{
}

/// One kind and what becomes of its objects.
struct Watch<O, K, V> {
    kind: &'static str,
    absent: Absent,
    key: fn(&O) -> K,
    read: fn(&O) -> Option<V>,
    input: fn(Told<K, V>) -> Input,
    /// Before a kind that the API does not have is looked for again.
    pause: Duration,
}

impl<O: Watchable, K, V> Watch<O, K, V> {
    /// Until nobody listens any more.
    async fn run(self, client: kube::Client, config: watcher::Config, watches: Watches, sender: mpsc::Sender<Heard>) {
        loop {
            let api: Api<O> = Api::all(client.clone());
            let mut events = watcher::watcher(api, config.clone()).backoff(Steady::default()).boxed();
            while let Some(event) = events.next().await {
                let told = match event {
                    Ok(event) => self.told(event, &watches),
                    Err(error) => match self.failed(&client, &error, &watches).await {
                        Reaction::TryAgain => continue,
                        Reaction::NoneOfIt => break,
                    },
                };
                if sender.send(Heard::now((self.input)(told))).await.is_err() {
                    return;
                }
            }
            // Of a list that has nothing, all is gone. The watch begins anew: it would go on from a version of a kind
            // that is no more.
            for told in [Told::Begin, Told::End] {
                if sender.send(Heard::now((self.input)(told))).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    fn told(&self, event: Event<O>, watches: &Watches) -> Told<K, V> {
        watches.update(self.kind, |w| {
            // The beginning of a list is said before the API is asked.
            if !matches!(event, Event::Init) {
                w.heard();
                w.not_served = false;
            }
            w.synced |= matches!(event, Event::InitDone);
        });
        if let Event::Apply(object) = &event {
            watches.lagged(self.kind, object);
        }
        match event {
            Event::Init => Told::Begin,
            Event::InitApply(object) | Event::Apply(object) => Told::Set((self.key)(&object), (self.read)(&object)),
            Event::Delete(object) => Told::Gone((self.key)(&object)),
            Event::InitDone => Told::End,
        }
    }

    async fn failed(&self, client: &kube::Client, error: &watcher::Error, watches: &Watches) -> Reaction {
        let mut text = crate::error::chain(error);
        if is_not_found(error) {
            match (served(client, &Wanted::of::<O>()).await, self.absent) {
                (Ok(Served::No), Absent::Empty) => {
                    watches.update(self.kind, |w| {
                        if !w.not_served {
                            tracing::info!("the API does not serve {}: there is none", self.kind);
                        }
                        w.heard();
                        (w.not_served, w.synced) = (true, true);
                    });
                    return Reaction::NoneOfIt;
                }
                (Ok(Served::No), Absent::Awaited) => {
                    text = format!("the API does not serve {}, and nothing works without it", self.kind);
                }
                (Ok(Served::Otherwise(versions)), _) => {
                    let (read, have) = (O::version(&()), versions.join(", "));
                    text = format!(
                        "the API serves {} as {have}, which is not read here ({read} is): objects may be there, so \
                         nothing is opened",
                        self.kind
                    );
                }
                (Ok(Served::Yes), _) => {}
                (Err(why), _) => text = format!("{text}; whether there is such a kind is not known: {why}"),
            }
        }
        watches.update(self.kind, |w| w.failed(text));
        Reaction::TryAgain
    }
}

/// What to do after a failure.
enum Reaction {
    TryAgain,
    /// There is none of the kind, for sure.
    NoneOfIt,
}

fn object_name<O: Resource>(object: &O) -> ObjectName {
    let meta = object.meta();
    ObjectName::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn plain_name<O: Resource>(object: &O) -> Box<str> {
    object.meta().name.as_deref().unwrap_or_default().into()
}

fn number(object: &CiliumIdentity) -> u32 {
    object.number().unwrap_or(0)
}

fn labels(object: &CiliumIdentity) -> Option<Labels> {
    NUMBERS.contains(&object.number()?).then(|| Labels::from_map(&object.security_labels).ok())?
}

fn node_name(object: &core::Node) -> NodeName {
    object.metadata.name.as_deref().unwrap_or_default().into()
}

/// Doubles from 250 ms to 2 s: an API that is back is noticed soon, and three requests every two seconds hurt nobody.
#[derive(Debug, Default)]
struct Steady {
    failures: u32,
}

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(250) * 2_u32.pow(self.failures.min(5));
        self.failures += 1;
        Some(wait.min(Duration::from_secs(2)))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
#[path = "absent_tests.rs"]
mod absent_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_stays_silent_after_an_error_is_back() {
        let watches = Watches::default();
        watches.update("Node", |w| {
            w.last_error = Some("refused".to_owned());
            w.failed_at = Some(Instant::now());
        });
        assert!(!watches.now()[0].connected);
        watches.update("Node", |w| w.failed_at = Instant::now().checked_sub(SILENCE * 2));
        assert_eq!((watches.now()[0].connected, &watches.now()[0].last_error), (true, &None));
    }

    #[test]
    fn waits_double_up_to_two_seconds() {
        let mut steady = Steady::default();
        let waits: Vec<u128> = steady.by_ref().take(7).map(|d| d.as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 2000, 2000, 2000]);
        steady.reset();
        assert_eq!(steady.next(), Some(Duration::from_millis(250)));
    }
}
