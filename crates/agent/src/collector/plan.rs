//! Which entries are over. Pure: an entry, the time and what is gone in; a judgement out.

use crate::services::Purge;
use datapath_layouts::flow::{flow_flags, flow_state};
use datapath_layouts::nat::{INWARD, OUTWARD};
use datapath_layouts::service::SERVICE_FLOW_DIRECT;
use datapath_layouts::{
    Address, Affinity, AffinityKey, Flow, FlowKey, FragmentPorts, NatKey, NatMapping, ServiceFlow, SocketReverse,
    SocketReverseKey,
};
use datapath_logic::conntrack;
use datapath_logic::service::is_hairpin;
use datapath_logic::tuple::{Tuple, flow_key};
use std::collections::{HashMap, HashSet};

/// Fragments of one datagram come within this time or not at all (`net.ipv4.ipfrag_time`), ns.
const FRAGMENT_NS: u64 = 30 * 1_000_000_000;

/// What has gone since the last time.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    /// Backends, by service, address and port; the value: it still ends its connections.
    backends: HashMap<(u32, Address, u16), bool>,
    /// Addresses of Pods.
    addresses: HashSet<Address>,
}

impl Gone {
    /// A backend is gone.
    pub fn backend(&mut self, purge: Purge) {
        let key = (purge.gone.service_id, purge.gone.address, purge.gone.port);
        *self.backends.entry(key).or_insert(purge.draining) &= purge.draining;
    }

    /// A Pod is gone.
    pub fn address(&mut self, address: Address) {
        self.addresses.insert(address);
    }

    /// Everything of another one, too.
    pub fn merge(&mut self, other: Self) {
        for (key, draining) in other.backends {
            *self.backends.entry(key).or_insert(draining) &= draining;
        }
        self.addresses.extend(other.addresses);
    }

    /// Only the backends that still end their connections.
    #[must_use]
    pub fn draining(mut self) -> Option<Self> {
        self.backends.retain(|_, draining| *draining);
        self.addresses.clear();
        (!self.backends.is_empty()).then_some(self)
    }

    /// Whether a Pod is among them.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Whether any socket can be bound to what is gone for good.
    #[must_use]
    pub fn ends_sockets(&self) -> bool {
        self.has_addresses() || self.backends.values().any(|draining| !draining)
    }

    /// Whether a translation is to be forgotten. Of a backend that still ends its connections, those stay that `is_alive`
    /// says so of, by the keys under which they may be tracked: a new connection from a used port must not be led to a
    /// Pod that goes away by what an ended one has left.
    /// A flow that is bound to a node goes with the node's last backend, which `has_node` (a row, a node) tells of.
    #[must_use]
    pub fn has_service_flow(
        &self,
        key: &FlowKey,
        flow: &ServiceFlow,
        is_alive: impl Fn(&FlowKey) -> bool,
        has_node: impl Fn(u32, Address) -> bool,
    ) -> bool {
        if is_direct(flow) {
            return self.has_row(key, flow.service_id) && !has_node(flow.service_id, flow.address);
        }
        match self.backends.get(&(flow.service_id, flow.address, flow.port)) {
            Some(true) if key.protocol == TCP => return !tracked_as(key, flow).iter().any(is_alive),
            Some(_) => return true,
            None => {}
        }
        self.addresses.contains(&flow.address) || self.has_flow(key)
    }

    /// Whether a client is to be forgotten: the backend that it had left the row, or one of the two is gone. Nobody would be
    /// led to such a backend, but the entry would stay until the table is full.
    #[must_use]
    pub fn has_affinity(&self, key: &AffinityKey, had: &Affinity) -> bool {
        self.backends.contains_key(&(key.service_id, had.address, had.port))
            || self.addresses.contains(&had.address)
            || self.addresses.contains(&key.client)
    }

    /// Whether the backend that a socket was bound to is gone for good.
    #[must_use]
    pub fn has_socket(&self, key: &SocketReverseKey, service: &SocketReverse) -> bool {
        self.backends.get(&(service.service_id, key.address, key.port)) == Some(&false)
            || self.addresses.contains(&key.address)
    }

    /// Whether a row lost a backend. Nobody tracks here which connections of a node go on that still ends them: TCP's stay
    /// until it has done so.
    fn has_row(&self, key: &FlowKey, row: u32) -> bool {
        let mut lost = self.backends.iter().filter(|((service_id, _, _), _)| *service_id == row).peekable();
        lost.peek().is_some() && (key.protocol != TCP || !lost.any(|(_, draining)| *draining))
    }

