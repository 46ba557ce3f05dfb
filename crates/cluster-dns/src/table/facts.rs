//! From the API's objects to what names need of them.

use std::net::IpAddr;

use hickory_proto::rr::Name;
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};

/// Namespace and name, in lower case as Kubernetes has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(object: &impl kube::Resource<DynamicType = ()>) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// §2.3: addresses of its own.
    Cluster { addresses: Vec<IpAddr>, ports: Vec<Port> },
    /// §2.4: its endpoints; those that are not ready too, if `publish_not_ready`.
    Headless { publish_not_ready: bool },
    /// §2.5: another name.
    External(Name),
}

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub name: String,
    /// In lower case: `tcp`, `udp`, `sctp`.
    pub protocol: String,
    pub number: u16,
}

/// What an EndpointSlice says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceFacts {
    pub endpoints: Vec<SliceEndpoint>,
    pub ports: Vec<Port>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub addresses: Vec<IpAddr>,
    pub hostname: Option<String>,
    pub ready: bool,
}

/// `None` for a Service that has no name yet: its address is still to be given.
pub fn service_facts(service: &Service) -> Option<Facts> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let mut name = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
        name.set_fqdn(true);
        return Some(Facts::External(name));
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Facts::Headless { publish_not_ready: spec.publish_not_ready_addresses == Some(true) });
    }
    let all = spec.cluster_ips.iter().flatten();
    let single = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.as_ref().is_none_or(Vec::is_empty));
    let addresses: Vec<IpAddr> = all.chain(single).filter_map(|text| text.parse().ok()).collect();
    let ports = spec.ports.iter().flatten();
    let ports = ports.filter_map(|port| named(port.name.as_deref(), port.protocol.as_deref(), Some(port.port)));
    (!addresses.is_empty()).then(|| Facts::Cluster { addresses, ports: ports.collect() })
}

/// The Service's name and what the slice says; `None` for a slice of no Service, or of names (type FQDN).
pub fn slice_facts(slice: &EndpointSlice) -> Option<(String, SliceFacts)> {
    let service = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?.clone();
    let endpoints = slice.endpoints.iter().map(|endpoint| SliceEndpoint {
        addresses: endpoint.addresses.iter().filter_map(|text| text.parse().ok()).collect(),
        hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase()),
        // "A nil value should be interpreted as true" (EndpointConditions).
        ready: endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true),
    });
    let endpoints = endpoints.filter(|endpoint| !endpoint.addresses.is_empty()).collect();
    let ports = slice.ports.iter().flatten();
    let ports = ports.filter_map(|port| named(port.name.as_deref(), port.protocol.as_deref(), port.port)).collect();
    Some((service, SliceFacts { endpoints, ports }))
}

/// None for a Pod that has ended: its address may be another's by now.
pub fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let all = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let single = status.pod_ip.iter().filter(|_| status.pod_ips.as_ref().is_none_or(Vec::is_empty));
    all.chain(single).filter_map(|text| text.parse().ok()).collect()
}

/// A port without a name has no SRV record.
fn named(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    let name = name.filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
    Some(Port { name, protocol, number: number?.try_into().ok()? })
}
