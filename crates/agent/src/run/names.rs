//! The names that events get.

use super::state::{NAMES, State};
use crate::services::{Caller, Names};
use crate::serving_flows;
use datapath_layouts::Address;
use datapath_layouts::identity::HOST;
use model::ObjectName;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

impl State {
    /// Names cost a walk over everything: only while somebody reads them, not for every change, and never more than a
    /// hundredth of the loop's time, so that in a large cluster changes don't wait for names.
    pub(super) fn freshen_names(&mut self) {
        let since = Instant::now();
        self.names_are_old |= self.departed.values().any(|(_, at)| since.duration_since(*at) > REMEMBERED);
        if !self.names_are_old || !self.parts.hub.is_heard() || since < self.names_due {
            return;
        }
        let mut names = Names { pods: self.pod_names(), ..Names::default() };
        let cookies: HashMap<String, u64> = self.parts.sockets.cookies().into_iter().collect();
        for pod in self.parts.pods.list() {
            let addresses: Vec<Address> = pod.addresses.iter().map(|address| Address::from_ip(*address)).collect();
            names.endpoint_ids.extend(addresses.iter().map(|address| (*address, pod.id)));
            names.devices.insert(pod.index, pod.interface.clone());
            if let Some(cookie) = cookies.get(&pod.interface) {
                names.callers.insert(*cookie, Caller { addresses, identity: pod.identity });
            }
        }
        let addresses = self.parts.own.addresses.iter().map(|address| Address::from_ip(*address)).collect();
        names.callers.insert(self.parts.choices.netns_cookie, Caller { addresses, identity: HOST });
        let facts = &self.parts.facts;
        names.devices.extend([&facts.network, &facts.overlay].map(|device| (device.index, device.name.clone())));
        names.node_labels = self.parts.own.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for node in self.nodes.values() {
            names.nodes.extend(node.addresses.iter().map(|a| (Address::from_ip(*a), node.name.clone())));
        }
        let by_id: BTreeMap<u32, _> = self.services.balancer().ports().map(|(key, id)| (id, &key.service)).collect();
        for (key, frontend) in self.services.balancer().tables().frontends() {
            if let Some(service) = by_id.get(&frontend.service_id) {
                names.services.insert((key.address, key.port, key.protocol), (*service).clone());
            }
        }
        self.policies.name_rules(&mut names);
        names.labels = self.identities.objects().map(|(number, labels)| (number, labels.clone())).collect();
        let workload = |pod: &ObjectName| Some((pod.clone(), self.workloads.get(pod)?.clone()));
        names.workloads = self.workloads.keys().filter_map(workload).collect();
        let told = self.parts.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        depart(&mut self.departed, &told.pods, &mut names.pods, since);
        for (pod, _) in self.departed.values() {
            names.workloads.extend(told.workloads.get(pod).map(|workload| (pod.clone(), workload.clone())));
        }
        *self.parts.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        self.names_are_old = false;
        self.names_due = since + NAMES.max(since.elapsed() * 100);
    }

    /// When names are made anew; far away while they are as they should be.
    pub(super) fn names_due(&self) -> Instant {
        if self.names_are_old && self.parts.hub.is_heard() { self.names_due } else { Instant::now() + FAR }
    }

    /// Where the flows of all nodes are, and whom to probe, once all nodes are known: half of them would be taken for the cluster.
    pub(super) fn tell_peers(&self) {
        if !self.nodes.is_synced() {
            return;
        }
        self.parts.probes.tell(&self.parts.own, self.nodes.values());
        if let (Some(port), Some(recent)) = (self.parts.hubble_port, self.parts.hub.recent()) {
            recent.set_peers(serving_flows::peers(self.nodes.values(), port));
        }
    }

    fn pod_names(&self) -> HashMap<Address, ObjectName> {
        let mut pods = HashMap::new();
        for endpoint in self.services.slices().flat_map(|s| &s.endpoints) {
            if let Some(pod) = &endpoint.pod {
                pods.insert(Address::from_ip(endpoint.address), pod.clone());
            }
        }
        for one in self.identities.published() {
            pods.extend(one.addresses.iter().map(|address| (Address::from_ip(*address), one.pod.clone())));
        }
        for pod in self.parts.pods.list() {
            for address in &pod.addresses {
                pods.extend(pod.name.clone().map(|name| (Address::from_ip(*address), name)));
            }
        }
        pods
    }
}

/// Who has just gone keeps its name for a while, unless somebody else has the address: how its flows end is told after it.
fn depart(
    departed: &mut HashMap<Address, (ObjectName, Instant)>,
    before: &HashMap<Address, ObjectName>,
    now: &mut HashMap<Address, ObjectName>,
    at: Instant,
) {
    for (address, name) in before.iter().filter(|(address, _)| !now.contains_key(address)) {
        departed.entry(*address).or_insert_with(|| (name.clone(), at));
    }
    departed.retain(|address, (_, since)| !now.contains_key(address) && at.duration_since(*since) <= REMEMBERED);
    now.extend(departed.iter().map(|(address, (name, _))| (*address, name.clone())));
}

/// Something else happens before.
const FAR: Duration = Duration::from_secs(3600);

/// Longer than a flow of one voice lives, so that its end is told with the name.
const REMEMBERED: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_named_for_a_while_and_never_instead_of_another() {
        let (one, two) = (Address::from_v4([10, 0, 0, 1]), Address::from_v4([10, 0, 0, 2]));
        let name = |name: &str| ObjectName::new("shop", name);
        let start = Instant::now();
        let mut departed = HashMap::new();
        let before = HashMap::from([(one, name("a")), (two, name("b"))]);
        let mut now = HashMap::from([(two, name("c"))]);
        depart(&mut departed, &before, &mut now, start);
        assert_eq!(now, HashMap::from([(one, name("a")), (two, name("c"))]));
        let before = now;
        let mut later = HashMap::new();
        depart(&mut departed, &before, &mut later, start + REMEMBERED + Duration::from_secs(1));
        assert_eq!(later, HashMap::from([(two, name("c"))]), "a's time is over, c has just gone");
        let mut again = HashMap::from([(two, name("d"))]);
        depart(&mut departed, &later, &mut again, start + REMEMBERED + Duration::from_secs(2));
        assert_eq!((again, departed.len()), (HashMap::from([(two, name("d"))]), 0));
    }
}
