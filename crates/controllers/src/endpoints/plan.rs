//! One Endpoints object per Service, with the addresses of its first family.

use crate::{
    endpoint_slice::desired::{address, can_serve, families, has_endpoints, hostname, is_headless, ports},
    pod,
};
use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// One change to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Create the object.
    Create(Box<Endpoints>),
    /// Replace it.
    Update(Box<Endpoints>),
    /// Delete it: its Service is gone.
    Delete(Arc<Endpoints>),
}

/// Plans the Endpoints of one name. `pods` are those that the Service selects.
pub fn plan(service: Option<&Service>, pods: &[Arc<Pod>], held: Option<&Arc<Endpoints>>) -> Option<Change> {
    let Some(service) = service else {
        return held.filter(|held| is_own(held)).map(|held| Change::Delete(Arc::clone(held)));
    };
    if !has_endpoints(service) || service.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (subsets, truncated) = subsets(service, pods);
    let mut wanted = held.map_or_else(|| empty(service), |held| held.as_ref().clone());
    wanted.subsets = (!subsets.is_empty()).then_some(subsets);
    wanted.metadata.labels = Some(labels(service));
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    if annotations.is_empty() {
        wanted.metadata.annotations = None;
    }
    match held {
        None => Some(Change::Create(Box::new(wanted))),
        Some(held) if **held != wanted => Some(Change::Update(Box::new(wanted))),
        Some(_) => None,
    }
}

fn empty(service: &Service) -> Endpoints {
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..Default::default()
        },
        subsets: None,
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

fn is_own(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) == Some(MANAGER)
}

/// Who serves a port, by address; the flag is readiness.
type Servers = BTreeMap<(IpAddr, String), (bool, EndpointAddress)>;

/// Name, protocol and number; none for a headless Service without ports.
type PortKey = Option<(String, String, i32)>;

/// Ports with the same servers share a subset (`RepackSubsets`). Ending Pods are left out, as this kind cannot tell
/// them apart. The flag says that not all fitted in.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let Some(family) = families(service).first().copied() else {
        return (Vec::new(), false);
    };
    let publish_all = service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let mut serving: Vec<(&Arc<Pod>, IpAddr, bool)> = pods
        .iter()
        .filter(|pod| can_serve(pod) && (publish_all || pod.metadata.deletion_timestamp.is_none()))
        .filter_map(|pod| Some((pod, address(pod, family)?, publish_all || pod::is_ready(pod))))
        .collect();
    let truncated = serving.len() > CAPACITY;
    if truncated {
        // Whoever must stay out, it is not one that works.
        serving.sort_by_key(|(_, address, ready)| (!ready, *address));
        serving.truncate(CAPACITY);
    }
    let mut by_port: BTreeMap<PortKey, (Option<EndpointPort>, Servers)> = BTreeMap::new();
    let without_ports = service.spec.as_ref().is_none_or(|spec| spec.ports.as_ref().is_none_or(Vec::is_empty));
    for (pod, address, ready) in serving {
        let server = (ready, endpoint_address(service, pod, address));
        let identity = (address, pod.metadata.uid.clone().unwrap_or_default());
        if without_ports {
            by_port.entry(None).or_default().1.insert(identity.clone(), server.clone());
        }
        for port in ports(service, pod) {
            let Some(number) = port.port else { continue };
            let protocol = port.protocol.clone().unwrap_or_default();
            // A port without a name has none here, where slices write an empty one.
            let name = port.name.clone().unwrap_or_default();
            let entry = by_port.entry(Some((name.clone(), protocol, number))).or_default();
            entry.0 = Some(EndpointPort {
                name: Some(name).filter(|name| !name.is_empty()),
                port: number,
                protocol: port.protocol,
                app_protocol: port.app_protocol,
            });
            entry.1.insert(identity.clone(), server.clone());
        }
    }
    let mut packed: Vec<(Servers, Vec<EndpointPort>)> = Vec::new();
    for (port, servers) in by_port.into_values() {
        match packed.iter_mut().find(|(held, _)| *held == servers) {
            Some((_, ports)) => ports.extend(port),
            None => packed.push((servers, port.into_iter().collect())),
        }
    }
    (packed.into_iter().map(|(servers, ports)| subset(servers, ports)).collect(), truncated)
}

fn subset(servers: Servers, ports: Vec<EndpointPort>) -> EndpointSubset {
    let (ready, unready): (Vec<_>, Vec<_>) = servers.into_values().partition(|(ready, _)| *ready);
    let list = |servers: Vec<(bool, EndpointAddress)>| {
        let addresses: Vec<EndpointAddress> = servers.into_iter().map(|(_, address)| address).collect();
        (!addresses.is_empty()).then_some(addresses)
    };
    EndpointSubset {
        addresses: list(ready),
        not_ready_addresses: list(unready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

fn endpoint_address(service: &Service, pod: &Pod, address: IpAddr) -> EndpointAddress {
    EndpointAddress {
        ip: address.to_string(),
        hostname: hostname(service, pod),
        node_name: pod::node(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
    }
}

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object (`maxCapacity` in Kubernetes).
const CAPACITY: usize = 1000;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