    /// Whether an end of a flow is gone.
    #[must_use]
    pub fn has_flow(&self, key: &FlowKey) -> bool {
        self.addresses.contains(&key.low) || self.addresses.contains(&key.high)
    }

    /// Whether the Pod of a masquerade is gone.
    #[must_use]
    pub fn has_nat(&self, key: &NatKey, mapping: &NatMapping) -> bool {
        let pod = if key.direction == OUTWARD { key.local } else { mapping.address };
        self.addresses.contains(&pod)
    }
}

/// Who is there, after a start: an agent that was killed may have changed the maps and forgotten nothing.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Backends by row, address and port.
    pub rows: HashSet<(u32, Address, u16)>,
    /// Addresses that any slice names: also those of Pods that end their connections.
    pub addresses: HashSet<Address>,
}

impl Present {
    /// Whether a translation leads to a backend that its row has not. Where the Pod is still named, its living connections
    /// stay, as in [`Gone::has_service_flow`].
    #[must_use]
    pub fn lacks_service_flow(&self, key: &FlowKey, flow: &ServiceFlow, is_alive: impl Fn(&FlowKey) -> bool) -> bool {
        if self.rows.contains(&(flow.service_id, flow.address, flow.port)) {
            return false;
        }
        let stays = self.addresses.contains(&flow.address) && key.protocol == TCP;
        !(stays && tracked_as(key, flow).iter().any(is_alive))
    }

    /// Whether a client had a backend that its row has not.
    #[must_use]
    pub fn lacks_affinity(&self, key: &AffinityKey, had: &Affinity) -> bool {
        !self.rows.contains(&(key.service_id, had.address, had.port))
    }
}

/// The time, as the datapath counts it.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Monotonic clock, ns.
    pub now: u64,
}

impl Judge {
    /// Whether a tracked flow is over.
    #[must_use]
    pub fn flow(&self, key: &FlowKey, flow: &Flow) -> bool {
        conntrack::is_expired(flow, key.protocol, self.now)
    }

    /// Whether a translation is over.
    #[must_use]
    pub fn service_flow(&self, key: &FlowKey, flow: &ServiceFlow) -> bool {
        self.now > flow.last_seen_ns.saturating_add(silence_ns(key.protocol))
    }

    /// Whether a masquerade is over.
    #[must_use]
    pub fn nat(&self, key: &NatKey, mapping: &NatMapping) -> bool {
        self.now > mapping.last_seen_ns.saturating_add(silence_ns(key.protocol))
    }

    /// Whether a datagram's pieces are over.
    #[must_use]
    pub fn fragment(&self, ports: &FragmentPorts) -> bool {
        self.now > ports.seen_ns.saturating_add(FRAGMENT_NS)
    }
}

/// Entries without a state of their own live as long as their flow could, ns.
const fn silence_ns(protocol: u8) -> u64 {
    match protocol {
        TCP => conntrack::TCP_ESTABLISHED_NS,
        UDP => conntrack::UDP_REPLIED_NS,
        SCTP => conntrack::SCTP_REPLIED_NS,
        _ => conntrack::OTHER_NS,
    }
}

/// Whether a translation is bound to a node (direct server return) and not to a backend.
#[must_use]
pub const fn is_direct(flow: &ServiceFlow) -> bool {
    flow.flags & SERVICE_FLOW_DIRECT != 0
}

/// Whether a tracked connection goes on.
#[must_use]
pub const fn is_alive(flow: &Flow) -> bool {
    !matches!(flow.state, flow_state::CLOSED | flow_state::RESET)
}

/// The keys under which a translated flow may be tracked: either end can be the client.
fn tracked_as(key: &FlowKey, flow: &ServiceFlow) -> [FlowKey; 2] {
    [(key.low, key.low_port), (key.high, key.high_port)].map(|(source, source_port)| {
        let (destination, destination_port) = (flow.address, flow.port);
        let mut out = FlowKey::ZERO;
        flow_key(&Tuple { source, destination, source_port, destination_port, protocol: key.protocol }, &mut out);
        out
    })
}

/// The translation that made a tracked flow: the flow as its client sees it.
#[must_use]
pub fn service_flow_of(key: &FlowKey, flow: &Flow) -> Option<FlowKey> {
    if flow.flags & flow_flags::SERVICE == 0 {
        return None;
    }
    let mut client = initiator(key, flow);
    if is_hairpin(&client.source) {
        client.source = client.destination; // a Pod that reaches itself
    }
    let tuple = Tuple { destination: flow.service_address, destination_port: flow.service_port, ..client };
    let mut out = FlowKey::ZERO;
    flow_key(&tuple, &mut out);
    Some(out)
}

