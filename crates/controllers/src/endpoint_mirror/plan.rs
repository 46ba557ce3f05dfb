//! The slices that say the same as an Endpoints object (KEP-752, "EndpointSlice mirroring").

use crate::{
    endpoint_slice::{
        cut::Book,
        desired::{Family, Groups, ports_key},
        plan::{Change, MANAGED_BY, SERVICE_NAME},
    },
    owner,
};
use k8s_openapi::api::{
    core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
};
use std::{net::IpAddr, sync::Arc};

/// Plans the mirror of one Endpoints object. Without a Service nobody could reach the slices; a Service with a selector
/// has slices of its own.
pub fn plan(service: Option<&Service>, endpoints: &Endpoints, slices: &[Arc<EndpointSlice>]) -> Vec<Change> {
    let meta = &endpoints.metadata;
    if meta.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let is_mirrored = service.is_some_and(|service| !has_selector(service)) && !is_marked(endpoints);
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), meta.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let book = Book {
        service: meta.name.as_deref().unwrap_or_default(),
        owner: meta,
        reference: owner::controller_reference(endpoints),
        labels,
        slices,
    };
    let wanted = [Family::V4, Family::V6].map(|family| (family, groups(endpoints, family)));
    // A family without addresses has no slice here: only the writer of the Endpoints knows which families he means.
    book.plan(wanted.into_iter().filter(|(_, groups)| is_mirrored && !groups.is_empty()).collect())
}

/// Whether the Service's slices come from its Pods.
pub fn has_selector(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
}

/// The API server's own Endpoints have slices from the same hand, and leases of old are no endpoints at all.
fn is_marked(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let has =
        |key: &str, value: &str| meta.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|v| v == value);
    let annotations = meta.annotations.as_ref();
    has("endpointslice.kubernetes.io/skip-mirror", "true")
        || annotations.is_some_and(|notes| notes.contains_key("control-plane.alpha.kubernetes.io/leader"))
        || (meta.namespace.as_deref() == Some("default") && meta.name.as_deref() == Some("kubernetes"))
}

fn groups(endpoints: &Endpoints, family: Family) -> Groups {
    let mut groups = Groups::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports(subset);
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(unready) {
            // An address that is none is left out; the API server should have refused it.
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            if ip.is_ipv4() != (family == Family::V4) {
                continue;
            }
            let group = groups.entry(ports_key(&ports)).or_insert_with(|| (ports.clone(), Vec::new()));
            group.1.push(endpoint(address, ready));
        }
    }
    groups
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let mut ports: Vec<EndpointPort> = subset
        .ports
        .iter()
        .flatten()
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
    ports
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), serving: None, terminating: None }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Default::default()
    }
}

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
