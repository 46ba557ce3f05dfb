//! Pods with their identities in slices: a change of one Pod is one write and one watch event per node, and so is a change of
//! a hundred.

use custom_resources::{
    AddressPair, CiliumEndpointSlice, CoreCiliumEndpoint, EndpointNetworking, EndpointWorkload, NamedPort,
};
use model::{ObjectName, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Cilium's `--ces-max-ciliumendpoints-per-ces`.
pub const ENDPOINTS_PER_SLICE: usize = 100;

/// A Pod that has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The Pod.
    pub pod: ObjectName,
    /// Its number.
    pub identity: u32,
    /// Its addresses; none until the runtime has made its network.
    pub addresses: Vec<IpAddr>,
    /// Address of its node; none until it has one.
    pub node: Option<IpAddr>,
    /// Its ports that have names.
    pub named_ports: Vec<NamedPort>,
    /// Its service account.
    pub service_account: Option<String>,
    /// What it belongs to.
    pub workload: Option<Workload>,
}

/// What an agent reads in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The Pod.
    pub pod: ObjectName,
    /// Its number.
    pub identity: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Address of its node.
    pub node: Option<IpAddr>,
    /// What it belongs to, if the slice says so: who reads many lets them share it.
    pub workload: Option<Arc<Workload>>,
}

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A slice to make.
    Create(CiliumEndpointSlice),
    /// A slice to replace.
    Update(CiliumEndpointSlice),
    /// A slice that is empty.
    Delete(CiliumEndpointSlice),
}

/// Writes, in their order: what takes Pods away comes first, so that an address that goes from one Pod to another is told in
/// that order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlicePlan {
    /// The writes.
    pub changes: Vec<Change>,
    /// A Pod waits for this, or others for it: more is told than who has gone, or whom a Pod belongs to.
    pub urgent: bool,
}

/// From the slices that there are to what they should say. A Pod stays in its slice; a new one goes where there is room.
#[must_use]
pub fn slices(members: &[Member], existing: &[&CiliumEndpointSlice]) -> SlicePlan {
    let mut missing: BTreeMap<&ObjectName, &Member> = members.iter().map(|member| (&member.pod, member)).collect();
    let (mut taking, mut changing, mut making) = (Vec::new(), Vec::new(), Vec::new());
    let mut room: BTreeMap<&str, Vec<CiliumEndpointSlice>> = BTreeMap::new();
    let mut sorted: Vec<&CiliumEndpointSlice> = existing.to_vec();
    sorted.sort_unstable_by_key(|slice| &slice.metadata.name);
    let originals: BTreeMap<&str, &CiliumEndpointSlice> = sorted.iter().map(|slice| (name(slice), *slice)).collect();
    for slice in &sorted {
        let mut kept = (*slice).clone();
        // A Pod that stands in two slices after a crash stays in the first.
        kept.endpoints =
            slice.endpoints.iter().filter_map(|old| missing.remove(&pod(slice, old)).map(endpoint)).collect();
        room.entry(&slice.namespace).or_default().push(kept);
    }
    let mut new: BTreeMap<&str, Vec<CoreCiliumEndpoint>> = BTreeMap::new();
    for (pod, member) in missing {
        new.entry(&pod.namespace).or_default().push(endpoint(member));
    }
    for (namespace, endpoints) in new {
        let slices = room.entry(namespace).or_default();
        let mut waiting = endpoints.into_iter().peekable();
        for slice in slices.iter_mut() {
            let free = ENDPOINTS_PER_SLICE.saturating_sub(slice.endpoints.len());
            slice.endpoints.extend(waiting.by_ref().take(free));
        }
        let mut number = 0;
        while waiting.peek().is_some() {
            let name = loop {
                let name = format!("ces-{namespace}-{number}");
                number += 1;
                if !originals.contains_key(name.as_str()) {
                    break name;
                }
            };
            let mut slice = CiliumEndpointSlice::new(&name, namespace);
            slice.endpoints.extend(waiting.by_ref().take(ENDPOINTS_PER_SLICE));
            making.push(Change::Create(slice));
        }
    }
    for slice in room.into_values().flatten() {
        match originals.get(name(&slice)) {
            Some(old) if old.endpoints == slice.endpoints && !slice.endpoints.is_empty() => {}
            _ if slice.endpoints.is_empty() => taking.push(Change::Delete(slice)),
            Some(old) if gives_nothing(old, &slice) => taking.push(Change::Update(slice)),
            _ => changing.push(Change::Update(slice)),
        }
    }
    let urgent = !changing.is_empty() || !making.is_empty();
    SlicePlan { changes: taking.into_iter().chain(changing).chain(making).collect(), urgent }
}

/// Whether Pods have only gone, or belong to somebody else: that is for those who read flows, and no packet waits for it.
fn gives_nothing(old: &CiliumEndpointSlice, new: &CiliumEndpointSlice) -> bool {
    let before: BTreeMap<&str, &CoreCiliumEndpoint> =
        old.endpoints.iter().map(|one| (one.name.as_str(), one)).collect();
    new.endpoints.iter().all(|endpoint| {
        let same = |old: &&CoreCiliumEndpoint| {
            CoreCiliumEndpoint { workload: endpoint.workload.clone(), ..(**old).clone() } == *endpoint
        };
        before.get(endpoint.name.as_str()).is_some_and(same)
    })
}

/// What a slice says, without what can't be understood: a Pod without a name, a number that is none.
#[must_use]
pub fn published(slice: &CiliumEndpointSlice) -> Vec<Published> {
    let mut seen = BTreeSet::new();
    let understood = slice.endpoints.iter().filter_map(|endpoint| {
        let identity = u32::try_from(endpoint.id).ok()?;
        if endpoint.name.is_empty() || !crate::NUMBERS.contains(&identity) || !seen.insert(&endpoint.name) {
            return None;
        }
        let networking = endpoint.networking.as_ref();
        let pairs = networking.into_iter().flat_map(|networking| &networking.addressing);
        let texts = pairs.flat_map(|pair| pair.ipv4.iter().chain(&pair.ipv6));
        Some(Published {
            pod: pod(slice, endpoint),
            identity,
            addresses: texts.filter_map(|text| text.parse().ok()).collect(),
            node: networking.and_then(|networking| networking.node.as_deref()?.parse().ok()),
            workload: endpoint.workload.as_ref().and_then(|one| Workload::new(&one.kind, &one.name)).map(Arc::new),
        })
    });
    understood.collect()
}

fn endpoint(member: &Member) -> CoreCiliumEndpoint {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = member.addresses.iter().partition(|address| address.is_ipv4());
    let pairs = 0..v4.len().max(v6.len());
    let text = |addresses: &[IpAddr], place: usize| addresses.get(place).map(ToString::to_string);
    let addressing = pairs.map(|place| AddressPair { ipv4: text(&v4, place), ipv6: text(&v6, place) }).collect();
    CoreCiliumEndpoint {
        name: member.pod.name.to_string(),
        id: member.identity.into(),
        networking: Some(EndpointNetworking { addressing, node: member.node.map(|node| node.to_string()) }),
        named_ports: member.named_ports.clone(),
        service_account: member.service_account.clone(),
        workload: member
            .workload
            .as_ref()
            .map(|one| EndpointWorkload { kind: one.kind.to_string(), name: one.name.to_string() }),
    }
}

fn pod(slice: &CiliumEndpointSlice, endpoint: &CoreCiliumEndpoint) -> ObjectName {
    ObjectName::new(&slice.namespace, &endpoint.name)
}

fn name(slice: &CiliumEndpointSlice) -> &str {
    slice.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
