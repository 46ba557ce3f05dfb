//! Nodes that no policy tells apart: neither those that select nodes, nor those that meet them as peers.

use super::groups::{Group, Tests};
use super::is_judged;
use crate::rule::{Entity, Peer, Peers, Policy};
use crate::selector::Selector;
use crate::snapshot::Snapshot;
use crate::subject::{IdentityFacts, NodeFacts};
use datapath_layouts::identity;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a node is where it is no remote one.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// As its own Pods' people know it: `its own node`, followed by which where policies tell nodes apart.
    pub name: String,
    /// As policies about nodes select it, and as its own Pods see it.
    pub facts: IdentityFacts,
}

/// Nodes by what selects them and where their addresses are.
pub(super) fn nodes(
    snapshot: &Snapshot,
    policies: &[&Policy],
    tests: &Tests<'_>,
    nets: &BTreeSet<IpNet>,
) -> Vec<Group> {
    let asked = Asked::of(policies);
    let mut found: BTreeMap<_, Group> = BTreeMap::new();
    for node in &snapshot.nodes {
        let of = |v4: bool| node.addresses.iter().find(|address| address.is_ipv4() == v4).copied();
        let addresses = [of(true), of(false)];
        let number = snapshot.node_identity(&node.addresses);
        let known = snapshot.identity(number).cloned();
        let Some(facts) = known.or_else(|| IdentityFacts::reserved(number)) else { continue };
        let own = snapshot.host(node);
        let look = (
            [&own, &facts].map(|facts| tests.results(policies, facts)),
            asked.results(node, number),
            addresses.map(|one| one.map(|a| nets.iter().map(|net| net.contains(&a)).collect::<Vec<_>>())),
        );
        let group = found.entry(look).or_insert_with(|| Group {
            name: format!("node {}", node.name),
            facts,
            judged: is_judged(policies.iter().copied(), &own),
            own: Some(Own { name: String::new(), facts: own }),
            addresses,
            pods: Vec::new(),
            nodes: Vec::new(),
            identities: Vec::new(),
        });
        group.nodes.push(node.name.to_string());
        if !group.identities.contains(&number) {
            group.identities.push(number);
        }
    }
    let only_one = found.len() == 1;
    let named = |mut group: Group| {
        if group.nodes.len() > 1 {
            group.name = format!("{} and {} more", group.name, group.nodes.len() - 1);
        }
        if let Some(own) = &mut group.own {
            own.name = if only_one { "its own node".to_owned() } else { format!("its own {}", group.name) };
        }
        group
    };
    found.into_values().map(named).collect()
}

/// API servers that are on no node.
pub(super) fn api_servers(snapshot: &Snapshot) -> Vec<Group> {
    let of_nodes: BTreeSet<IpAddr> = snapshot.nodes.iter().flat_map(|node| node.addresses.iter().copied()).collect();
    let number = identity::KUBE_APISERVER;
    let Some(facts) = snapshot.identity(number).cloned().or_else(|| IdentityFacts::reserved(number)) else {
        return Vec::new();
    };
    let outside: BTreeSet<IpAddr> =
        snapshot.api_servers.iter().filter(|address| !of_nodes.contains(address)).copied().collect();
    let group = |address: IpAddr| Group {
        name: format!("kube-apiserver {address}"),
        facts: facts.clone(),
        judged: false,
        own: None,
        addresses: if address.is_ipv4() { [Some(address), None] } else { [None, Some(address)] },
        pods: Vec::new(),
        nodes: Vec::new(),
        identities: vec![number],
    };
    outside.into_iter().map(group).collect()
}

/// What policies ask of nodes besides what they ask of everybody.
struct Asked<'a> {
    selectors: BTreeSet<&'a Selector>,
    for_api_servers: bool,
}

impl<'a> Asked<'a> {
    fn of(policies: &[&'a Policy]) -> Self {
        let mut asked = Self { selectors: BTreeSet::new(), for_api_servers: false };
        for rule in policies.iter().flat_map(|policy| &policy.rules) {
            let Peers::OneOf(peers) = &rule.peers else { continue };
            for peer in peers {
                match peer {
                    Peer::Nodes(selector) => drop(asked.selectors.insert(selector)),
                    Peer::Entity(Entity::KubeApiserver) => asked.for_api_servers = true,
                    _ => {}
                }
            }
        }
        asked
    }

    fn results(&self, node: &NodeFacts, number: u32) -> (Vec<bool>, bool) {
        let selected = self.selectors.iter().map(|selector| selector.matches(&node.labels)).collect();
        (selected, self.for_api_servers && number == identity::NODE_OF_API_SERVER)
    }
}
