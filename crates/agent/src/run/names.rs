//! The names that events get.

use super::state::{NAMES, State};
use crate::events::{Caller, Here, Names, Table, Who, monotonic_ns};
use crate::serving_flows;
use datapath_layouts::Address;
use datapath_layouts::identity::HOST;
use model::{ObjectName, Workload};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

impl State {
    /// Names cost a walk over everything: only while somebody reads them, not for every change, and never more than a
    /// hundredth of the loop's time, so that in a large cluster changes don't wait for names.
    pub(super) fn freshen_names(&mut self) {
        let since = Instant::now();
        self.names_are_old |= self.departed.values().any(|(_, at)| since.duration_since(*at) > REMEMBERED);
        // What nobody reads any more was removed from the maps of policy, and its clock went on.
        self.names_are_old |= !self.told_names().revision.stands();
        if self.names_are_old && !self.parts.hub.is_heard() {
            self.unwanted_since.get_or_insert(since);
        }
        if !self.names_are_old || !self.parts.hub.is_heard() || since < self.names_due {
            return;
        }
        let own = &self.parts.own;
        let labels = own.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let here = Here { name: own.name.clone(), labels, addresses: own.addresses.clone() };
        let mut names = Names { here: Arc::new(here), ..Names::default() };
        let mut who = self.pods_by_address();
        let cookies: HashMap<String, u64> = self.parts.sockets.cookies().into_iter().collect();
        for pod in self.parts.pods.list() {
            let addresses: Vec<Address> = pod.addresses.iter().map(|address| Address::from_ip(*address)).collect();
            addresses.iter().for_each(|address| who.entry(*address).or_default().endpoint = Some(pod.id));
            names.add_link(pod.index, &pod.interface, pod.mac, pod.host_mac);
            if let Some(cookie) = cookies.get(&pod.interface) {
                names.callers.insert(*cookie, Caller { addresses, identity: pod.identity });
            }
        }
        let addresses = own.addresses.iter().map(|address| Address::from_ip(*address)).collect();
        names.callers.insert(self.parts.choices.netns_cookie, Caller { addresses, identity: HOST });
        let facts = &self.parts.facts;
        names.add_network(facts.network.index, &facts.network.name);
        names.add_overlay(facts.overlay.index, &facts.overlay.name);
        for node in self.nodes.values() {
            for address in &node.addresses {
                who.entry(Address::from_ip(*address)).or_default().node = Some(node.name.clone());
            }
        }
        let services = self.services.balancer().ports().map(|(key, id)| (id, Arc::new(key.service.clone())));
        let services: BTreeMap<u32, _> = services.collect();
        for (key, frontend) in self.services.balancer().tables().frontends() {
            if let Some(service) = services.get(&frontend.service_id) {
                who.entry(key.address).or_default().is_service = true;
                names.services.insert((key.address, key.port, key.protocol), service.clone());
            }
        }
        self.policies.name_rules(&mut names);
        names.labels = self.identities.objects().map(|(number, labels)| (number, labels.clone())).collect();
        let told = self.told_names();
        self.read_clock(&mut names, &told);
        // Who went while nobody wanted names has not just gone.
        let unwanted = self.unwanted_since.take().is_some_and(|at| since.duration_since(at) > REMEMBERED);
        let nobody = Table::default();
        depart(&mut self.departed, if unwanted { &nobody } else { &told.who }, &mut who, since);
        names.who = shared(who, &told.who);
        *self.parts.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        self.names_are_old = false;
        self.names_due = since + NAMES.max(since.elapsed() * 100);
    }

