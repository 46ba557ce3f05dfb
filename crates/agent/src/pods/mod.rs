//! Pods of this node: their entries in `endpoints` and the programs on their links.

mod adapter;
mod plan;

pub use adapter::{Adapter, local_pod};
pub use plan::{LocalPod, entries, policy_id, stale};

use crate::collector::Handle;
use crate::error::Error;
use crate::table::Table;
use datapath_layouts::{Address, AddressKey, Endpoint, identity};
use model::ObjectName;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Programs on the links of Pods.
pub trait Programs: Send + Sync {
    /// Attaches to the host side of a Pod's link; what is attached already stays.
    fn attach(&self, interface: &str, index: u32) -> Result<(), Error>;
    /// Detaches and removes the pins; what is not there is no error.
    fn detach(&self, interface: &str) -> Result<(), Error>;
    /// Whether the programs are attached.
    fn is_attached(&self, interface: &str) -> bool;
    /// Links that have pinned programs, by name.
    fn attached(&self) -> Result<Vec<String>, Error>;
}

/// The Pods of this node. Cheap to share; calls are short.
pub struct Pods {
    endpoints: Box<dyn Table<AddressKey, Endpoint>>,
    programs: Arc<dyn Programs>,
    collector: Handle,
    known: Mutex<BTreeMap<String, LocalPod>>,
    /// Told to nobody yet.
    news: Mutex<Vec<News>>,
}

/// What became of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is part of the datapath now.
    Came(LocalPod),
    /// It was.
    Went(LocalPod),
}

impl Pods {
    /// No Pods yet.
    #[must_use]
    pub fn new(
        endpoints: Box<dyn Table<AddressKey, Endpoint>>,
        programs: Arc<dyn Programs>,
        collector: Handle,
    ) -> Self {
        Self { endpoints, programs, collector, known: Mutex::default(), news: Mutex::default() }
    }

    /// Makes a Pod's link part of the datapath. To be called while the link is down: the programs are there before the
    /// first packet, and the entries before anybody can be answered. Calling it again changes nothing.
    ///
    /// # Errors
    /// When a map or the kernel refuses; then nothing of the Pod is left.
    pub fn attach(&self, pod: LocalPod) -> Result<(), Error> {
        let mut known = self.lock();
        let interface = pod.interface.clone();
        let before = known.get(&interface).cloned();
        let joined = self.join(&mut known, pod);
        let now = known.get(&interface);
        let number = |pod: Option<&LocalPod>| pod.map(|pod| pod.id);
        if number(before.as_ref()) != number(now) {
            self.tell(before.map(News::Went).into_iter().chain(now.cloned().map(News::Came)));
        }
        joined
    }

    fn join(&self, known: &mut BTreeMap<String, LocalPod>, mut pod: LocalPod) -> Result<(), Error> {
        pod.id = self.number(known, &pod)?;
        if pod.identity == identity::INIT {
            // Who an earlier agent was told it is, it still is.
            pod.identity = self.pinned(&pod)?.map_or(identity::INIT, |entry| entry.identity);
        }
        let interface = pod.interface.clone();
        let result = self.programs.attach(&interface, pod.index).and_then(|()| self.write(&pod));
        if let Err(error) = result {
            known.remove(&interface);
            // The first error is the one to tell; what can't be undone now is found by the next start's sweep.
            if let Err(second) = self.remove(&interface, &pod.addresses) {
                tracing::warn!("undoing the attachment of {interface}: {}", crate::error::chain(&second));
            }
            return Err(error);
        }
        known.insert(interface, pod);
        Ok(())
    }

    /// Writes who the Pods are and whose policy they have, where it differs, and nothing else of them. Answers with those that are somebody else now.
    ///
    /// # Errors
    /// When the map refuses; the next call goes on from there.
    pub fn identify(&self, number: impl Fn(&ObjectName) -> Option<u32>) -> Result<Vec<LocalPod>, Error> {
        let mut changed = Vec::new();
        for pod in self.lock().values_mut() {
            let Some(new) = pod.name.as_ref().and_then(&number).filter(|new| *new != pod.identity) else { continue };
            for address in &pod.addresses {
                let key = AddressKey::local(Address::from_ip(*address));
                if let Some(entry) = self.endpoints.get(&key)? {
                    self.endpoints.insert(&key, &Endpoint { identity: new, policy_id: policy_id(new), ..entry })?;
                }
            }
            pod.identity = new;
            changed.push(pod.clone());
        }
        Ok(changed)
    }

