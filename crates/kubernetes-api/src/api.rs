//! The server's state, and single objects by name.

use crate::error::ApiError;
use crate::events;
use crate::object;
use crate::registry::{Registry, Resource};
use crate::services::Allocator;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use object_store::{Entry, Store};
use serde_json::Value;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What the server must know of its cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Service ranges, the primary family first; one or two.
    pub service_ranges: Vec<IpNet>,
    /// Ports for Services of type NodePort.
    pub node_ports: RangeInclusive<u16>,
    /// Where Service `kubernetes` leads to.
    pub advertise_address: IpAddr,
    /// Port behind Service `kubernetes`.
    pub advertise_port: u16,
}

/// Everything the handlers share.
pub struct Api {
    /// The objects.
    pub store: Store,
    /// The kinds.
    pub registry: ArcSwap<Registry>,
    /// Addresses and ports of Services. Held over the whole of a Service's write, so that none is given twice.
    pub services: tokio::sync::Mutex<Allocator>,
    /// The cluster.
    pub config: ClusterConfig,
    /// Serialises changes of the registry.
    pub registering: std::sync::Mutex<()>,
}

impl Api {
    /// An API over a store; [`crate::bootstrap::bootstrap`] makes the objects that must always be there.
    pub fn new(store: Store, config: ClusterConfig) -> Arc<Self> {
        let allocator = Allocator::new(&config.service_ranges, config.node_ports.clone());
        Arc::new(Self {
            store,
            registry: ArcSwap::from_pointee(Registry::with_builtin()),
            services: tokio::sync::Mutex::new(allocator),
            config,
            registering: std::sync::Mutex::new(()),
        })
    }

    /// A built-in kind.
    pub fn builtin(&self, group: &str, plural: &str) -> Result<Arc<Resource>, ApiError> {
        let found = self.registry.load().find(group, "v1", plural);
        found.ok_or_else(|| ApiError::internal(format!("kind {plural}.{group} is missing")))
    }

    /// One object and its revision.
    pub fn get(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<(Value, u64), ApiError> {
        match self.store.get(&resource.key(namespace, name)) {
            Some(entry) => Ok((present(resource, &entry)?, entry.revision)),
            None => Err(ApiError::not_found(&resource.group, &resource.plural, name)),
        }
    }
}

/// From stored bytes to the object as this version of the kind shows it.
pub fn present(resource: &Resource, entry: &Entry) -> Result<Value, ApiError> {
    present_at(resource, entry, entry.revision)
}

/// As [`present`], under another revision (a deletion's).
pub fn present_at(resource: &Resource, entry: &Entry, revision: u64) -> Result<Value, ApiError> {
    let mut object: Value =
        serde_json::from_slice(&entry.value).map_err(|error| ApiError::internal(format!("stored object: {error}")))?;
    if resource.group == "events.k8s.io" {
        events::to_events_group(&mut object);
    }
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    object::set_resource_version(&mut object, revision);
    Ok(object)
}

/// From an object to the bytes that are stored: without its revision, which the store knows.
pub fn stored(resource: &Resource, object: &Value) -> bytes::Bytes {
    let mut object = object.clone();
    if resource.group == "events.k8s.io" {
        events::to_core(&mut object);
    }
    object::metadata_mut(&mut object).remove("resourceVersion");
    bytes::Bytes::from(object.to_string())
}