    fn told_names(&self) -> Arc<Names> {
        self.parts.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The policy clock goes on with every plan that is written; as long as there is none, its reading is known since when it
    /// was read first. One that can't be read is not told.
    fn read_clock(&self, names: &mut Names, before: &Names) {
        let revision = &mut names.revision;
        revision.clock = self.parts.maps.policy.epoch().unwrap_or_default();
        let is_as_before = Arc::ptr_eq(&revision.stands, &before.revision.stands);
        revision.since_ns = if is_as_before { before.revision.since_ns } else { monotonic_ns() };
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

    fn pods_by_address(&self) -> Table<Address, Who> {
        let mut who = Table::<Address, Who>::default();
        let mut is = |address, pod: &ObjectName, told: Option<&Arc<Workload>>| {
            let workload = self.workloads.get(pod).or(told).cloned();
            who.insert(Address::from_ip(address), Who { pod: Some(pod.clone()), workload, ..Who::default() });
        };
        for endpoint in self.services.slices().flat_map(|s| &s.endpoints) {
            endpoint.pod.iter().for_each(|pod| is(endpoint.address, pod, None));
        }
        for one in self.identities.published() {
            one.addresses.iter().for_each(|address| is(*address, &one.pod, one.workload.as_ref()));
        }
        for pod in self.parts.pods.list() {
            pod.name.iter().for_each(|name| pod.addresses.iter().for_each(|address| is(*address, name, None)));
        }
        who
    }
}

/// Who has just gone keeps its name for a while, unless somebody else has the address: how its flows end is told after it.
/// Who is about to go keeps what it belongs to: not everybody who tells of it falls silent at once.
fn depart(
    departed: &mut HashMap<Address, (Arc<Who>, Instant)>,
    before: &Table<Address, Arc<Who>>,
    now: &mut Table<Address, Who>,
    at: Instant,
) {
    for (address, was) in before.iter().filter(|(_, was)| was.workload.is_some()) {
        if let Some(who) = now.get_mut(address).filter(|who| who.workload.is_none() && who.pod == was.pod) {
            who.workload.clone_from(&was.workload);
        }
    }
    let is_left = |now: &Table<Address, Who>, address: &Address| now.get(address).is_none_or(|who| who.pod.is_none());
    for (address, who) in before.iter().filter(|(address, who)| who.pod.is_some() && is_left(now, address)) {
        departed.entry(*address).or_insert_with(|| (who.clone(), at));
    }
    departed.retain(|address, (_, since)| is_left(now, address) && at.duration_since(*since) <= REMEMBERED);
    for (address, (was, _)) in departed {
        let who = now.entry(*address).or_default();
        (who.pod, who.workload, who.endpoint) = (was.pod.clone(), was.workload.clone(), who.endpoint.or(was.endpoint));
    }
}

/// Who is as before stays the same: what was seen a while ago and what is seen now point to one.
fn shared(now: Table<Address, Who>, before: &Table<Address, Arc<Who>>) -> Table<Address, Arc<Who>> {
    let same = |address: &Address, who: &Who| before.get(address).filter(|same| ***same == *who).cloned();
    now.into_iter().map(|(address, who)| (address, same(&address, &who).unwrap_or_else(|| Arc::new(who)))).collect()
}

/// Something else happens before.
const FAR: Duration = Duration::from_secs(3600);

/// Longer than a flow of one voice lives, so that its end is told with the name.
pub(super) const REMEMBERED: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Address = Address::from_v4([10, 0, 0, 1]);
    const TWO: Address = Address::from_v4([10, 0, 0, 2]);

    fn pods(pods: &[(Address, &str)]) -> Table<Address, Who> {
        let who = |name: &str| Who { pod: Some(ObjectName::new("shop", name)), endpoint: Some(7), ..Who::default() };
        pods.iter().map(|(address, name)| (*address, who(name))).collect()
    }

    #[test]
    fn who_has_gone_is_named_for_a_while_and_never_instead_of_another() {
        let start = Instant::now();
        let mut departed = HashMap::new();
        let before = shared(pods(&[(ONE, "a"), (TWO, "b")]), &Table::default());
        let mut now = pods(&[(TWO, "c")]);
        depart(&mut departed, &before, &mut now, start);
        assert_eq!(now, pods(&[(ONE, "a"), (TWO, "c")]));
        let before = shared(now, &before);
        let mut later = Table::default();
        depart(&mut departed, &before, &mut later, start + REMEMBERED + Duration::from_secs(1));
        assert_eq!(later, pods(&[(TWO, "c")]), "a's time is over, c has just gone");
        let mut again = pods(&[(TWO, "d")]);
        let later = shared(later, &before);
        depart(&mut departed, &later, &mut again, start + REMEMBERED + Duration::from_secs(2));
        assert_eq!((again, departed.len()), (pods(&[(TWO, "d")]), 0));
    }

    #[test]
    fn a_node_stays_what_it_is_when_a_pod_with_its_address_goes() {
        let mut before = pods(&[(ONE, "a")]);
        before.get_mut(&ONE).unwrap().node = Some("n".into());
        let before = shared(before, &Table::default());
        let node = || Table::from_iter([(ONE, Who { node: Some("n".into()), ..Who::default() })]);
        let (mut now, mut departed) = (node(), HashMap::new());
        depart(&mut departed, &before, &mut now, Instant::now());
        assert_eq!(now[&ONE], *before[&ONE]);
        let mut later = node();
        depart(&mut departed, &Table::default(), &mut later, Instant::now() + REMEMBERED + Duration::from_secs(1));
        assert_eq!(later, node());
    }

    #[test]
    fn who_is_as_before_is_the_same() {
        let before = shared(pods(&[(ONE, "a"), (TWO, "b")]), &Table::default());
        let now = shared(pods(&[(ONE, "a"), (TWO, "c")]), &before);
        assert!(Arc::ptr_eq(&before[&ONE], &now[&ONE]));
        assert_eq!(now[&TWO].pod, Some(ObjectName::new("shop", "c")));
    }
}
