//! Cuts a Service's endpoints into slices with as few changes as possible.

use super::{
    cut::Book,
    desired::{families, groups, has_endpoints, is_headless},
};
use crate::owner;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Create a slice.
    Create(Box<EndpointSlice>),
    /// Replace a slice.
    Update(Box<EndpointSlice>),
    /// Delete a slice.
    Delete(Arc<EndpointSlice>),
}

/// What the planner sees.
pub struct Input<'a> {
    /// The Service.
    pub service: &'a Service,
    /// The Pods that it selects.
    pub pods: &'a [Arc<Pod>],
    /// Zones by Node name.
    pub zones: &'a HashMap<String, String>,
    /// All slices of its namespace.
    pub slices: &'a [Arc<EndpointSlice>],
}

/// Plans one Service.
pub fn plan(input: &Input<'_>) -> Vec<Change> {
    let service = input.service;
    if !has_endpoints(service) || service.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let book = Book {
        service: service.metadata.name.as_deref().unwrap_or_default(),
        owner: &service.metadata,
        reference: owner::controller_reference(service),
        labels: labels(service),
        slices: input.slices,
    };
    let wanted = families(service).into_iter();
    book.plan(wanted.map(|family| (family, groups(service, input.pods, input.zones, family))).collect())
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

/// Label that names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label that names who looks after a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// We look after slices as Kubernetes' own controller does.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
