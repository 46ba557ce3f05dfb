//! The endpoints that a Service should have, before they are cut into slices.

use crate::pod;
use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServicePort},
        discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// Address family of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `IPv4`.
    V4,
    /// `IPv6`.
    V6,
}

impl Family {
    /// The API's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn holds(self, address: &IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Families of a Service, the first one first. A Service that names none has what its cluster addresses are.
pub fn families(service: &Service) -> Vec<Family> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let named: Vec<Family> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|name| match name.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let own = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut families: Vec<Family> = own
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| if address.is_ipv4() { Family::V4 } else { Family::V6 })
        .collect();
    families.dedup();
    if families.is_empty() { vec![Family::V4] } else { families }
}

/// True for a Service whose Pods we look for.
pub fn has_endpoints(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
            && spec.type_.as_deref() != Some("ExternalName")
    })
}

/// True for a Service without an address of its own.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

/// True for a Pod that can be an endpoint: it has an address and has not ended.
pub fn can_serve(pod: &Pod) -> bool {
    !pod::has_ended(pod) && addresses(pod).next().is_some()
}

/// All addresses of a Pod.
pub fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        let all = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
        // `podIP` repeats the first of `podIPs`; a runner may write only the one.
        let single = status.pod_ip.iter().filter(|_| status.pod_ips.as_ref().is_none_or(Vec::is_empty));
        all.chain(single).filter_map(|address| address.parse().ok())
    })
}

/// The Pod's first address of a family.
pub fn address(pod: &Pod, family: Family) -> Option<IpAddr> {
    addresses(pod).find(|address| family.holds(address))
}

/// The ports of a Service as they are on this Pod: a named target port may be another number on every Pod, and a Pod
/// that does not have it does not serve it.
pub fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let service_ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<EndpointPort> = service_ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target(port, pod)?),
                protocol: Some(protocol(port).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
    ports
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The number of a Service port on a Pod (`podutil.FindPort`).
pub fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // Sidecars are init containers that stay (KEP-753).
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let mut all = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            all.find(|candidate| {
                candidate.name.as_deref() == Some(name)
                    && candidate.protocol.as_deref().unwrap_or("TCP") == protocol(port)
            })
            .map(|candidate| candidate.container_port)
        }
    }
}

/// Endpoints that share the same ports, in the order of the Pods' names.
pub type Groups = BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)>;

/// All endpoints of one family, by ports. `zones` are the Nodes' `topology.kubernetes.io/zone`.
pub fn groups(service: &Service, pods: &[Arc<Pod>], zones: &HashMap<String, String>, family: Family) -> Groups {
    let mut groups = Groups::new();
    for pod in pods.iter().filter(|pod| can_serve(pod)) {
        let Some(address) = address(pod, family) else {
            continue;
        };
        let ports = ports(service, pod);
        let key = ports_key(&ports);
        let group = groups.entry(key).or_insert_with(|| (ports, Vec::new()));
        group.1.push(endpoint(service, pod, address, zones));
    }
    groups
}

/// Equal for equal ports.
pub fn ports_key(ports: &[EndpointPort]) -> String {
    // A list of plain values always encodes.
    serde_json::to_string(ports).unwrap_or_default()
}

/// One endpoint. KEP-1672: a Pod that is ending is not `ready`, but `serving` as long as it answers its probes.
fn endpoint(service: &Service, pod: &Pod, address: IpAddr, zones: &HashMap<String, String>) -> Endpoint {
    let meta = &pod.metadata;
    let publish_all = service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    let serving = pod::is_ready(pod);
    let terminating = meta.deletion_timestamp.is_some();
    let node = pod::node(pod);
    let zone = node.and_then(|node| zones.get(node).cloned());
    let ready = publish_all || serving && !terminating;
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name: node.map(str::to_owned),
        hints: hints(service, node, zone.as_deref()).filter(|_| ready),
        zone,
        target_ref: Some(k8s_openapi::api::core::v1::ObjectReference {
            kind: Some("Pod".into()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// For whom an endpoint is meant, as `trafficDistribution` wants it (KEP-4444, KEP-3015): every endpoint for its own zone
/// or node. What nodes make of it, and when they don't, is theirs to decide.
fn hints(service: &Service, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let hints = match wish {
        "PreferClose" | "PreferSameZone" => EndpointHints { for_zones, for_nodes: None },
        "PreferSameNode" => {
            let for_nodes = node.map(|node| vec![ForNode { name: node.to_owned() }]);
            EndpointHints { for_zones, for_nodes }
        }
        _ => return None,
    };
    (hints != EndpointHints::default()).then_some(hints)
}

/// The Pod's own DNS name below the Service, if it asks for one.
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_ref().filter(|hostname| !hostname.is_empty())?;
    (spec.subdomain == service.metadata.name).then(|| hostname.clone())
}
