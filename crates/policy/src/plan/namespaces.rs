//! Namespaces and their numbers.

use crate::selector::{CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS};
use crate::subject::{IdentityFacts, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// A namespace that identities are in.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    pub number: u32,
    /// A Pod of it of which nothing else is known: by what matches it, whole namespaces are in one class.
    pub anybody: IdentityFacts,
    members: BTreeSet<u32>,
}

/// All of them, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespaces {
    all: BTreeMap<Box<str>, Namespace>,
    last: u32,
}

impl Namespaces {
    /// Hands out no number up to this one, except to whom had it.
    pub fn after(last: u32) -> Self {
        Self { all: BTreeMap::new(), last }
    }

    /// The number of an identity's namespace; 0 for what has none, and for other clusters', where the same name is
    /// another namespace. `had` is the number that the identity had in an earlier life.
    pub fn join(&mut self, facts: &IdentityFacts, had: Option<u32>) -> u32 {
        let Some(name) = name_of(facts) else { return 0 };
        if let Some(namespace) = self.all.get_mut(name) {
            namespace.members.insert(facts.number);
            return namespace.number;
        }
        let free = |number: &u32| *number != 0 && self.all.values().all(|other| other.number != *number);
        let number = had.filter(free).unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        let members = BTreeSet::from([facts.number]);
        self.all.insert(name.into(), Namespace { number, anybody: anybody_of(facts), members });
        number
    }

    /// An identity is no more.
    pub fn leave(&mut self, facts: &IdentityFacts) {
        let Some(name) = name_of(facts) else { return };
        if let Some(namespace) = self.all.get_mut(name) {
            namespace.members.remove(&facts.number);
            if namespace.members.is_empty() {
                self.all.remove(name);
            }
        }
    }

    pub fn of(&self, facts: &IdentityFacts) -> Option<&Namespace> {
        self.all.get(name_of(facts)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.all.values()
    }

    pub fn has_number(&self, number: u32) -> bool {
        self.all.values().any(|namespace| namespace.number == number)
    }
}

fn name_of(facts: &IdentityFacts) -> Option<&str> {
    if facts.kind == Kind::Pod { facts.namespace.as_deref() } else { None }
}

fn anybody_of(facts: &IdentityFacts) -> IdentityFacts {
    let shared = |key: &str| key == NAMESPACE || key == CLUSTER || key.starts_with(NAMESPACE_LABELS);
    let labels = facts.labels.iter().filter(|(key, _)| shared(key)).collect();
    IdentityFacts { number: 0, labels, namespace: facts.namespace.clone(), kind: facts.kind, named_ports: Vec::new() }
}

/// Somebody of a kind, of whom nothing else is known.
pub(super) fn anybody(kind: Kind) -> IdentityFacts {
    use datapath_layouts::identity as id;
    let number = match kind {
        Kind::Host => id::HOST,
        Kind::RemoteNode => id::REMOTE_NODE,
        Kind::WorldIpv4 => id::WORLD_IPV4,
        Kind::WorldIpv6 => id::WORLD_IPV6,
        Kind::ApiServer => id::KUBE_APISERVER,
        Kind::Unmanaged => id::UNMANAGED,
        Kind::Init => id::INIT,
        Kind::Health => id::HEALTH,
        Kind::Ingress => id::INGRESS,
        Kind::Unknown | Kind::Pod | Kind::RemotePod => id::UNKNOWN,
    };
    IdentityFacts::reserved(number).unwrap_or_else(|| IdentityFacts {
        number: 0,
        // In some namespace, whose name nobody can write.
        labels: Labels::from_iter([(NAMESPACE, "\0")]),
        namespace: None,
        kind,
        named_ports: Vec::new(),
    })
}
