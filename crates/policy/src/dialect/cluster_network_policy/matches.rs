//! Peers and ports of one rule. None: not understood.

use super::ClusterPeer;
use crate::dialect::cilium::{is_service_name, prefix};
use crate::dialect::{Findings, selectors};
use crate::rule::{Action, Peer, PortMatch, PortSet, Ports, Scope, Transport};
use crate::selector::{NAMESPACE, NAMESPACE_LABELS, Requirement, Selector, Test};
use custom_resources::cluster_network_policy::{
    ClusterEgressPeer, PodsOrNamespaces, PortMatch as Written, ProtocolMatch,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Pods, by the labels of their namespaces and their own.
pub(super) fn pods(peer: &PodsOrNamespaces, field: &str, findings: &mut Findings) -> Option<Selector> {
    match (&peer.namespaces, &peer.pods) {
        (Some(namespaces), None) => {
            Some(of_namespaces(namespaces, &format!("{field}.namespaces"), Vec::new(), findings))
        }
        (None, Some(pods)) => {
            let own = format!("{field}.pods.podSelector");
            let own = selectors::requirements(&pods.pod_selector, &own, |key| format!("k8s:{key}"), findings);
            Some(of_namespaces(&pods.namespace_selector, &format!("{field}.pods.namespaceSelector"), own, findings))
        }
        _ => None,
    }
}

/// Only Pods have a namespace, so asking for one keeps an empty selector from meaning nodes and the world.
fn of_namespaces(
    selector: &LabelSelector,
    field: &str,
    mut all: Vec<Requirement>,
    findings: &mut Findings,
) -> Selector {
    all.extend(selectors::requirements(selector, field, |key| format!("{NAMESPACE_LABELS}{key}"), findings));
    all.push(Requirement { key: NAMESPACE.into(), test: Test::Exists });
    Selector::new(all)
}

pub(super) fn peer(peer: ClusterPeer<'_>, action: Action, field: &str, findings: &mut Findings) -> Option<Vec<Peer>> {
    let found = match peer {
        ClusterPeer::From(peer) => pods(peer, field, findings).map(|selector| vec![Peer::Endpoints(selector)]),
        ClusterPeer::To(peer) => to(peer, action, field, findings),
    };
    if found.is_none() {
        findings.gap(
            field,
            "is no peer that is known here: an Accept of it matches nothing, a Deny or Pass denies everything",
        );
    }
    found
}

fn to(peer: &ClusterEgressPeer, action: Action, field: &str, findings: &mut Findings) -> Option<Vec<Peer>> {
    let is_there = [
        peer.namespaces.is_some(),
        peer.pods.is_some(),
        peer.nodes.is_some(),
        peer.networks.is_some(),
        peer.domain_names.is_some(),
    ];
    if is_there.iter().filter(|one| **one).count() != 1 {
        return None;
    }
    if let Some(selector) = &peer.nodes {
        return Some(vec![Peer::Nodes(selectors::kubernetes(selector, &format!("{field}.nodes"), findings))]);
    }
    if let Some(networks) = &peer.networks {
        let nets = networks.iter().enumerate();
        let nets = nets.filter_map(|(index, text)| prefix(text, &format!("{field}.networks[{index}]"), findings));
        return Some(nets.map(|net| Peer::Cidr { net, except: Vec::new(), scope: Scope::Everyone }).collect());
    }
    if peer.domain_names.is_some() {
        let place = format!("{field}.domainNames");
        if action == Action::Allow {
            findings.gap(place, "names are not enforced yet: they are not accepted by this");
        } else {
            findings.mistake(place, "may only be accepted: write networks, or Accept");
        }
        return Some(Vec::new());
    }
    let pods_or_namespaces = PodsOrNamespaces { namespaces: peer.namespaces.clone(), pods: peer.pods.clone() };
    pods(&pods_or_namespaces, field, findings).map(|selector| vec![Peer::Endpoints(selector)])
}

pub(super) fn ports(protocols: Option<&[ProtocolMatch]>, field: &str, findings: &mut Findings) -> Option<Ports> {
    let Some(protocols) = protocols else { return Some(Ports::Any) };
    if protocols.is_empty() {
        findings.mistake(format!("{field}.protocols"), "is empty: leave it out to mean every protocol");
    }
    let mut all = Vec::new();
    let mut understood = true;
    for (index, protocol) in protocols.iter().enumerate() {
        let place = format!("{field}.protocols[{index}]");
        match one(protocol, &place, findings) {
            Some(matched) => all.push(matched),
            None => {
                understood = false;
                findings.gap(place, "is no protocol that is known here: an Accept of it matches nothing, a Deny or Pass denies everything");
            }
        }
    }
    understood.then_some(Ports::OneOf(all))
}

fn one(protocol: &ProtocolMatch, place: &str, findings: &mut Findings) -> Option<PortMatch> {
    let (name, transport, ports) =
        match (&protocol.tcp, &protocol.udp, &protocol.sctp, &protocol.destination_named_port) {
            (Some(tcp), None, None, None) => ("tcp", Transport::Tcp, tcp),
            (None, Some(udp), None, None) => ("udp", Transport::Udp, udp),
            (None, None, Some(sctp), None) => ("sctp", Transport::Sctp, sctp),
            (None, None, None, Some(name)) => {
                if !is_service_name(name) {
                    let text =
                        format!("is {name:?}: write a container port's name (letters, digits, dashes; 15 at most)");
                    findings.mistake(format!("{place}.destinationNamedPort"), text);
                }
                return Some(PortMatch::Port(Transport::Any, PortSet::Named(name.as_str().into())));
            }
            _ => return None,
        };
    let set = match &ports.destination_port {
        None => PortSet::All,
        Some(port) => range(port, &format!("{place}.{name}.destinationPort"), findings)?,
    };
    Some(PortMatch::Port(transport, set))
}

fn range(port: &Written, place: &str, findings: &mut Findings) -> Option<PortSet> {
    let mut number = |value: i32, field: &str| match u16::try_from(value) {
        Ok(number) if number > 0 => number,
        _ => {
            findings.mistake(format!("{place}.{field}"), format!("is {value}: write a number from 1 to 65535"));
            0
        }
    };
    match (port.number, port.range) {
        (Some(one), None) => {
            let one = number(one, "number");
            Some(PortSet::Range(one, one))
        }
        (None, Some(range)) => {
            let (start, end) = (number(range.start, "range.start"), number(range.end, "range.end"));
            if range.start >= range.end {
                findings
                    .mistake(format!("{place}.range.end"), format!("is {}: write a greater one than start", range.end));
            }
            Some(PortSet::Range(start, end.max(start)))
        }
        _ => None,
    }
}