/// The masquerade of a tracked flow, outward, if it has one.
#[must_use]
pub fn nat_of(key: &FlowKey, flow: &Flow) -> NatKey {
    let flow = initiator(key, flow);
    let remote_port = if matches!(key.protocol, ICMP | ICMPV6) { 0 } else { flow.destination_port };
    NatKey {
        local: flow.source,
        remote: flow.destination,
        local_port: flow.source_port,
        remote_port,
        protocol: key.protocol,
        direction: OUTWARD,
        reserved: 0,
    }
}

/// The other direction of an outward masquerade.
#[must_use]
pub fn inward(outward: &NatKey, mapping: &NatMapping) -> NatKey {
    NatKey { local: mapping.address, local_port: mapping.port, direction: INWARD, ..*outward }
}

fn initiator(key: &FlowKey, flow: &Flow) -> Tuple {
    let low_first = Tuple {
        source: key.low,
        destination: key.high,
        source_port: key.low_port,
        destination_port: key.high_port,
        protocol: key.protocol,
    };
    if flow.flags & flow_flags::INITIATOR_HIGH == 0 { low_first } else { low_first.reversed() }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Address = Address::from_v4([10, 244, 1, 2]);
    const BACKEND: Address = Address::from_v4([10, 244, 2, 2]);
    const CLUSTER_IP: Address = Address::from_v4([10, 96, 0, 7]);

    fn key(protocol: u8) -> FlowKey {
        let mut key = FlowKey::ZERO;
        let tuple = Tuple { source: POD, destination: CLUSTER_IP, source_port: 4000, destination_port: 80, protocol };
        flow_key(&tuple, &mut key);
        key
    }

    fn no_node(_: u32, _: Address) -> bool {
        unreachable!("the flow is bound to its backend")
    }

    fn service_flow() -> ServiceFlow {
        ServiceFlow { service_id: 3, address: BACKEND, port: 8080, last_seen_ns: 1000, ..ServiceFlow::ZERO }
    }

    fn purge(draining: bool) -> Gone {
        let mut gone = Gone::default();
        let backend = load_balancer::Gone { service_id: 3, address: BACKEND, port: 8080 };
        gone.backend(Purge { gone: backend, draining });
        gone
    }

    #[test]
    fn a_draining_backend_keeps_living_connections_only() {
        let (alive, dead) = (|_: &FlowKey| true, |_: &FlowKey| false);
        assert!(
            purge(true).has_service_flow(&key(UDP), &service_flow(), alive, no_node),
            "datagrams go elsewhere at once"
        );
        assert!(!purge(true).has_service_flow(&key(TCP), &service_flow(), alive, no_node));
        assert!(purge(true).has_service_flow(&key(TCP), &service_flow(), dead, no_node));
        assert!(purge(false).has_service_flow(&key(TCP), &service_flow(), alive, no_node));
        let mut tracked = FlowKey::ZERO;
        let tuple =
            Tuple { source: POD, destination: BACKEND, source_port: 4000, destination_port: 8080, protocol: TCP };
        flow_key(&tuple, &mut tracked);
        assert!(
            !purge(true).has_service_flow(&key(TCP), &service_flow(), |key| *key == tracked, no_node),
            "found by the client"
        );
        let other = ServiceFlow { service_id: 4, ..service_flow() };
        assert!(!purge(false).has_service_flow(&key(TCP), &other, dead, no_node), "another Service still has it");
        assert!(purge(true).draining().is_some() && purge(false).draining().is_none());
    }

    #[test]
    fn clients_of_a_backend_that_left_a_row_are_forgotten_there() {
        let key = |service_id| AffinityKey { client: POD, service_id };
        let had = Affinity { address: BACKEND, port: 8080, ..Affinity::ZERO };
        for draining in [true, false] {
            assert!(purge(draining).has_affinity(&key(3), &had));
            assert!(!purge(draining).has_affinity(&key(4), &had), "another Service still has it");
            assert!(!purge(draining).has_affinity(&key(3), &Affinity { port: 8081, ..had }));
        }
        for address in [POD, BACKEND] {
            let mut gone = Gone::default();
            gone.address(address);
            assert!(gone.has_affinity(&key(4), &had));
        }
    }

    #[test]
    fn after_a_start_only_rows_and_living_connections_count() {
        let (alive, dead) = (|_: &FlowKey| true, |_: &FlowKey| false);
        let named = Present { addresses: HashSet::from([BACKEND]), ..Present::default() };
        let serving = Present { rows: HashSet::from([(3, BACKEND, 8080)]), ..named.clone() };
        let had = Affinity { address: BACKEND, port: 8080, ..Affinity::ZERO };
        assert!(!serving.lacks_service_flow(&key(UDP), &service_flow(), dead));
        assert!(!serving.lacks_affinity(&AffinityKey { client: POD, service_id: 3 }, &had));
        assert!(serving.lacks_affinity(&AffinityKey { client: POD, service_id: 4 }, &had), "of another row");
        assert!(serving.lacks_service_flow(&key(UDP), &ServiceFlow { service_id: 4, ..service_flow() }, alive));
        assert!(!named.lacks_service_flow(&key(TCP), &service_flow(), alive), "it ends its connections");
        assert!(named.lacks_service_flow(&key(TCP), &service_flow(), dead));
        assert!(Present::default().lacks_service_flow(&key(TCP), &service_flow(), alive), "the Pod is gone");
    }

    #[test]
    fn what_was_said_twice_is_the_stronger() {
        let mut gone = purge(true);
        let backend = load_balancer::Gone { service_id: 3, address: BACKEND, port: 8080 };
        gone.backend(Purge { gone: backend, draining: false });
        assert!(gone.has_service_flow(&key(TCP), &service_flow(), |_| true, no_node));
    }

    #[test]
    fn a_pod_that_is_gone_takes_its_flows_along() {
        let mut gone = Gone::default();
        gone.address(POD);
        assert!(gone.has_flow(&key(TCP)) && gone.has_service_flow(&key(TCP), &service_flow(), |_| true, no_node));
        let outward = NatKey { local: POD, direction: OUTWARD, ..NatKey::ZERO };
        let inward = NatKey { local: BACKEND, direction: INWARD, ..NatKey::ZERO };
        assert!(gone.has_nat(&outward, &NatMapping { address: BACKEND, ..NatMapping::ZERO }));
        assert!(gone.has_nat(&inward, &NatMapping { address: POD, ..NatMapping::ZERO }));
        assert!(!gone.has_nat(&inward, &NatMapping { address: CLUSTER_IP, ..NatMapping::ZERO }));
    }

    #[test]
    fn silence_ends_each_protocol_in_its_time() {
        let after = |protocol, seconds: u64| {
            Judge { now: 1000 + seconds * 1_000_000_000 }.service_flow(&key(protocol), &service_flow())
        };
        assert!(!after(TCP, 6 * 3600) && after(TCP, 6 * 3600 + 1));
        assert!(!after(UDP, 180) && after(UDP, 181));
        assert!(!after(SCTP, 210) && after(SCTP, 211));
        assert!(!after(ICMP, 60) && after(ICMP, 61));
    }

    #[test]
    fn a_flow_of_a_pod_to_itself_leads_to_its_translation() {
        let mut tracked = FlowKey::ZERO;
        let source = datapath_logic::service::HAIRPIN_V4;
        let tuple = Tuple { source, destination: POD, source_port: 4000, destination_port: 8080, protocol: TCP };
        let high = flow_key(&tuple, &mut tracked);
        let flags = flow_flags::SERVICE | if high { flow_flags::INITIATOR_HIGH } else { 0 };
        let flow = Flow { flags, service_address: CLUSTER_IP, service_port: 80, ..Flow::ZERO };
        assert_eq!(service_flow_of(&tracked, &flow), Some(key(TCP)));
    }

    #[test]
    fn a_flow_leads_to_its_translation_and_its_masquerade() {
        let mut tracked = FlowKey::ZERO;
        let tuple =
            Tuple { source: POD, destination: BACKEND, source_port: 4000, destination_port: 8080, protocol: TCP };
        let high = flow_key(&tuple, &mut tracked);
        let flags = flow_flags::SERVICE | if high { flow_flags::INITIATOR_HIGH } else { 0 };
        let flow = Flow { flags, service_address: CLUSTER_IP, service_port: 80, ..Flow::ZERO };
        assert_eq!(service_flow_of(&tracked, &flow), Some(key(TCP)));
        assert_eq!(service_flow_of(&tracked, &Flow { flags: 0, ..flow }), None);
        let nat = nat_of(&tracked, &flow);
        assert_eq!((nat.local, nat.local_port, nat.remote, nat.remote_port), (POD, 4000, BACKEND, 8080));
        let mapping = NatMapping { address: CLUSTER_IP, port: 61000, ..NatMapping::ZERO };
        let back = inward(&nat, &mapping);
        assert_eq!((back.local, back.local_port, back.direction), (CLUSTER_IP, 61000, INWARD));
    }
}
