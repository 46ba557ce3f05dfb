//! What the caches say, as the plans want it. A Pod's labels are read anew only when it or its namespace has changed.

use crate::{
    Options,
    cache::Key,
    leader::Term,
    pod,
    write::{Caches, Cluster},
};
use identity::{Facts, Filter, Input, Member, Memory, Plan, has_identity, labels_of, named_ports, workload_of};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use model::{Labels, ObjectName};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

/// What is kept from one plan to the next; a new process starts without.
pub(crate) struct State {
    filter: Filter,
    memory: Memory,
    started: Instant,
    read: HashMap<Key, Read>,
    /// Pods that were told that there is no number for them, by uid.
    told: HashSet<String>,
    /// Since when something waits that nobody waits for.
    pub(super) waits: Option<Instant>,
    /// For which the caches are as new as the API was.
    pub(super) term: Option<Term>,
}

struct Read {
    /// Versions of the Pod and of its namespace.
    versions: [Option<String>; 2],
    labels: Labels,
}

/// One look at everything.
pub(super) struct World {
    pub plan: Plan,
    pub pods: Vec<(Arc<Pod>, Labels)>,
    nodes: HashMap<String, IpAddr>,
}

impl State {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            filter: options.identity_labels.clone(),
            memory: Memory::default(),
            started: Instant::now(),
            read: HashMap::new(),
            told: HashSet::new(),
            waits: None,
            term: None,
        }
    }

    /// A term of leading begins: what was seen before it, others have gone on from.
    pub(super) fn begin(&mut self, term: Term) {
        self.memory = Memory::default();
        self.term = Some(term);
    }

    /// Looks and plans.
    pub(super) fn look(&mut self, cluster: &Cluster, options: &Options) -> World {
        let caches = &cluster.caches;
        let pods = self.pods(caches, options);
        let known = identity::known(caches.identities.all().iter().map(|object| &**object));
        let wanted: BTreeSet<Labels> = pods.iter().map(|(_, labels)| labels.clone()).collect();
        let slices = caches.identity_slices.all();
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let published = endpoints.filter_map(|endpoint| u32::try_from(endpoint.id).ok()).collect();
        let plan = self.memory.plan(Input {
            known: &known,
            wanted: &wanted,
            published: &published,
            range: &options.identity_numbers,
            now: self.started.elapsed(),
            grace: options.identity_grace,
        });
        let address = |node: &Arc<Node>| Some((node.metadata.name.clone()?, node_address(node)?));
        World { plan, pods, nodes: caches.nodes.all().iter().filter_map(address).collect() }
    }

    /// A number was deleted.
    pub(super) fn deleted(&mut self, number: u32) {
        self.memory.deleted(number, self.started.elapsed());
    }

    /// Those of the Pods without a number that were not told yet.
    pub(super) fn untold<'a>(&mut self, without: Vec<&'a Arc<Pod>>) -> Vec<&'a Arc<Pod>> {
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let now: HashSet<String> = without.iter().map(|pod| uid(pod)).collect();
        let new = without.into_iter().filter(|pod| !self.told.contains(&uid(pod))).collect();
        self.told = now;
        new
    }

    fn pods(&mut self, caches: &Caches, options: &Options) -> Vec<(Arc<Pod>, Labels)> {
        let namespaces: BTreeMap<String, Arc<Namespace>> = caches
            .namespaces
            .all()
            .into_iter()
            .filter_map(|namespace| Some((namespace.metadata.name.clone()?, namespace)))
            .collect();
        let mut read = HashMap::new();
        let mut out = Vec::new();
        for pod in caches.pods.all().into_iter().filter(|pod| has_identity(pod)) {
            let key = Key::of(&pod.metadata);
            // Without its namespace's labels it would be somebody else for a moment.
            let Some(namespace) = namespaces.get(&key.namespace) else { continue };
            let versions = [&pod.metadata, &namespace.metadata].map(|metadata| metadata.resource_version.clone());
            let labels = match self.read.remove(&key) {
                Some(before) if before.versions == versions => before.labels,
                _ => labels_of(
                    &pod,
                    Facts {
                        namespace_labels: namespace.metadata.labels.as_ref(),
                        cluster: &options.cluster_name,
                        filter: &self.filter,
                    },
                ),
            };
            read.insert(key, Read { versions, labels: labels.clone() });
            out.push((pod, labels));
        }
        self.read = read;
        out
    }
}

impl World {
    /// The Pods that have a number, as their slices say it.
    pub(super) fn members(&self, numbers: &BTreeMap<Labels, u32>) -> Vec<Member> {
        let member = |(pod, labels): &(Arc<Pod>, Labels)| {
            let spec = pod.spec.as_ref();
            Some(Member {
                pod: ObjectName::new(pod.metadata.namespace.as_deref()?, pod.metadata.name.as_deref()?),
                identity: *numbers.get(labels)?,
                addresses: addresses(pod),
                node: pod::node(pod).and_then(|node| self.nodes.get(node).copied()),
                named_ports: named_ports(pod),
                service_account: spec.and_then(|spec| spec.service_account_name.clone()),
                workload: workload_of(pod),
            })
        };
        self.pods.iter().filter_map(member).collect()
    }
}

/// The Pod's own addresses, as the runtime has reported them.
pub(super) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let all = pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
    all.into_iter().flatten().filter_map(|one| one.ip.parse().ok()).collect()
}

/// The address by which the cluster knows a node.
fn node_address(node: &Node) -> Option<IpAddr> {
    let all = node.status.as_ref()?.addresses.as_ref()?;
    all.iter().filter(|one| one.type_ == "InternalIP").find_map(|one| one.address.parse().ok())
}
