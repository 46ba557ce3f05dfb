//! What an end can be, and which selectors and entities mean it.

use super::formula::Formula;
use super::question::Ends;
use super::variables::{Side, Variables, of_kubernetes};
use crate::rule::Entity;
use crate::selector::{CLUSTER, Labels, Requirement, Selector, Test};
use crate::subject::{IdentityFacts, Kind};
use datapath_layouts::identity;

/// What an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A Pod of the cluster.
    Pod,
    /// The node of the other end.
    Host,
    /// Another node.
    RemoteNode,
    /// Somebody with a reserved number, about whom nothing else is to be known.
    Reserved(u32),
}

impl Sort {
    /// Everybody that an end can be, in one family.
    pub fn all(v4: bool) -> Vec<Self> {
        let world = if v4 { identity::WORLD_IPV4 } else { identity::WORLD_IPV6 };
        let reserved =
            [world, identity::KUBE_APISERVER, identity::UNMANAGED, identity::INIT, identity::HEALTH, identity::INGRESS];
        [Self::Pod, Self::Host, Self::RemoteNode].into_iter().chain(reserved.map(Self::Reserved)).collect()
    }

    pub const fn is_node(self) -> bool {
        matches!(self, Self::Host | Self::RemoteNode)
    }

    pub const fn is_world(self) -> bool {
        matches!(self, Self::Reserved(identity::WORLD_IPV4 | identity::WORLD_IPV6))
    }

    /// Whether its addresses are outside of the cluster.
    pub fn is_outside(self) -> bool {
        self.is_world() || self == Self::Reserved(identity::KUBE_APISERVER)
    }

    fn reserved(self) -> Option<IdentityFacts> {
        match self {
            Self::Reserved(number) => IdentityFacts::reserved(number),
            Self::Pod | Self::Host | Self::RemoteNode => None,
        }
    }
}

/// An end of a case.
#[derive(Clone, Copy)]
pub struct End<'a> {
    pub side: Side,
    pub sort: Sort,
    pub variables: &'a Variables,
    /// Name of the cluster.
    pub cluster: &'a str,
}

impl End<'_> {
    /// The same end as it sees itself: a node is *host* there.
    pub fn itself(self) -> Self {
        Self { sort: if self.sort.is_node() { Sort::Host } else { self.sort }, ..self }
    }

    /// Whether its labels are selected.
    pub fn selected(&self, selector: &Selector) -> Formula {
        Formula::all(selector.requirements().iter().map(|requirement| self.meets(requirement)))
    }

    fn meets(&self, requirement: &Requirement) -> Formula {
        let Requirement { key, test } = requirement;
        match self.sort {
            Sort::Pod => {
                let key = of_kubernetes(key);
                if key == CLUSTER {
                    let labels: Labels = [(CLUSTER, self.cluster)].into_iter().collect();
                    return Formula::Known(
                        Selector::new(vec![Requirement { key: key.into(), test: test.clone() }]).matches(&labels),
                    );
                }
                self.variables.label(self.side, &key, test)
            }
            Sort::Host | Sort::RemoteNode => {
                let positive = |key: &str, test: &Test| match key.strip_prefix("any:") {
                    Some(bare) => {
                        self.of_node(&format!("k8s:{bare}"), test).or(self.of_node(&format!("reserved:{bare}"), test))
                    }
                    None => self.of_node(key, test),
                };
                match test {
                    Test::In(_) | Test::Exists => positive(key, test),
                    Test::NotIn(values) => positive(key, &Test::In(values.clone())).not(&self.variables.sizes),
                    Test::DoesNotExist => positive(key, &Test::Exists).not(&self.variables.sizes),
                }
            }
            Sort::Reserved(_) => {
                let labels = self.sort.reserved().map(|facts| facts.labels).unwrap_or_default();
                Formula::Known(Selector::new(vec![requirement.clone()]).matches(&labels))
            }
        }
    }

    /// What is asked of a node's identity: its own labels are part of it on the node itself.
    fn of_node(&self, key: &str, test: &Test) -> Formula {
        let is_host = self.sort == Sort::Host;
        let present = match key {
            "reserved:host" => Formula::Known(is_host),
            "reserved:remote-node" => Formula::Known(!is_host),
            "reserved:kube-apiserver" => self.variables.runs_api(self.side),
            _ if key.starts_with("k8s:") && is_host => return self.variables.node_label(self.side, key, test),
            _ => Formula::FALSE,
        };
        match test {
            Test::Exists => present,
            // A reserved label has no value.
            Test::In(values) if values.iter().any(|value| value.is_empty()) => present,
            _ => Formula::FALSE,
        }
    }

    /// Whether it is a node whose labels are selected.
    pub fn is_node_with(&self, selector: &Selector) -> Formula {
        if !self.sort.is_node() {
            return Formula::FALSE;
        }
        let meets = |one: &Requirement| self.variables.node_label(self.side, &of_kubernetes(&one.key), &one.test);
        Formula::all(selector.requirements().iter().map(meets))
    }

    /// Whether the entity means it.
    pub fn is(&self, entity: Entity) -> Formula {
        let has = |name: &str| match self.sort {
            Sort::Pod => Formula::FALSE,
            Sort::Host | Sort::RemoteNode => self.of_node(&format!("reserved:{name}"), &Test::Exists),
            Sort::Reserved(_) => {
                let facts = self.sort.reserved();
                Formula::Known(facts.is_some_and(|facts| facts.labels.has(&format!("reserved:{name}"))))
            }
        };
        match entity {
            Entity::All => Formula::TRUE,
            Entity::None => Formula::FALSE,
            Entity::World => Formula::any(["world", "world-ipv4", "world-ipv6"].map(has)),
            Entity::WorldIpv4 => has("world-ipv4"),
            Entity::WorldIpv6 => has("world-ipv6"),
            Entity::Host => has("host"),
            Entity::Init => has("init"),
            Entity::Ingress => has("ingress"),
            Entity::Unmanaged => has("unmanaged"),
            Entity::RemoteNode => has("remote-node"),
            Entity::Health => has("health"),
            Entity::KubeApiserver => has("kube-apiserver"),
            Entity::Cluster if self.sort == Sort::Pod => Formula::TRUE,
            Entity::Cluster => {
                let all = ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"];
                Formula::any(all.map(has))
            }
        }
    }

    /// Whether a question's party means it.
    pub fn is_party(&self, party: &Ends) -> Formula {
        let pods = match (&party.pods, self.sort) {
            (None, _) => Formula::TRUE,
            (Some(selector), Sort::Pod) => self.selected(selector),
            (Some(_), _) => Formula::FALSE,
        };
        let entity = match party.entity.map(super::question::EntityName::entity) {
            None => Formula::TRUE,
            Some(None) => Formula::Known(self.sort == Sort::Pod),
            Some(Some(entity)) => self.is(entity),
        };
        let cidr = party
            .cidr
            .map_or(Formula::TRUE, |net| self.variables.address(self.side, |region| net.contains(&region.address)));
        Formula::all([pods, entity, cidr])
    }

    /// What it is for the reference evaluator.
    pub fn kind(&self) -> Kind {
        match self.sort {
            Sort::Pod => Kind::Pod,
            Sort::Host => Kind::Host,
            Sort::RemoteNode => Kind::RemoteNode,
            Sort::Reserved(_) => self.sort.reserved().map_or(Kind::Unknown, |facts| facts.kind),
        }
    }
}
