//! Who is meant by `--from` and `--to`.

use super::port::{Port, Wanted};
use anyhow::{bail, ensure};
use datapath_layouts::identity;
use policy::prove::DEFAULT_CLUSTER;
use policy::selector::{CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT};
use policy::snapshot::{PodFacts, Snapshot};
use policy::subject::{IdentityFacts, Kind, NodeFacts};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One end of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// As people know it.
    pub name: String,
    /// What it is.
    pub who: Who,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Name of its node, where it has one.
    pub node: Option<String>,
    /// Port of a Service's endpoint.
    pub port: Option<u16>,
}

/// What an end is.
#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    /// A Pod with this number.
    Pod(u32),
    /// A node itself, and what uses its network.
    Node,
    /// Outside of the cluster.
    World,
    /// A Pod that does not exist, and would have these labels.
    Hypothetical(IdentityFacts),
}

/// The number of a Pod that does not exist.
pub const NOBODY: u32 = u32::MAX;

impl Place {
    fn pod(pod: &PodFacts) -> Self {
        Self {
            name: format!("{}/{}", pod.namespace, pod.name),
            who: Who::Pod(pod.identity),
            addresses: pod.addresses.clone(),
            node: pod.node.as_deref().map(str::to_owned),
            port: None,
        }
    }

    /// Who it is to a node, which may be its own.
    pub fn seen_by(&self, snapshot: &Snapshot, node: Option<&str>) -> Option<IdentityFacts> {
        let number = match &self.who {
            Who::Pod(number) => *number,
            Who::Node if self.node.as_deref() == node && node.is_some() => return self.own(snapshot),
            // It runs the API server if that is at any of its addresses, whichever was asked about.
            Who::Node => snapshot.node_identity(self.known(snapshot).map_or(&self.addresses, |node| &node.addresses)),
            Who::World if self.addresses.iter().any(|address| snapshot.api_servers.contains(address)) => {
                identity::KUBE_APISERVER
            }
            Who::World => match self.addresses.first() {
                Some(IpAddr::V6(_)) => identity::WORLD_IPV6,
                _ => identity::WORLD_IPV4,
            },
            Who::Hypothetical(facts) => return Some(facts.clone()),
        };
        snapshot.identity(number).cloned()
    }

    fn known<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a NodeFacts> {
        snapshot.nodes.iter().find(|node| Some(&*node.name) == self.node.as_deref())
    }

    /// A node to itself and to its own Pods: as its own agent has it, or else by its labels, as others know them.
    fn own(&self, snapshot: &Snapshot) -> Option<IdentityFacts> {
        let told = || snapshot.identity(identity::HOST).cloned();
        if self.node.as_deref() == Some(&*snapshot.node) {
            return told();
        }
        self.known(snapshot).map(|node| snapshot.host(node)).or_else(told)
    }
}

/// What somebody may name besides Pods.
pub struct Names<'a> {
    pub snapshot: &'a Snapshot,
    /// As given.
    pub namespace: Option<&'a str>,
}

