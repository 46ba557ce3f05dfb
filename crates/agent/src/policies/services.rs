//! Services as policies see them. Of most nothing is kept but what they say of themselves; only while a policy names
//! Services are they put together with their addresses, and then one change costs as much as that change.

use super::{Kind, changed};
use crate::watched::{Told, Watched};
use model::ObjectName;
use policy::dialect::references::ServiceFacts;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// All Services, and which objects name any.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Without their addresses.
    known: Watched<ObjectName, ServiceFacts>,
    /// Of those without a selector.
    addresses: BTreeMap<ObjectName, Vec<IpAddr>>,
    naming: BTreeSet<(Kind, ObjectName)>,
    /// What was put together holds, but for these.
    following: bool,
    touched: BTreeSet<ObjectName>,
    /// Something is different since the objects were read.
    different: bool,
}

/// By namespace and name, as policies name them.
pub(super) type References = BTreeMap<(String, String), ServiceFacts>;

impl Services {
    /// Takes what was told; answers with those of which something is different.
    pub fn take(&mut self, told: Told<ObjectName, ServiceFacts>) -> Vec<ObjectName> {
        changed(&mut self.known, told)
    }

    pub fn is_synced(&self) -> bool {
        self.known.is_synced()
    }

    /// A Service, or its addresses, may be different.
    pub fn refer(&mut self, name: &ObjectName, addresses: impl Iterator<Item = IpAddr>) {
        if self.known.get(name).is_some_and(|facts| facts.selector.is_empty()) {
            let mut addresses: Vec<IpAddr> = addresses.collect();
            addresses.sort_unstable();
            addresses.dedup();
            self.addresses.insert(name.clone(), addresses);
        } else {
            self.addresses.remove(name);
        }
        if self.following {
            self.touched.insert(name.clone());
        }
    }

    /// Whether an object names Services.
    pub fn note(&mut self, object: (Kind, ObjectName), names_services: bool) {
        if names_services {
            self.naming.insert(object);
        } else {
            self.naming.remove(&object);
        }
    }

    /// Brings what policies see up to date; nothing, while none of them looks.
    pub fn follow(&mut self, seen: &mut References) {
        if self.naming.is_empty() {
            seen.clear();
            self.touched.clear();
            (self.following, self.different) = (false, false);
            return;
        }
        if !std::mem::replace(&mut self.following, true) {
            self.touched = self.known.keys().cloned().collect();
        }
        for name in std::mem::take(&mut self.touched) {
            let key = (name.namespace.to_string(), name.name.to_string());
            let now = self.known.get(&name).map(|facts| ServiceFacts {
                addresses: self.addresses.get(&name).cloned().unwrap_or_default(),
                ..facts.clone()
            });
            if seen.get(&key) != now.as_ref() {
                match now {
                    Some(facts) => drop(seen.insert(key, facts)),
                    None => drop(seen.remove(&key)),
                }
                self.different = true;
            }
        }
    }

    /// The objects that name Services, if any of these is different since the last call.
    pub fn take_changed(&mut self) -> Vec<(Kind, ObjectName)> {
        if std::mem::take(&mut self.different) { self.naming.iter().cloned().collect() } else { Vec::new() }
    }
}
