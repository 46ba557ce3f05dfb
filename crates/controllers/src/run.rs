//! Starts the watches, then the controllers, and ends them together.

use crate::leader::Leadership;
use crate::{
    Error, Options, Result,
    cache::{Cache, Key},
    deployment, endpoint_mirror, endpoint_slice, endpoints,
    events::{self, Recorder},
    identities, leader, load_balancer_addresses, node_ipam, node_lifecycle, pod_gc, policy_conditions, replica_set,
    scheduler, watch,
    worker::{self, Again},
    write::{Caches, Cluster, Kind},
};
use custom_resources::{
    CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumEndpointSlice, CiliumIdentity, CiliumLoadBalancerIPPool,
    CiliumNetworkPolicy, ClusterNetworkPolicy,
};
use kube::{Client, runtime::watcher};
use std::{
    fmt::Debug,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Runs all controllers until `cancel` is cancelled. The API server may be away at the start and go at any time.
///
/// Returns an error only when a task of its own ends by a panic; everything else is retried.
pub async fn run(client: Client, options: Options, cancel: CancellationToken) -> Result<()> {
    let (recorder, records) = Recorder::new();
    let leadership = Arc::new(if options.election.is_some() { Leadership::none() } else { Leadership::always() });
    let cluster =
        Arc::new(Cluster { client: client.clone(), caches: caches(), recorder, leadership: Arc::clone(&leadership) });
    // Whatever ends, everything ends.
    let cancel = cancel.child_token();
    let _cancel_on_return = cancel.clone().drop_guard();
    let mut tasks = Tasks { set: JoinSet::new(), names: Default::default() };
    tasks.spawn("events", events::write_events(client.clone(), records, cancel.clone()));

    let options = Arc::new(options);
    start_controllers(&mut tasks, &cluster, &options, &cancel);
    start_watches(&mut tasks, &cluster, &cancel);
    if let Some(election) = options.election.clone() {
        tasks.spawn("leader", leader::run::elect(client, election, leadership, cancel.clone()));
    }
    tasks.join().await
}

fn caches() -> Caches {
    Caches {
        nodes: Arc::new(Cache::new()),
        leases: Arc::new(Cache::new()),
        pods: Arc::new(Cache::new()),
        services: Arc::new(Cache::new()),
        replica_sets: Arc::new(Cache::new()),
        deployments: Arc::new(Cache::new()),
        endpoint_slices: Arc::new(Cache::new()),
        endpoints: Arc::new(Cache::new()),
        namespaces: Arc::new(Cache::new()),
        load_balancer_pools: Arc::new(Cache::new()),
        identities: Arc::new(Cache::new()),
        identity_slices: Arc::new(Cache::new()),
        network_policies: Arc::new(Cache::new()),
        cluster_policies: Arc::new(Cache::new()),
        cilium_policies: Arc::new(Cache::new()),
        clusterwide_policies: Arc::new(Cache::new()),
        cidr_groups: Arc::new(Cache::new()),
    }
}

fn start_watches(tasks: &mut Tasks, cluster: &Cluster, cancel: &CancellationToken) {
    fn start<K: Kind>(tasks: &mut Tasks, cluster: &Cluster, namespace: Option<&str>, cancel: &CancellationToken) {
        let api = match namespace {
            Some(namespace) => K::api(cluster.client.clone(), namespace),
            None => kube::Api::all(cluster.client.clone()),
        };
        let cache = Arc::clone(K::cache(&cluster.caches));
        tasks.spawn("watch", watch::fill(api, watcher::Config::default(), cache, cancel.clone()));
    }
    use k8s_openapi::api::{
        apps::v1::{Deployment, ReplicaSet},
        coordination::v1::Lease,
        core::v1::{Endpoints, Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
    };
    start::<Node>(tasks, cluster, None, cancel);
    start::<Lease>(tasks, cluster, Some("kube-node-lease"), cancel);
    start::<Pod>(tasks, cluster, None, cancel);
    start::<Service>(tasks, cluster, None, cancel);
    start::<ReplicaSet>(tasks, cluster, None, cancel);
    start::<Deployment>(tasks, cluster, None, cancel);
    start::<EndpointSlice>(tasks, cluster, None, cancel);
    start::<Endpoints>(tasks, cluster, None, cancel);
    start::<Namespace>(tasks, cluster, None, cancel);
    start::<CiliumLoadBalancerIPPool>(tasks, cluster, None, cancel);
    start::<CiliumIdentity>(tasks, cluster, None, cancel);
    start::<CiliumEndpointSlice>(tasks, cluster, None, cancel);
    start::<NetworkPolicy>(tasks, cluster, None, cancel);
    start::<ClusterNetworkPolicy>(tasks, cluster, None, cancel);
    start::<CiliumNetworkPolicy>(tasks, cluster, None, cancel);
    start::<CiliumClusterwideNetworkPolicy>(tasks, cluster, None, cancel);
    start::<CiliumCIDRGroup>(tasks, cluster, None, cancel);
}

fn start_controllers(tasks: &mut Tasks, cluster: &Arc<Cluster>, options: &Arc<Options>, cancel: &CancellationToken) {
    let start = Start { cluster, cancel };

    let (sender, inbox) = mpsc::unbounded_channel();
    node_ipam::run::wake(cluster, sender);
    let shared = Arc::clone(options);
    start.controller(tasks, "node-ipam", inbox, 1, move |cluster, ()| {
        node_ipam::run::reconcile(cluster, Arc::clone(&shared))
    });

    let (sender, inbox) = mpsc::unbounded_channel();
    node_lifecycle::run::wake(cluster, &sender);
    let (shared, state) = (Arc::clone(options), Arc::default());
    start.controller(tasks, "node-lifecycle", inbox, 1, move |cluster, ()| {
        node_lifecycle::run::reconcile(cluster, Arc::clone(&shared), Arc::clone(&state))
    });

    let (sender, inbox) = mpsc::unbounded_channel();
    pod_gc::run::wake(cluster, &sender);
    let (shared, missing) = (Arc::clone(options), Arc::default());
    start.controller(tasks, "pod-gc", inbox, 1, move |cluster, ()| {
        pod_gc::run::reconcile(cluster, Arc::clone(&shared), Arc::clone(&missing))
    });

    let (sender, inbox) = mpsc::unbounded_channel();
    scheduler::run::wake(cluster, &sender);
    start.controller(tasks, "scheduler", inbox, 1, |cluster, ()| scheduler::run::reconcile(cluster));

    let (sender, inbox) = mpsc::unbounded_channel::<Key>();
    deployment::run::wake(cluster, &sender);
    start.controller(tasks, "deployment", inbox, KEYS_AT_ONCE, deployment::run::reconcile);

    let (sender, inbox) = mpsc::unbounded_channel::<Key>();
    replica_set::run::wake(cluster, &sender);
    start.controller(tasks, "replica-set", inbox, KEYS_AT_ONCE, replica_set::run::reconcile);

    let (sender, inbox) = mpsc::unbounded_channel::<Key>();
    endpoint_slice::run::wake(cluster, &sender);
    start.controller(tasks, "endpoint-slice", inbox, KEYS_AT_ONCE, endpoint_slice::run::reconcile);

    let (sender, inbox) = mpsc::unbounded_channel::<Key>();
    endpoint_mirror::run::wake(cluster, &sender);
    start.controller(tasks, "endpoint-mirror", inbox, KEYS_AT_ONCE, endpoint_mirror::run::reconcile);

    let (sender, inbox) = mpsc::unbounded_channel::<Key>();
    endpoints::run::wake(cluster, &sender);
    start.controller(tasks, "endpoints", inbox, KEYS_AT_ONCE, endpoints::run::reconcile);

    let (sender, inbox) = mpsc::unbounded_channel();
    load_balancer_addresses::run::wake(cluster, &sender);
    start.controller(tasks, "load-balancer-addresses", inbox, 1, |cluster, ()| async move {
        // Before it is known whether there are pools, none of them would seem to be there.
        cluster.caches.load_balancer_pools.synced().await;
        load_balancer_addresses::run::reconcile(cluster).await
    });

    let (sender, inbox) = mpsc::unbounded_channel();
    identities::run::wake(cluster, &sender);
    let (shared, state) = (Arc::clone(options), Arc::new(Mutex::new(identities::State::new(options))));
    start.controller(tasks, "identities", inbox, 1, move |cluster, ()| {
        let (options, state) = (Arc::clone(&shared), Arc::clone(&state));
        async move {
            // Numbers that are not known yet would be given twice.
            cluster.caches.identities.synced().await;
            cluster.caches.identity_slices.synced().await;
            identities::run::reconcile(cluster, options, state).await
        }
    });

    let (sender, inbox) = mpsc::unbounded_channel();
    policy_conditions::run::wake(cluster, &sender);
    let told = Arc::default();
    start.controller(tasks, "policy-conditions", inbox, KEYS_AT_ONCE, move |cluster, subject| {
        policy_conditions::run::reconcile(cluster, subject, Arc::clone(&told))
    });
}

struct Start<'a> {
    cluster: &'a Arc<Cluster>,
    cancel: &'a CancellationToken,
}

impl Start<'_> {
    /// Starts one controller as soon as every cache has its first list: planning on half a world would delete the
    /// other half.
    fn controller<K, F, Fut>(
        &self,
        tasks: &mut Tasks,
        name: &'static str,
        inbox: UnboundedReceiver<K>,
        concurrency: usize,
        reconcile: F,
    ) where
        K: Clone + Eq + Hash + Debug + Send + 'static,
        F: Fn(Arc<Cluster>, K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Again>> + Send + 'static,
    {
        let (cluster, cancel) = (Arc::clone(self.cluster), self.cancel.clone());
        tasks.spawn(name, async move {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = synced(&cluster.caches) => {}
            }
            worker::drive(name, inbox, concurrency, cancel, |key| reconcile(Arc::clone(&cluster), key)).await;
        });
    }
}

async fn synced(caches: &Caches) {
    caches.nodes.synced().await;
    caches.leases.synced().await;
    caches.pods.synced().await;
    caches.services.synced().await;
    caches.replica_sets.synced().await;
    caches.deployments.synced().await;
    caches.endpoint_slices.synced().await;
    caches.endpoints.synced().await;
    caches.namespaces.synced().await;
}

/// The tasks and their names, for the report of a panic.
struct Tasks {
    set: JoinSet<()>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for all; a panic of one ends the others, as the set is dropped.
    async fn join(mut self) -> Result<()> {
        while let Some(ended) = self.set.join_next().await {
            if let Err(panic) = ended {
                let name = self.names.get(&panic.id()).copied().unwrap_or("unknown");
                return Err(Error::TaskEnded { name: name.into() });
            }
        }
        Ok(())
    }
}

/// Deployments, ReplicaSets or Services worked on at once; their writes mostly wait for the API server's disk.
const KEYS_AT_ONCE: usize = 16;
