//! Who is treated alike: identities (and Pods' addresses) that no policy tells apart.

use super::nodes::{Own, api_servers, nodes};
use super::regions::{prefixes, regions};
use crate::reference::governs;
use crate::rule::{Peer, Peers, Policy, PortMatch, PortSet, Ports};
use crate::selector::{CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT, Selector};
use crate::snapshot::Snapshot;
use crate::subject::{IdentityFacts, Kind, NamedPort};
use datapath_layouts::identity;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Ends of flows that every policy treats alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// As people know it: `shop: app=web`, `world 203.0.113.0/24`, `node worker-1`.
    pub name: String,
    /// One of them, as others see it; of a node, as those see it that are not on it.
    pub facts: IdentityFacts,
    /// Of nodes only: what one is to itself and to its own Pods.
    pub own: Option<Own>,
    /// Whether policies judge it: Pods always, nodes where one that people wrote is about them.
    pub judged: bool,
    /// An address of each family, IPv4 first.
    pub addresses: [Option<IpAddr>; 2],
    /// Pods, as `namespace/name`.
    pub pods: Vec<String>,
    /// Nodes, by name.
    pub nodes: Vec<String>,
    /// Identities.
    pub identities: Vec<u32>,
}

impl Group {
    /// Whether it is Pods.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.facts.kind == Kind::Pod
    }

    /// As policies select it, if they may be about it.
    #[must_use]
    pub fn subject(&self) -> Option<&IdentityFacts> {
        let own = self.own.as_ref().map(|own| &own.facts);
        own.or_else(|| self.is_pod().then_some(&self.facts))
    }

    /// What it is called by the other end: of a node with what it is to that one, in Cilium's words. `own`: to its own Pod.
    pub(super) fn called(&self, own: bool) -> String {
        let Some(node) = &self.own else { return self.name.clone() };
        let (name, facts) = if own { (&node.name, &node.facts) } else { (&self.name, &self.facts) };
        // Of several of which some only run the API server, no policy asks who does.
        let is_told = |word: &&str| self.identities.len() == 1 || *word != "kube-apiserver";
        let words = facts.labels.iter().filter_map(|(key, _)| key.strip_prefix("reserved:")).filter(is_told);
        // `host` and `remote-node` first: the API server is what it is besides.
        let mut words: Vec<&str> = words.collect();
        words.sort_unstable_by_key(|word| *word == "kube-apiserver");
        format!("{name} ({})", words.join(", "))
    }
}

/// What policies can tell of somebody: the results of their tests, named ports, and prefixes that hold the address of each family.
type Look = (Vec<bool>, Vec<NamedPort>, [Option<Vec<bool>>; 2]);

/// A Pod's name, if it is one, and its address of each family.
type Member = (Option<String>, [Option<IpAddr>; 2]);

/// Everybody there is, in groups that none of the policies tells apart. Pods without addresses (as in files) have an
/// assumed one of each family, in no prefix that is named or else in the Pods' own.
#[must_use]
pub fn groups(snapshot: &Snapshot, policies: &[&Policy]) -> Vec<Group> {
    let tests = Tests::of(policies);
    let nets = prefixes(policies.iter().copied());
    let held = |address: &IpAddr| -> Vec<bool> { nets.iter().map(|net| net.contains(address)).collect() };
    let mut by_what: BTreeMap<Look, Group> = BTreeMap::new();
    let mut members: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
    for pod in &snapshot.pods {
        let of = |v4: bool| pod.addresses.iter().find(|address| address.is_ipv4() == v4).copied();
        let name = Some(format!("{}/{}", pod.namespace, pod.name));
        members.entry(pod.identity).or_default().push((name, [of(true), of(false)]));
    }
    let assumed = assumed(snapshot);
    for facts in snapshot.identities.iter().filter(|facts| facts.kind == Kind::Pod) {
        let nobody = vec![(None, [None, None])];
        for (pod, addresses) in members.get(&facts.number).unwrap_or(&nobody) {
            let addresses = if *addresses == [None, None] { assumed } else { *addresses };
            let regions = addresses.map(|address| address.as_ref().map(held));
            let key = (tests.results(policies, facts), tests.names(facts), regions);
            let group = by_what.entry(key).or_insert_with(|| Group {
                name: String::new(),
                facts: facts.clone(),
                own: None,
                judged: true,
                addresses,
                pods: Vec::new(),
                nodes: Vec::new(),
                identities: Vec::new(),
            });
            group.pods.extend(pod.clone());
            if group.identities.last() != Some(&facts.number) {
                group.identities.push(facts.number);
            }
        }
    }
    let mut all: Vec<Group> = by_what.into_values().collect();
    for group in &mut all {
        group.name = describe(group, &snapshot.identities);
    }
    tell_apart(&mut all);
    all.extend(nodes(snapshot, policies, &tests, &nets));
    all.extend(api_servers(snapshot));
    // Nobody outside has the address of a node, of a known API server, or of a Pod.
    let taken: BTreeSet<IpAddr> =
        snapshot.nodes.iter().flat_map(|node| &node.addresses).chain(&snapshot.api_servers).copied().collect();
    let is_named = |address: &&IpAddr| nets.iter().any(|net| net.contains(*address));
    let taken_places = taken.iter().filter(is_named).map(|address| IpNet::from(*address));
    // So that what is left of a prefix without them is told, too.
    let ranges = snapshot.pod_ranges.iter().map(IpNet::trunc);
    let places: BTreeSet<IpNet> = nets.iter().copied().chain(taken_places).chain(ranges).collect();
    for (number, v4) in [(identity::WORLD_IPV4, true), (identity::WORLD_IPV6, false)] {
        let Some(facts) = snapshot.identity(number).cloned().or_else(|| IdentityFacts::reserved(number)) else {
            continue;
        };
        for region in regions(&places, v4) {
            let is_pod = snapshot.pod_ranges.iter().any(|range| range.contains(&region.address));
            if is_pod || taken.contains(&region.address) {
                continue;
            }
            let family = if v4 { "IPv4" } else { "IPv6" };
            let name = region.within.map_or_else(|| format!("world {family}"), |net| format!("world {net}"));
            let addresses = if v4 { [Some(region.address), None] } else { [None, Some(region.address)] };
            all.push(Group {
                name,
                facts: facts.clone(),
                own: None,
                judged: false,
                addresses,
                pods: vec![],
                nodes: vec![],
                identities: vec![number],
            });
        }
    }
    all.sort_by(|a, b| (a.facts.kind != Kind::Pod, &a.name).cmp(&(b.facts.kind != Kind::Pod, &b.name)));
    all
}

