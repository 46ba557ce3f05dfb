//! Names of what has an address, as far as this node knows them.
//!
//! They are made anew now and then, as a whole; what an event was given out of them stays as it was. What many events share is
//! behind a pointer, so that naming one copies no text.

use datapath_layouts::Address;
use datapath_layouts::policy::Direction;
use foldhash::fast::RandomState;
use model::{Labels, NodeName, ObjectName, Workload};
use policy::told::Named;
use std::sync::Arc;

/// Asked several times for each event, and only about what this node has put in itself.
pub type Table<K, V> = std::collections::HashMap<K, V, RandomState>;

/// Names by address, and of rules.
#[derive(Debug, Default)]
pub struct Names {
    /// This node.
    pub here: Arc<Here>,
    /// Who has an address: Pods, local ones and those behind Services, nodes and Services.
    pub who: Table<Address, Arc<Who>>,
    /// Services, by address, port and protocol number. NodePorts have the family's wildcard.
    pub services: Table<(Address, u16, u8), Arc<ObjectName>>,
    /// Rules of policies, by their number in the maps.
    pub rules: Table<u32, Arc<RuleFacts>>,
    /// Policies by which an identity's direction has default deny; only of this node's Pods.
    pub default_deny: Table<(u32, Direction), Arc<Vec<Named>>>,
    /// Labels of allocated identities.
    pub labels: Table<u32, Labels>,
    /// Who is in a network namespace of this node, by its cookie: a socket may be refused before it has an address.
    pub callers: Table<u64, Caller>,
    /// Devices by their index.
    pub devices: Table<u32, Arc<str>>,
}

/// The node that sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its name.
    pub name: NodeName,
    /// Its own labels, `key=value`.
    pub labels: Vec<String>,
}

impl Default for Here {
    fn default() -> Self {
        Self { name: "".into(), labels: Vec::new() }
    }
}

/// Whose an address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The Pod.
    pub pod: Option<ObjectName>,
    /// What it belongs to, if that was told.
    pub workload: Option<Arc<Workload>>,
    /// The node.
    pub node: Option<NodeName>,
    /// Its endpoint's number, if it is one of this node's.
    pub endpoint: Option<u32>,
    /// A Service is asked at it.
    pub is_service: bool,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFacts {
    /// Its name.
    pub name: Named,
    /// What it looks at, as Hubble's match type.
    pub match_type: u32,
    /// What its policy's verdicts are to be told with.
    pub log: Option<Arc<str>>,
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
    /// Of a node that knows nobody yet.
    #[must_use]
    pub fn of_node(name: NodeName) -> Self {
        Self { here: Arc::new(Here { name, labels: Vec::new() }), ..Self::default() }
    }

    /// The Service that an address and port mean: exactly, or as a NodePort of a node.
    #[must_use]
    pub fn service(&self, address: Address, port: u16, protocol: u8) -> Option<&Arc<ObjectName>> {
        self.service_of(self.who.get(&address).map(|who| &**who), address, port, protocol)
    }

    /// The same, where it is known whose the address is: most are no Service's.
    #[must_use]
    pub fn service_of(&self, who: Option<&Who>, address: Address, port: u16, protocol: u8) -> Option<&Arc<ObjectName>> {
        let who = who?;
        let exact = who.is_service.then(|| self.services.get(&(address, port, protocol))).flatten();
        let any = if address.is_v4() { Address::V4_ANY } else { Address::ZERO };
        exact.or_else(|| who.node.as_ref().and_then(|_| self.services.get(&(any, port, protocol))))
    }
}
