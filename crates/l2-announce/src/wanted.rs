//! Which addresses this node stands for, by the policies. Pure.

use custom_resources::{CiliumL2AnnouncementPolicy, L2PolicySpec, matches_labels, matches_service};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::ObjectName;
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

type Labels = BTreeMap<String, String>;

/// A device that can be announced on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// A Service, as far as announcing needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    metadata: ObjectMeta,
    name: ObjectName,
    external: Vec<IpAddr>,
    load_balancer: Vec<IpAddr>,
    /// `externalTrafficPolicy: Local`: only nodes with endpoints serve.
    local: bool,
}

impl ServiceView {
    /// A Service that has addresses to announce, and whose class leaves that to us.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let (metadata, spec) = (&service.metadata, service.spec.as_ref()?);
        if spec.load_balancer_class.as_deref().is_some_and(|class| class != CLASS) {
            return None;
        }
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
        let view = Self {
            name: ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref()?),
            external: spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect(),
            load_balancer: ingress
                .filter(|_| spec.type_.as_deref() == Some("LoadBalancer"))
                .filter_map(|one| one.ip.as_deref()?.parse().ok())
                .collect(),
            local: spec.external_traffic_policy.as_deref() == Some("Local"),
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                labels: metadata.labels.clone(),
                ..ObjectMeta::default()
            },
        };
        (!view.external.is_empty() || !view.load_balancer.is_empty()).then_some(view)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Whether only nodes with endpoints of it serve it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }
}

/// Where each address is announced.
pub type Places = BTreeSet<(IpAddr, Device)>;

/// A part of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `interfaces`.
    Interfaces,
    /// `nodeSelector`.
    NodeSelector,
    /// `serviceSelector`.
    ServiceSelector,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Interfaces, Self::NodeSelector, Self::ServiceSelector];
}

/// A policy, ready to be asked.
pub struct Policy {
    name: String,
    spec: L2PolicySpec,
    interfaces: Vec<Regex>,
}

impl Policy {
    /// A policy of the API.
    ///
    /// # Errors
    /// The parts without meaning, with a text for people. Such a policy announces nothing.
    pub fn of(object: &CiliumL2AnnouncementPolicy) -> Result<Self, Vec<(Part, String)>> {
        let spec = object.spec.clone();
        let mut wrong = Vec::new();
        let interfaces: Result<Vec<_>, _> = spec.interfaces.iter().map(|text| Regex::new(text)).collect();
        let interfaces = interfaces.unwrap_or_else(|error| {
            wrong.push((Part::Interfaces, error.to_string()));
            Vec::new()
        });
        if let Err(error) = matches_labels(spec.node_selector.as_ref(), None) {
            wrong.push((Part::NodeSelector, error.message));
        }
        if let Err(error) = matches_service(spec.service_selector.as_ref(), &ObjectMeta::default()) {
            wrong.push((Part::ServiceSelector, error.message));
        }
        if wrong.is_empty() {
            Ok(Self { name: object.metadata.name.clone().unwrap_or_default(), spec, interfaces })
        } else {
            Err(wrong)
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn addresses<'a>(&self, service: &'a ServiceView) -> impl Iterator<Item = IpAddr> + use<'a> {
        let selected = matches_service(self.spec.service_selector.as_ref(), &service.metadata).unwrap_or(false);
        let (external, balancer) = (selected && self.spec.external_ips, selected && self.spec.load_balancer_ips);
        let external = service.external.iter().filter(move |_| external);
        external.chain(service.load_balancer.iter().filter(move |_| balancer)).copied()
    }

    fn has_node(&self, labels: Option<&Labels>) -> bool {
        matches_labels(self.spec.node_selector.as_ref(), labels).unwrap_or(false)
    }

    fn has_device(&self, device: &Device) -> bool {
        self.interfaces.is_empty() || self.interfaces.iter().any(|pattern| pattern.is_match(&device.name))
    }
}

/// By Service: what this node announces if it wins that Service's election.
///
/// An address that Services share is announced with the first of them by name, on every node alike: one election for one
/// address. `serves` says whether this node serves a Service; an address is announced where one of those that share it is
/// served, so that one without endpoints takes nothing away from the others.
#[must_use]
pub fn wanted<'a>(
    policies: &[Policy],
    services: impl Iterator<Item = &'a ServiceView> + Clone,
    node: Option<&Labels>,
    devices: &[Device],
    serves: impl Fn(&ServiceView) -> bool,
) -> BTreeMap<ObjectName, Places> {
    let mut owners: BTreeMap<IpAddr, &ObjectName> = BTreeMap::new();
    let mut served = BTreeSet::new();
    for service in services.clone() {
        let here = serves(service);
        for address in policies.iter().flat_map(|policy| policy.addresses(service)) {
            let owner = owners.entry(address).or_insert(&service.name);
            *owner = (*owner).min(&service.name);
            if here {
                served.insert(address);
            }
        }
    }
    let mut wanted: BTreeMap<ObjectName, Places> = BTreeMap::new();
    for policy in policies.iter().filter(|policy| policy.has_node(node)) {
        let devices: Vec<&Device> = devices.iter().filter(|device| policy.has_device(device)).collect();
        for service in services.clone() {
            let own = policy.addresses(service).filter(|address| owners.get(address) == Some(&&service.name));
            for address in own.filter(|address| served.contains(address)) {
                let places = devices.iter().map(|device| (address, Device::clone(device)));
                wanted.entry(service.name.clone()).or_default().extend(places);
            }
        }
    }
    wanted.retain(|_, places| !places.is_empty());
    wanted
}

/// `spec.loadBalancerClass` that is announced, besides none at all.
const CLASS: &str = "io.cilium/l2-announcer";

#[cfg(test)]
#[path = "wanted_tests.rs"]
mod tests;