/// Groups may have the same labels, and differ by a prefix or a port: then each is named by its first Pod, too.
fn tell_apart(groups: &mut [Group]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for group in groups.iter() {
        *counts.entry(group.name.clone()).or_default() += 1;
    }
    for group in groups.iter_mut().filter(|group| counts[&group.name] > 1) {
        let first = group.pods.first().cloned().or_else(|| group.identities.first().map(ToString::to_string));
        group.name = format!("{} [like {}]", group.name, first.unwrap_or_default());
    }
}

/// Addresses of Pods of which none is known: of their ranges, or else of the families that nodes have.
fn assumed(snapshot: &Snapshot) -> [Option<IpAddr>; 2] {
    let of = |v4: bool| {
        let range = snapshot.pod_ranges.iter().find(|range| range.addr().is_ipv4() == v4);
        range.and_then(|range| range.hosts().nth(1))
    };
    match [of(true), of(false)] {
        [None, None] => {
            let (v4, v6) = (IpAddr::from([10, 244, 0, 2]), IpAddr::from([0xfd00, 0x10, 0x244, 0, 0, 0, 0, 2]));
            let has = |v4: bool| snapshot.nodes.iter().flat_map(|node| &node.addresses).any(|a| a.is_ipv4() == v4);
            [(has(true) || !has(false)).then_some(v4), has(false).then_some(v6)]
        }
        known => known,
    }
}

/// Everything by which policies tell identities apart.
pub(super) struct Tests<'a> {
    selectors: BTreeSet<&'a Selector>,
    names: BTreeSet<&'a str>,
}

impl<'a> Tests<'a> {
    fn of(policies: &[&'a Policy]) -> Self {
        let mut tests = Self { selectors: BTreeSet::new(), names: BTreeSet::new() };
        for rule in policies.iter().flat_map(|policy| &policy.rules) {
            if let Peers::OneOf(peers) = &rule.peers {
                for peer in peers {
                    if let Peer::Endpoints(selector) | Peer::OtherEndpoints(selector) = peer {
                        tests.selectors.insert(selector);
                    }
                }
            }
            if let Ports::OneOf(ports) = &rule.ports {
                for port in ports {
                    if let PortMatch::Port(_, PortSet::Named(name)) = port {
                        tests.names.insert(name);
                    }
                }
            }
        }
        tests
    }

    pub(super) fn results(&self, policies: &[&Policy], facts: &IdentityFacts) -> Vec<bool> {
        let subjects = policies.iter().map(|policy| governs(policy, facts));
        subjects.chain(self.selectors.iter().map(|selector| selector.matches(&facts.labels))).collect()
    }

    fn names(&self, facts: &IdentityFacts) -> Vec<NamedPort> {
        let mut named: Vec<NamedPort> =
            facts.named_ports.iter().filter(|port| self.names.contains(&*port.name)).cloned().collect();
        named.sort_unstable();
        named
    }
}

/// Namespace and the labels that all members have; of several namespaces all of them.
fn describe(group: &Group, identities: &[IdentityFacts]) -> String {
    let members: Vec<&IdentityFacts> =
        group.identities.iter().filter_map(|number| identities.iter().find(|facts| facts.number == *number)).collect();
    let namespaces: BTreeSet<&str> = members.iter().filter_map(|facts| facts.namespace.as_deref()).collect();
    let namespaces: Vec<&str> = namespaces.into_iter().collect();
    let common = members.first().map(|first| {
        let own = first.labels.iter().filter(|(key, _)| is_own(key));
        let shared = own.filter(|(key, value)| members.iter().all(|facts| facts.labels.get(key) == Some(value)));
        shared.map(|(key, value)| format!("{}={value}", key.trim_start_matches("k8s:"))).collect::<Vec<_>>()
    });
    let labels = common.unwrap_or_default();
    let labels = if labels.is_empty() { "any labels".to_owned() } else { labels.join(",") };
    format!("{}: {labels}", namespaces.join(","))
}

fn is_own(key: &str) -> bool {
    key != NAMESPACE && key != SERVICE_ACCOUNT && key != CLUSTER && !key.starts_with(NAMESPACE_LABELS)
}

/// Labels without those that the system gives, for people.
#[must_use]
pub fn own_labels(labels: &Labels) -> String {
    let own = labels.iter().filter(|(key, _)| is_own(key));
    own.map(|(key, value)| format!("{}={value}", key.trim_start_matches("k8s:"))).collect::<Vec<_>>().join(",")
}
