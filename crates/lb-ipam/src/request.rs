//! What a Service asks for.

use crate::REQUEST_SATISFIED;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{Family, ObjectName};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A Service of type LoadBalancer that is ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its name.
    pub name: ObjectName,
    /// When it was created, in seconds: who was first has the better right.
    pub created: i64,
    /// One address of each.
    pub families: Vec<Family>,
    /// A family that no pool has is not missed (`PreferDualStack`).
    pub tolerant: bool,
    /// These addresses, and no others.
    pub wanted: Vec<IpAddr>,
    /// What was asked for and is no address.
    pub unreadable: Option<String>,
    /// What its status holds, in order.
    pub held: Vec<IpAddr>,
    /// Shares addresses with Services of the same key.
    pub sharing_key: Option<String>,
    /// Namespaces that it shares with, besides its own.
    pub sharing_namespaces: BTreeSet<String>,
    /// Its ports with their protocols.
    pub ports: BTreeSet<(String, i32)>,
    /// `externalTrafficPolicy: Local`.
    pub local: bool,
    /// Its Pods' selector.
    pub pods: BTreeMap<String, String>,
    /// Labels, for the pools' selectors.
    pub metadata: ObjectMeta,
}

/// Whether addresses of this Service are ours to give.
#[must_use]
pub fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() == Some("LoadBalancer")
            && spec.load_balancer_class.as_deref().is_none_or(|class| CLASSES.contains(&class))
    })
}

/// Whether the Service has our condition: what it holds was given by us.
#[must_use]
pub fn is_marked(service: &Service) -> bool {
    let conditions = service.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == REQUEST_SATISFIED)
}

impl Request {
    /// What a Service asks for; nothing when it is not ours.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref().filter(|_| is_ours(service))?;
        let metadata = &service.metadata;
        let annotation = |names: [&str; 2]| {
            let annotations = metadata.annotations.as_ref()?;
            names.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
        };
        let (mut wanted, mut unreadable) = (Vec::new(), None);
        let listed = words(annotation(IPS)).chain(spec.load_balancer_ip.as_deref());
        for text in listed.filter(|text| !text.is_empty()) {
            match text.parse::<IpAddr>() {
                Ok(address) if !wanted.contains(&address) => wanted.push(address),
                Ok(_) => {}
                Err(_) => unreadable = Some(text.to_owned()),
            }
        }
        let (families, tolerant) = families(spec);
        Some(Self {
            name: ObjectName::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref()?),
            created: metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second()),
            families,
            tolerant,
            wanted,
            unreadable,
            held: held(service),
            sharing_key: annotation(SHARING_KEY).filter(|key| !key.is_empty()).map(str::to_owned),
            sharing_namespaces: words(annotation(SHARING_CROSS_NAMESPACE)).map(str::to_owned).collect(),
            ports: spec.ports.iter().flatten().map(|port| (protocol(port.protocol.as_deref()), port.port)).collect(),
            local: spec.external_traffic_policy.as_deref() == Some("Local"),
            pods: spec.selector.clone().unwrap_or_default(),
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                labels: metadata.labels.clone(),
                ..ObjectMeta::default()
            },
        })
    }
}

/// Addresses in a Service's status.
pub(crate) fn held(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|one| one.ip.as_deref()?.parse().ok()).collect()
}

/// The server fills in `ipFamilies` by the policy; where it did not, the policy alone decides.
fn families(spec: &ServiceSpec) -> (Vec<Family>, bool) {
    let policy = spec.ip_family_policy.as_deref().unwrap_or("SingleStack");
    let listed: Vec<Family> = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect();
    let families = match (policy, listed.first()) {
        ("SingleStack", first) => vec![first.copied().unwrap_or(Family::V4)],
        ("PreferDualStack", Some(_)) => listed,
        _ => Family::BOTH.to_vec(),
    };
    (families, policy == "PreferDualStack")
}

fn protocol(text: Option<&str>) -> String {
    text.unwrap_or("TCP").to_owned()
}

fn words(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// `spec.loadBalancerClass` of Services that are ours, besides none at all.
const CLASSES: [&str; 1] = ["io.cilium/l2-announcer"];
/// Today's names of the annotations, and those of Cilium before 1.16.
const IPS: [&str; 2] = ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"];
const SHARING_KEY: [&str; 2] = ["lbipam.cilium.io/sharing-key", "io.cilium/lb-ipam-sharing-key"];
const SHARING_CROSS_NAMESPACE: [&str; 2] =
    ["lbipam.cilium.io/sharing-cross-namespace", "io.cilium/lb-ipam-sharing-cross-namespace"];
