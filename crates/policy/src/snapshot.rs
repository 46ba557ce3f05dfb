//! All that verdicts hang on, as somebody knows it at one time: an agent of its cluster, or a command of some files.

use crate::dialect::references::{CidrGroup, References, ServiceFacts};
use crate::plan::usual_number;
use crate::reference::World;
use crate::rule::{Origin, Policy};
use crate::subject::{IdentityFacts, NodeFacts};
use datapath_layouts::identity;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A state of everything. In JSON it is what an agent answers to `GET /v1/policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Who tells it: the node's name; empty for files.
    pub node: Box<str>,
    /// Every policy that is in force, in audit too.
    pub policies: Vec<Policy>,
    /// Every identity, the reserved ones as this node sees them.
    pub identities: Vec<IdentityFacts>,
    /// Every node.
    pub nodes: Vec<NodeFacts>,
    /// Addresses of API servers, on nodes or outside.
    pub api_servers: Vec<IpAddr>,
    /// Prefixes of Pods' addresses, over all nodes; empty = not known.
    pub pod_ranges: Vec<IpNet>,
    /// Every Pod that has an identity.
    pub pods: Vec<PodFacts>,
    /// What policies may name.
    pub services: Vec<NamedService>,
    /// The same: by name.
    pub cidr_groups: Vec<(String, CidrGroup)>,
    /// The rules that the node's maps name, by number.
    pub rules: Vec<RuleName>,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its identity.
    pub identity: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Name of its node, where that is known.
    pub node: Option<Box<str>>,
}

/// A Service and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What of it counts.
    pub facts: ServiceFacts,
}

/// A rule's number in the maps, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleName {
    /// The number.
    pub number: u32,
    /// The policy.
    pub policy: Origin,
    /// Path in the object.
    pub field: Box<str>,
}

impl Snapshot {
    /// For the judge.
    #[must_use]
    pub fn world(&self) -> World<'_> {
        World { policies: &self.policies, identities: &self.identities, nodes: &self.nodes }
    }

    /// For reading policies.
    #[must_use]
    pub fn references(&self) -> References {
        let services =
            self.services.iter().map(|one| ((one.namespace.clone(), one.name.clone()), one.facts.clone())).collect();
        References { services, cidr_groups: self.cidr_groups.iter().cloned().collect() }
    }

    /// What policies may name, from where it is looked up.
    pub fn set_references(&mut self, references: &References) {
        self.services = references
            .services
            .iter()
            .map(|((namespace, name), facts)| NamedService {
                namespace: namespace.clone(),
                name: name.clone(),
                facts: facts.clone(),
            })
            .collect();
        self.cidr_groups = references.cidr_groups.iter().map(|(name, group)| (name.clone(), group.clone())).collect();
    }

    /// The number of a node that has these addresses, to another node.
    #[must_use]
    pub fn node_identity(&self, addresses: &[IpAddr]) -> u32 {
        let runs_api_server = addresses.iter().any(|address| self.api_servers.contains(address));
        if runs_api_server { identity::NODE_OF_API_SERVER } else { identity::REMOTE_NODE }
    }

    /// A node as policies about nodes select it, and as its own Pods see it.
    #[must_use]
    pub fn host(&self, node: &NodeFacts) -> IdentityFacts {
        IdentityFacts::host(&node.labels, self.node_identity(&node.addresses) == identity::NODE_OF_API_SERVER)
    }

    /// An identity by its number.
    #[must_use]
    pub fn identity(&self, number: u32) -> Option<&IdentityFacts> {
        self.identities.iter().find(|facts| facts.number == number)
    }

    /// The rule with this number: as this node's maps have it, or as those of others would.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<RuleName> {
        let own = self.rules.iter().find(|rule| rule.number == number);
        own.cloned().or_else(|| {
            let all =
                self.policies.iter().flat_map(|policy| policy.rules.iter().map(move |rule| (&policy.origin, rule)));
            let (policy, rule) = all.into_iter().find(|(origin, rule)| usual_number(origin, rule) == number)?;
            Some(RuleName { number, policy: policy.clone(), field: rule.field.clone() })
        })
    }
}
