//! The API's objects, reduced to the model.

use crate::{condition, weights};
use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{
    Affinity, Algorithm, Endpoint, EndpointSlice, EndpointState, Family, Forwarding, Hints, ObjectName, Protocol,
    Service, ServicePort, SlicePort, TrafficPolicy, Weights,
};
use std::net::IpAddr;

/// Label of a slice that names its Service (KEP-752).
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Annotations that choose how a backend is chosen: ours, then Cilium's, with the same words (`maglev`, `random`).
pub const ALGORITHM_ANNOTATIONS: [&str; 2] = ["service.malla.dev/algorithm", "service.cilium.io/lb-algorithm"];

/// Annotations that choose the answers' way: ours, then Cilium's, with the same words (`dsr`, `snat`).
pub const FORWARDING_ANNOTATIONS: [&str; 2] =
    ["service.malla.dev/forwarding-mode", "service.cilium.io/forwarding-mode"];

/// `clientIP.timeoutSeconds` where the object does not say (API reference: 3 hours).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// A Service that can have addresses; ExternalName and headless ones give nothing.
#[must_use]
pub fn service(object: &core::Service) -> Option<Service> {
    let name = object_name(&object.metadata)?;
    let spec = object.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") || spec.cluster_ip.as_deref() == Some("None") {
        return None;
    }
    let cluster_ips = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.iter().cloned().collect());
    let cluster_addresses: Vec<IpAddr> = cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    let external_addresses = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let ingress = object.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    let ingress = ingress.into_iter().flatten().filter(|i| i.ip_mode.as_deref() != Some("Proxy"));
    let balancer_addresses = ingress.filter_map(|i| i.ip.as_deref()?.parse().ok()).collect();
    let mut families: Vec<Family> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect();
    if families.is_empty() {
        families = cluster_addresses.iter().map(|&a| Family::of(a)).collect();
    }
    let mut misunderstood = Vec::new();
    let external_policy = policy(spec.external_traffic_policy.as_deref());
    let health_check_port = spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).filter(|&p| p != 0);
    Some(Service {
        name,
        cluster_addresses,
        external_addresses,
        balancer_addresses,
        families,
        ports: spec.ports.iter().flatten().filter_map(service_port).collect(),
        affinity: affinity(spec),
        internal_policy: policy(spec.internal_traffic_policy.as_deref()),
        external_policy,
        // Only a load balancer's addresses are guarded, as kube-proxy does it.
        source_ranges: if balanced { source_ranges(spec, &mut misunderstood) } else { Vec::new() },
        health_check_port: health_check_port.filter(|_| balanced && external_policy == TrafficPolicy::Local),
        algorithm: algorithm(&object.metadata, &mut misunderstood),
        weights: weights(&object.metadata, &mut misunderstood),
        reported: condition::reports(object),
        forwarding: forwarding(&object.metadata, &mut misunderstood),
        misunderstood,
    })
}

