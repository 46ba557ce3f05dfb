//! Names of what has an address, as far as this node knows them: for people who read events.

use crate::workload::Workload;
use datapath_layouts::Address;
use datapath_layouts::policy::Direction;
use model::{Labels, NodeName, ObjectName};
use policy::told::Named;
use std::collections::HashMap;

/// Names by address, and of rules.
#[derive(Debug, Default)]
pub struct Names {
    /// Pods: local ones, and those behind Services.
    pub pods: HashMap<Address, ObjectName>,
    /// Services, by address, port and protocol number. NodePorts have the family's wildcard.
    pub services: HashMap<(Address, u16, u8), ObjectName>,
    /// Nodes.
    pub nodes: HashMap<Address, NodeName>,
    /// Rules of policies, by their number in the maps.
    pub rules: HashMap<u32, Named>,
    /// Policies by which an identity's direction has default deny; only of this node's Pods.
    pub default_deny: HashMap<(u32, Direction), Vec<Named>>,
    /// Labels of allocated identities.
    pub labels: HashMap<u32, Labels>,
    /// What this node's Pods belong to.
    pub workloads: HashMap<ObjectName, Workload>,
    /// Numbers of this node's endpoints.
    pub endpoint_ids: HashMap<Address, u32>,
    /// Who is in a network namespace of this node, by its cookie: a socket may be refused before it has an address.
    pub callers: HashMap<u64, Caller>,
    /// Devices by their index.
    pub devices: HashMap<u32, String>,
    /// This node's own labels, `key=value`.
    pub node_labels: Vec<String>,
    /// What a rule looks at, as Hubble's match type.
    pub match_types: HashMap<u32, u32>,
}

/// Whose sockets those of a network namespace are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Its identity.
    pub identity: u32,
}

impl Names {
    /// The Service that an address and port mean: exactly, or as a NodePort of a node.
    #[must_use]
    pub fn service(&self, address: Address, port: u16, protocol: u8) -> Option<&ObjectName> {
        let exact = self.services.get(&(address, port, protocol));
        exact.or_else(|| {
            self.nodes.get(&address)?;
            let any = if address.is_v4() { Address::V4_ANY } else { Address::ZERO };
            self.services.get(&(any, port, protocol))
        })
    }
}
