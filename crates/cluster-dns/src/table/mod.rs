//! What the API has told, in the form in which it is asked for. One change costs what that object has, not what there is.

mod facts;
mod lookup;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use hickory_proto::rr::Name;

pub use facts::{Facts, Key, Port, SliceFacts, pod_addresses, service_facts, slice_facts};
pub use records::{Found, TTL, address, soa};

/// Everything that the zone says, and where it says it.
#[derive(Debug)]
pub struct Table {
    zone: Name,
    /// Addresses of this server, for the zone's NS record.
    servers: Vec<IpAddr>,
    services: BTreeMap<Key, Entry>,
    /// Which Service a slice belongs to.
    slices: HashMap<Key, Key>,
    /// Pods by namespace and address: two may claim one, on the host network.
    pods: BTreeMap<(String, IpAddr), BTreeSet<String>>,
    pod_addresses: HashMap<Key, Vec<IpAddr>>,
    /// The names that an address stands for.
    reverse: BTreeMap<IpAddr, BTreeSet<Name>>,
    /// Grows with every change: the zone's serial number.
    serial: u32,
}

/// A Service and the slices that name it; either may come first.
#[derive(Debug, Default)]
struct Entry {
    facts: Option<Facts>,
    slices: BTreeMap<String, SliceFacts>,
}

impl Table {
    /// An empty zone.
    pub fn new(zone: Name, servers: Vec<IpAddr>) -> Self {
        Self {
            zone,
            servers,
            services: BTreeMap::new(),
            slices: HashMap::new(),
            pods: BTreeMap::new(),
            pod_addresses: HashMap::new(),
            reverse: BTreeMap::new(),
            serial: 1,
        }
    }

    /// The cluster's domain.
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// Grows with every change.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether anything below this network's addresses has a name.
    pub fn names_within(&self, network: ipnet::IpNet) -> bool {
        self.reverse.range(network.network()..=network.broadcast()).next().is_some()
    }

    /// The names of an address.
    pub fn names_of(&self, address: IpAddr) -> impl Iterator<Item = &Name> {
        self.reverse.get(&address).into_iter().flatten()
    }

    /// A Service as it is now; `None` when it is gone.
    pub fn set_service(&mut self, key: Key, facts: Option<Facts>) {
        self.change(key, |entry| entry.facts = facts);
    }

    /// An EndpointSlice as it is now; `None` when it is gone, or names no Service.
    pub fn set_slice(&mut self, key: Key, facts: Option<(String, SliceFacts)>) {
        let before = self.slices.remove(&key);
        let now = facts.as_ref().map(|(service, _)| Key::new(&key.namespace, service));
        if let Some(before) = before.filter(|before| Some(before) != now.as_ref()) {
            self.change(before, |entry| drop(entry.slices.remove(&key.name)));
        }
        if let (Some(service), Some((_, facts))) = (now, facts) {
            self.slices.insert(key.clone(), service.clone());
            self.change(service, |entry| drop(entry.slices.insert(key.name, facts)));
        }
    }

    /// A Pod's addresses as they are now; none when it is gone or has ended.
    pub fn set_pod(&mut self, key: Key, addresses: Vec<IpAddr>) {
        if self.pod_addresses.get(&key).is_none_or(Vec::is_empty) && addresses.is_empty() {
            return;
        }
        for address in self.pod_addresses.remove(&key).unwrap_or_default() {
            let place = (key.namespace.clone(), address);
            if let Some(names) = self.pods.get_mut(&place) {
                names.remove(&key.name);
                if names.is_empty() {
                    self.pods.remove(&place);
                }
            }
        }
        for address in &addresses {
            self.pods.entry((key.namespace.clone(), *address)).or_default().insert(key.name.clone());
        }
        if !addresses.is_empty() {
            self.pod_addresses.insert(key, addresses);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Changes one Service's entry, and the reverse names with it.
    fn change(&mut self, key: Key, change: impl FnOnce(&mut Entry)) {
        for (address, name) in self.reverse_of(&key) {
            if let Some(names) = self.reverse.get_mut(&address) {
                names.remove(&name);
                if names.is_empty() {
                    self.reverse.remove(&address);
                }
            }
        }
        let entry = self.services.entry(key.clone()).or_default();
        change(entry);
        if entry.facts.is_none() && entry.slices.is_empty() {
            self.services.remove(&key);
        }
        for (address, name) in self.reverse_of(&key) {
            self.reverse.entry(address).or_default().insert(name);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// §2.3.3 and §2.4.3: the PTR records of one Service.
    fn reverse_of(&self, key: &Key) -> Vec<(IpAddr, Name)> {
        let Some(entry) = self.services.get(key) else { return Vec::new() };
        match &entry.facts {
            Some(Facts::Cluster { addresses, .. }) => {
                let name = self.service_name(key);
                addresses.iter().filter_map(|address| Some((*address, name.clone()?))).collect()
            }
            Some(Facts::Headless { publish_not_ready }) => entry
                .endpoints(*publish_not_ready)
                .filter_map(|endpoint| Some((endpoint.address, self.endpoint_name(key, &endpoint.label())?)))
                .collect(),
            Some(Facts::External(_)) | None => Vec::new(),
        }
    }

    /// `<service>.<ns>.svc.<zone>`; `None` for what is too long to be a name.
    fn service_name(&self, key: &Key) -> Option<Name> {
        Name::from_labels([key.name.as_bytes(), key.namespace.as_bytes(), b"svc"]).ok()?.append_domain(&self.zone).ok()
    }

    /// `<hostname>.<service>.<ns>.svc.<zone>`.
    fn endpoint_name(&self, key: &Key, hostname: &str) -> Option<Name> {
        self.service_name(key)?.prepend_label(hostname.as_bytes()).ok()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