impl Names<'_> {
    /// Everybody that is meant: an address, labels, a node, or a Pod. `None`: no Pod has the name.
    ///
    /// # Errors
    /// When the text can't be understood, or names a node that is not there.
    pub fn find(&self, text: &str) -> anyhow::Result<Option<Vec<Place>>> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Some(vec![self.by_address(address)]));
        }
        if let Some(name) = text.strip_prefix("node:") {
            return self.node(name).map(|place| Some(vec![place]));
        }
        if text.contains('=') {
            return self.by_labels(text).map(Some);
        }
        let (namespace, name) = self.split(text.strip_prefix("pod:").unwrap_or(text));
        let found = self.snapshot.pods.iter().find(|pod| *pod.namespace == *namespace && *pod.name == *name);
        Ok(found.map(|pod| vec![Place::pod(pod)]))
    }

    /// `[NAMESPACE/]NAME`.
    pub fn split(&self, text: &str) -> (String, String) {
        match text.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (self.namespace.unwrap_or("default").to_owned(), text.to_owned()),
        }
    }

    /// Whoever has the address.
    pub fn by_address(&self, address: IpAddr) -> Place {
        if let Some(pod) = self.snapshot.pods.iter().find(|pod| pod.addresses.contains(&address)) {
            return Place { addresses: vec![address], ..Place::pod(pod) };
        }
        let node = self.snapshot.nodes.iter().find(|node| node.addresses.contains(&address));
        Place {
            name: node.map_or_else(|| address.to_string(), |node| format!("node {}", node.name)),
            who: if node.is_some() { Who::Node } else { Who::World },
            addresses: vec![address],
            node: node.map(|node| node.name.to_string()),
            port: None,
        }
    }

    fn node(&self, name: &str) -> anyhow::Result<Place> {
        let Some(node) = self.snapshot.nodes.iter().find(|node| *node.name == *name) else {
            bail!("there is no node {name:?}")
        };
        Ok(Place {
            name: format!("node {name}"),
            who: Who::Node,
            addresses: node.addresses.clone(),
            node: Some(name.to_owned()),
            port: None,
        })
    }

    /// Pods with all of these labels; of those that are alike one per node. Where there is none: one that could come.
    fn by_labels(&self, text: &str) -> anyhow::Result<Vec<Place>> {
        let mut wanted = Vec::new();
        for part in text.split(',') {
            let Some((key, value)) = part.split_once('=') else {
                bail!("{part:?} is no label: write KEY=VALUE, several with commas")
            };
            ensure!(!key.is_empty(), "{part:?} has no key");
            let key = if key.contains(':') { key.to_owned() } else { format!("k8s:{key}") };
            wanted.push((key, value.to_owned()));
        }
        wanted.extend(self.namespace.map(|namespace| (NAMESPACE.to_owned(), namespace.to_owned())));
        let has_all = |facts: &IdentityFacts| {
            facts.kind == Kind::Pod && wanted.iter().all(|(key, value)| facts.labels.get(key) == Some(value))
        };
        let meant: BTreeSet<u32> =
            self.snapshot.identities.iter().filter(|facts| has_all(facts)).map(|facts| facts.number).collect();
        let mut seen = BTreeSet::new();
        let pods = self.snapshot.pods.iter().filter(|pod| meant.contains(&pod.identity));
        let places: Vec<Place> =
            pods.filter(|pod| seen.insert((pod.identity, pod.node.clone()))).map(Place::pod).collect();
        if !places.is_empty() {
            return Ok(places);
        }
        let facts = hypothetical(self.snapshot, &wanted);
        let name = format!("a Pod with {text} in {}", facts.namespace.as_deref().unwrap_or_default());
        let addresses = self.snapshot.pod_ranges.iter().filter_map(|range| range.hosts().nth(1)).collect::<Vec<_>>();
        let mut by_family = Vec::new();
        for v4 in [true, false] {
            by_family.extend(addresses.iter().find(|address| address.is_ipv4() == v4).copied());
        }
        Ok(vec![Place { name, who: Who::Hypothetical(facts), addresses: by_family, node: None, port: None }])
    }
}

/// What a Pod with these labels would be: the namespace's labels and the cluster are those of its neighbours.
fn hypothetical(snapshot: &Snapshot, wanted: &[(String, String)]) -> IdentityFacts {
    let given = |key: &str| wanted.iter().find(|(one, _)| one == key).map(|(_, value)| value.as_str());
    let namespace = given(NAMESPACE).unwrap_or("default").to_owned();
    let pods = || snapshot.identities.iter().filter(|facts| facts.kind == Kind::Pod);
    let neighbour = pods().find(|facts| facts.namespace.as_deref() == Some(&namespace));
    let mut labels: Vec<(String, String)> = Vec::new();
    match neighbour {
        Some(facts) => {
            let of_namespace = facts.labels.iter().filter(|(key, _)| key.starts_with(NAMESPACE_LABELS));
            labels.extend(of_namespace.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        None => labels.push((format!("{NAMESPACE_LABELS}kubernetes.io/metadata.name"), namespace.clone())),
    }
    let cluster = pods().find_map(|facts| facts.labels.get(CLUSTER)).unwrap_or(DEFAULT_CLUSTER);
    labels.push((CLUSTER.to_owned(), cluster.to_owned()));
    labels.push((SERVICE_ACCOUNT.to_owned(), "default".to_owned()));
    labels.push((NAMESPACE.to_owned(), namespace.clone()));
    labels.extend(wanted.iter().cloned());
    IdentityFacts {
        number: NOBODY,
        labels: labels.into_iter().collect::<Labels>(),
        namespace: Some(namespace.into()),
        kind: Kind::Pod,
        named_ports: Vec::new(),
    }
}

/// The number of a port that may have been given by its name.
///
/// # Errors
/// When the destination has no port of that name.
pub fn number_of(wanted: &Wanted, to: &Place, facts: Option<&IdentityFacts>) -> anyhow::Result<u16> {
    if let Some(port) = to.port {
        return Ok(port);
    }
    match &wanted.port {
        Port::Number(number) => Ok(*number),
        Port::Name(name) => {
            let ports = facts.map(|facts| &*facts.named_ports).unwrap_or_default();
            match ports.iter().find(|port| *port.name == **name && port.protocol == wanted.protocol) {
                Some(port) => Ok(port.port),
                None => bail!("{} has no port {wanted}", to.name),
            }
        }
    }
}