    /// Takes a Pod out: nobody delivers to it any more, then its programs, then its flows. Calling it again is no error.
    ///
    /// # Errors
    /// When a map or the kernel refuses; everything was tried nevertheless. It stays known, so that who calls again need not know
    /// its addresses.
    pub fn detach(&self, interface: &str, addresses: &[IpAddr]) -> Result<(), Error> {
        let mut known = self.lock();
        let mut all = addresses.to_vec();
        if let Some(pod) = known.get(interface) {
            all.extend(&pod.addresses);
        }
        all.sort_unstable();
        all.dedup();
        self.remove(interface, &all)?;
        if let Some(pod) = known.remove(interface) {
            self.tell([News::Went(pod)]);
        }
        Ok(())
    }

    /// Whether a Pod's programs and entries are there.
    #[must_use]
    pub fn is_attached(&self, interface: &str, addresses: &[IpAddr]) -> bool {
        self.programs.is_attached(interface)
            && addresses.iter().all(|a| {
                let entry = self.endpoints.get(&AddressKey::local(Address::from_ip(*a)));
                entry.is_ok_and(|e| e.is_some_and(|e| e.ifindex != 0))
            })
    }

    /// At the start: takes over the Pods that are there, then removes entries and programs of those that are not.
    /// Answers with how many were as they should be already.
    ///
    /// # Errors
    /// When a map or the kernel refuses.
    pub fn adopt(&self, pods: Vec<LocalPod>) -> Result<usize, Error> {
        let mut adopted = 0;
        for pod in pods {
            adopted += usize::from(self.is_attached(&pod.interface, &pod.addresses));
            self.join(&mut self.lock(), pod)?;
        }
        let known = self.lock();
        for key in stale(&self.endpoints.entries()?, known.values()) {
            self.endpoints.remove(&key)?;
            self.collector.address(key.address);
        }
        for interface in self.programs.attached()?.iter().filter(|name| !known.contains_key(*name)) {
            self.programs.detach(interface)?;
        }
        Ok(adopted)
    }

    /// The Pods, in the order of their links' names.
    #[must_use]
    pub fn list(&self) -> Vec<LocalPod> {
        self.lock().values().cloned().collect()
    }

    /// The Pods that came and went since the last call. Those that were there at the start are no news.
    #[must_use]
    pub fn news(&self) -> Vec<News> {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the programs on a link are attached.
    #[must_use]
    pub fn has_programs(&self, interface: &str) -> bool {
        self.programs.is_attached(interface)
    }

    fn tell(&self, news: impl IntoIterator<Item = News>) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).extend(news);
    }

    fn write(&self, pod: &LocalPod) -> Result<(), Error> {
        for (key, endpoint) in entries(pod) {
            self.endpoints.insert(&key, &endpoint)?;
        }
        Ok(())
    }

    fn remove(&self, interface: &str, addresses: &[IpAddr]) -> Result<(), Error> {
        let mut result = Ok(());
        for address in addresses.iter().map(|a| Address::from_ip(*a)) {
            match self.endpoints.remove(&AddressKey::local(address)) {
                Ok(_) => self.collector.address(address),
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        result.and(self.programs.detach(interface))
    }

    /// The number that the map has for the Pod, so that it keeps it through restarts, or the next free one.
    fn number(&self, known: &BTreeMap<String, LocalPod>, pod: &LocalPod) -> Result<u32, Error> {
        if let Some(entry) = self.pinned(pod)? {
            return Ok(entry.id);
        }
        let taken = known.values().map(|p| p.id);
        let pinned = self.endpoints.entries()?;
        Ok(taken.chain(pinned.iter().map(|(_, e)| e.id)).max().unwrap_or(0).wrapping_add(1).max(1))
    }

    /// What the map says of this very link.
    fn pinned(&self, pod: &LocalPod) -> Result<Option<Endpoint>, Error> {
        for address in &pod.addresses {
            let entry = self.endpoints.get(&AddressKey::local(Address::from_ip(*address)))?;
            if let Some(entry) = entry.filter(|e| e.id != 0 && e.ifindex == pod.index) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LocalPod>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
