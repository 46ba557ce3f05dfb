//! What all Pods of a node share.

use std::fmt;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Client;
use network_namespace::NetNs;
use tokio::sync::{RwLock, Semaphore};

use crate::{cni::Network, events::Recorder, options::RunnerOptions};

/// The runner's node.
pub struct Node {
    pub options: RunnerOptions,
    pub client: Client,
    pub network: Network,
    pub netns: NetNs,
    pub events: Recorder,
    /// Held for reading while a sandbox is attached, for writing while the plugin is told what is valid: a garbage
    /// collection must not see half an attachment.
    pub attaching: RwLock<()>,
    /// How many sandboxes and containers are started at once: more would only make each of them slower.
    pub starts: Semaphore,
}

impl Node {
    /// Opens the node's namespace.
    pub fn open(options: RunnerOptions, client: Client) -> Result<Self, network_namespace::Error> {
        let netns = NetNs::open(&options.node_netns)?;
        let network = Network {
            conf_dir: options.cni_conf_dir.clone(),
            path: options.cni_path.clone(),
            node_netns: options.node_netns.clone(),
        };
        let events = Recorder::start(client.clone(), options.node_name.clone());
        Ok(Self {
            options,
            client,
            network,
            netns,
            events,
            attaching: RwLock::new(()),
            starts: Semaphore::new(STARTS_AT_ONCE),
        })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.options.node_name).finish_non_exhaustive()
    }
}

/// What an event is about: the Pod, or one of its containers (`spec.containers{name}`).
#[must_use]
pub fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let init = |name: &str| {
        pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).any(|container| container.name == name)
    };
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: container
            .map(|name| format!("spec.{}{{{name}}}", if init(name) { "initContainers" } else { "containers" })),
    }
}

const STARTS_AT_ONCE: usize = 8;