fn policy(name: Option<&str>) -> TrafficPolicy {
    if name == Some("Local") { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

/// A range that can't be read admits nobody: the others stay, so that a mistake never opens the Service.
fn source_ranges(spec: &core::ServiceSpec, misunderstood: &mut Vec<String>) -> Vec<IpNet> {
    let mut out = Vec::new();
    for text in spec.load_balancer_source_ranges.iter().flatten() {
        match text.trim().parse() {
            Ok(range) => out.push(range),
            Err(_) => misunderstood.push(format!("loadBalancerSourceRanges: {text:?} is no range of addresses")),
        }
    }
    if out.is_empty() && !misunderstood.is_empty() {
        out.push(NOBODY);
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Stands for "none of the ranges could be read": no packet has this source (RFC 4291 §2.5.2).
const NOBODY: IpNet = IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 128));

fn algorithm(metadata: &ObjectMeta, misunderstood: &mut Vec<String>) -> Algorithm {
    let Some((name, word)) = first_of(metadata, &ALGORITHM_ANNOTATIONS) else { return Algorithm::Default };
    match word {
        "maglev" => Algorithm::Maglev,
        "random" => Algorithm::Random,
        _ => {
            misunderstood.push(format!("annotation {name}: {word:?} is neither maglev nor random"));
            Algorithm::Default
        }
    }
}

fn weights(metadata: &ObjectMeta, misunderstood: &mut Vec<String>) -> Weights {
    let Some(text) = metadata.annotations.as_ref().and_then(|all| all.get(weights::ANNOTATION)) else {
        return Weights::default();
    };
    weights::parse(text).unwrap_or_else(|problem| {
        misunderstood.push(problem);
        Weights::default()
    })
}

fn forwarding(metadata: &ObjectMeta, misunderstood: &mut Vec<String>) -> Forwarding {
    let Some((name, word)) = first_of(metadata, &FORWARDING_ANNOTATIONS) else { return Forwarding::Entry };
    match word {
        "dsr" => Forwarding::Dsr,
        // Cilium's word for "back through the entry node". Here the client's address is kept all the same.
        "snat" => Forwarding::Entry,
        _ => {
            misunderstood.push(format!("annotation {name}: {word:?} is neither dsr nor snat"));
            Forwarding::Entry
        }
    }
}

/// The first of these annotations that is there, and what it says.
fn first_of<'a>(metadata: &'a ObjectMeta, names: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let annotations = metadata.annotations.as_ref()?;
    names.iter().find_map(|name| Some((*name, annotations.get(*name)?.as_str())))
}

fn affinity(spec: &core::ServiceSpec) -> Affinity {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return Affinity::None;
    }
    let seconds =
        spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()).and_then(|c| c.timeout_seconds);
    Affinity::ClientAddress { seconds: seconds.and_then(|s| u32::try_from(s).ok()).unwrap_or(DEFAULT_AFFINITY_SECONDS) }
}

fn service_port(port: &core::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.as_deref().unwrap_or_default().into(),
        protocol: Protocol::from_api(port.protocol.as_deref())?,
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|&p| p != 0),
    })
}

/// A slice that belongs to a Service and has addresses.
#[must_use]
pub fn endpoint_slice(object: &discovery::EndpointSlice) -> Option<EndpointSlice> {
    let name = object_name(&object.metadata)?;
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    Some(EndpointSlice {
        service: ObjectName::new(&name.namespace, service),
        name,
        family,
        ports: object.ports.iter().flatten().filter_map(slice_port).collect(),
        endpoints: object.endpoints.iter().filter_map(|e| endpoint(e, family)).collect(),
    })
}

fn slice_port(port: &discovery::EndpointPort) -> Option<SlicePort> {
    Some(SlicePort {
        name: port.name.as_deref().unwrap_or_default().into(),
        protocol: Protocol::from_api(port.protocol.as_deref())?,
        port: u16::try_from(port.port?).ok()?,
    })
}

fn endpoint(endpoint: &discovery::Endpoint, family: Family) -> Option<Endpoint> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    if Family::of(address) != family {
        return None;
    }
    let pod = endpoint.target_ref.as_ref().filter(|r| r.kind.as_deref() == Some("Pod"));
    Some(Endpoint {
        address,
        state: state(endpoint.conditions.as_ref()),
        node: endpoint.node_name.as_deref().map(Into::into),
        zone: endpoint.zone.as_deref().map(Into::into),
        pod: pod.and_then(|r| Some(ObjectName::new(r.namespace.as_deref()?, r.name.as_deref()?))),
        hints: endpoint.hints.as_ref().map(hints).unwrap_or_default(),
    })
}

fn hints(hints: &discovery::EndpointHints) -> Hints {
    Hints {
        zones: hints.for_zones.iter().flatten().map(|zone| zone.name.as_str().into()).collect(),
        nodes: hints.for_nodes.iter().flatten().map(|node| node.name.as_str().into()).collect(),
    }
}

/// Conditions that are not there: ready is true, serving is as ready, terminating is false (API reference).
fn state(conditions: Option<&discovery::EndpointConditions>) -> EndpointState {
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    if ready {
        EndpointState::Ready
    } else if serving && terminating {
        EndpointState::ServingTerminating
    } else {
        EndpointState::Unavailable
    }
}

fn object_name(metadata: &ObjectMeta) -> Option<ObjectName> {
    Some(ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref()?))
}

#[cfg(test)]
#[path = "from_kubernetes_tests.rs"]
mod tests;
