//! Cuts a Service's endpoints into slices with as few changes as possible.

use super::{
    cut::{Cut, Sheet},
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

/// Plans one Service: new and changed slices first, so that no endpoint is missing in between.
pub fn plan(input: &Input<'_>) -> Vec<Change> {
    if !has_endpoints(input.service) || input.service.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let wanted = families(input.service);
    let (mut changes, mut deletions) = (Vec::new(), Vec::new());
    let own: Vec<&Arc<EndpointSlice>> = input.slices.iter().filter(|slice| is_own(input.service, slice)).collect();
    for slice in &own {
        if !wanted.iter().any(|family| family.as_str() == slice.address_type) {
            deletions.push(Change::Delete(Arc::clone(slice)));
        }
    }
    for family in wanted {
        let slices = own.iter().filter(|slice| slice.address_type == family.as_str()).map(|slice| Sheet::of(slice));
        let mut cut = Cut { input, family, sheets: slices.collect() };
        cut.fill(groups(input.service, input.pods, input.zones, family));
        for sheet in cut.sheets {
            match sheet.into_change(input.service) {
                Some(delete @ Change::Delete(_)) => deletions.push(delete),
                Some(change) => changes.push(change),
                None => {}
            }
        }
    }
    changes.extend(deletions);
    changes
}

/// True for a slice that we made for this very Service.
fn is_own(service: &Service, slice: &EndpointSlice) -> bool {
    let label = |key: &str| slice.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    label(SERVICE_NAME) == service.metadata.name.as_ref()
        && label(MANAGED_BY).map(String::as_str) == Some(MANAGER)
        && slice.metadata.deletion_timestamp.is_none()
        && owner::is_controlled_by(&slice.metadata, &service.metadata)
}

pub(super) fn labels(service: &Service) -> BTreeMap<String, String> {
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
