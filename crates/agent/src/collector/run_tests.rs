use super::*;
use crate::table::memory::MemoryTable;
use datapath_layouts::flow::{flow_flags, flow_state};
use datapath_logic::tuple::{Tuple, flow_key};

pub(super) type Twin<K, V> = Arc<MemoryTable<K, V>>;

/// The tables, seen from both sides.
struct Both {
    conntrack: Twin<FlowKey, Flow>,
    service_flows: Twin<FlowKey, ServiceFlow>,
    nat: Twin<NatKey, NatMapping>,
    backends: Twin<BackendKey, Backend>,
    routes: Twin<PrefixKey, Route>,
}

pub(super) fn twin<K, V>() -> Twin<K, V> {
    Arc::new(MemoryTable::with_capacity(10_000))
}

fn collector() -> (Both, Collector, Handle, Arc<Totals>) {
    let both = Both { conntrack: twin(), service_flows: twin(), nat: twin(), backends: twin(), routes: twin() };
    let (collector, handle, totals) = Collector::new(Tables {
        conntrack: Box::new(both.conntrack.clone()),
        half_open: Box::new(twin::<FlowKey, Flow>()),
        service_flows: Box::new(both.service_flows.clone()),
        affinity: Box::new(twin::<AffinityKey, Affinity>()),
        nat: Box::new(both.nat.clone()),
        fragments: Box::new(twin::<FragmentKey, FragmentPorts>()),
        socket_reverse: Box::new(twin::<SocketReverseKey, SocketReverse>()),
        backends: Box::new(both.backends.clone()),
        routes: Box::new(both.routes.clone()),
        sockets: Box::<super::super::memory::MemorySockets>::default(),
    });
    (both, collector, handle, totals)
}

fn tuple(n: u8, destination: [u8; 4]) -> Tuple {
    Tuple {
        source: Address::from_v4([10, 244, 1, n]),
        destination: Address::from_v4(destination),
        source_port: 4000,
        destination_port: 80,
        protocol: 6,
    }
}

fn key(tuple: &Tuple) -> (FlowKey, u16) {
    let mut key = FlowKey::ZERO;
    let high = flow_key(tuple, &mut key);
    (key, if high { flow_flags::INITIATOR_HIGH } else { 0 })
}

#[test]
fn an_expired_flow_takes_translation_and_masquerade_along_and_a_living_one_stays() {
    let (both, collector, _handle, totals) = collector();
    let second = 1_000_000_000;
    for (n, seen) in [(2u8, 10 * second), (3, 100 * second)] {
        let (k, high) = key(&tuple(n, [10, 244, 2, 2]));
        let flow = Flow {
            flags: flow_flags::SERVICE | high,
            state: flow_state::CLOSED,
            forward: datapath_layouts::Counters { last_seen_ns: seen, ..datapath_layouts::Counters::ZERO },
            service_address: Address::from_v4([10, 96, 0, 7]),
            service_port: 80,
            ..Flow::ZERO
        };
        both.conntrack.insert(&k, &flow).unwrap();
        let translated = ServiceFlow { last_seen_ns: seen, ..ServiceFlow::ZERO };
        both.service_flows.insert(&key(&tuple(n, [10, 96, 0, 7])).0, &translated).unwrap();
        let outward = plan::nat_of(&k, &flow);
        let mapping = NatMapping { last_seen_ns: seen, port: 61_000 + u16::from(n), ..NatMapping::ZERO };
        both.nat.insert(&outward, &mapping).unwrap();
        both.nat
            .insert(&plan::inward(&outward, &mapping), &NatMapping { last_seen_ns: seen, ..NatMapping::ZERO })
            .unwrap();
    }
    collector.expire(&Judge { now: 100 * second }).unwrap();
    let left = (
        both.conntrack.entries().unwrap().len(),
        both.service_flows.entries().unwrap().len(),
        both.nat.entries().unwrap().len(),
    );
    assert_eq!(left, (1, 1, 2));
    assert_eq!(totals.now(), Collected { flows: 1, service_flows: 1, nat: 2, ..Collected::default() });
    assert!(both.conntrack.get(&key(&tuple(3, [10, 244, 2, 2])).0).unwrap().is_some());
}

#[test]
fn a_gone_backend_and_a_gone_pod_are_forgotten_soon() {
    let (both, collector, handle, _) = collector();
    let backend = Address::from_v4([10, 244, 2, 2]);
    for (n, service_id) in [(2u8, 3u32), (3, 4), (4, 4)] {
        let flow =
            ServiceFlow { service_id, address: backend, port: 8080, last_seen_ns: u64::MAX, ..ServiceFlow::ZERO };
        both.service_flows.insert(&key(&tuple(n, [10, 96, 0, 7])).0, &flow).unwrap();
    }
    both.conntrack.insert(&key(&tuple(4, [10, 244, 2, 2])).0, &Flow::ZERO).unwrap();
    both.conntrack.insert(&key(&tuple(5, [10, 244, 2, 2])).0, &Flow::ZERO).unwrap();
    let thread = std::thread::spawn(move || collector.run());
    let gone = load_balancer::Gone { service_id: 3, address: backend, port: 8080 };
    handle.backends(vec![Purge { gone, draining: false }]);
    handle.address(Address::from_v4([10, 244, 1, 4]));
    let start = Instant::now();
    while both.service_flows.entries().unwrap().len() > 1 || both.conntrack.entries().unwrap().len() > 1 {
        assert!(start.elapsed() < Duration::from_secs(5), "not forgotten");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(both.service_flows.get(&key(&tuple(3, [10, 96, 0, 7])).0).unwrap().is_some(), "of another Service");
    drop(handle);
    thread.join().unwrap();
}

#[test]
fn flows_of_a_pod_that_is_gone_elsewhere_end_and_nothing_else_does() {
    let (both, collector, handle, totals) = collector();
    let (forgotten, mut ring) = Forgotten::beside(Nothing);
    let there = Address::from_v4([10, 244, 2, 2]);
    for destination in [[10, 244, 2, 2], [10, 244, 2, 3]] {
        let (key, flags) = key(&tuple(4, destination));
        both.conntrack.insert(&key, &Flow { flags, ..Flow::ZERO }).unwrap();
    }
    let translated = ServiceFlow { address: there, port: 8080, last_seen_ns: u64::MAX, ..ServiceFlow::ZERO };
    both.service_flows.insert(&key(&tuple(4, [10, 96, 0, 7])).0, &translated).unwrap();
    handle.elsewhere(std::collections::HashSet::from([there]));
    drop(handle);
    collector.telling(forgotten).run();
    let left = both.conntrack.entries().unwrap();
    assert_eq!((left.len(), left[0].0), (1, key(&tuple(4, [10, 244, 2, 3])).0));
    assert_eq!(both.service_flows.entries().unwrap().len(), 1, "where Services lead is theirs to say");
    assert_eq!((totals.now().flows, totals.now().sockets), (1, 0));
    let mut told = Vec::new();
    events::Drain::drain(&mut ring, &mut |event| told.push((event.reason, event.destination)));
    assert_eq!(told, [(end::GONE, there)]);
}

/// A ring in which nothing comes.
struct Nothing;

impl events::Drain for Nothing {
    fn drain(&mut self, _: &mut dyn FnMut(&datapath_layouts::Event)) -> usize {
        0
    }

    fn lost(&mut self) -> u64 {
        0
    }
}

#[test]
fn after_a_start_translations_to_nobody_are_forgotten() {
    let (both, collector, handle, _) = collector();
    for n in [2u8, 3] {
        let address = Address::from_v4([10, 244, 2, n]);
        let flow = ServiceFlow { service_id: 3, address, port: 8080, last_seen_ns: u64::MAX, ..ServiceFlow::ZERO };
        both.service_flows.insert(&key(&tuple(n, [10, 96, 0, 7])).0, &flow).unwrap();
    }
    let serving = Address::from_v4([10, 244, 2, 3]);
    let addresses = std::collections::HashSet::from([serving]);
    handle.present(Present { rows: std::collections::HashSet::from([(3, serving, 8080)]), addresses });
    drop(handle);
    collector.run();
    let left = both.service_flows.entries().unwrap();
    assert_eq!((left.len(), left[0].1.address), (1, Address::from_v4([10, 244, 2, 3])));
}

/// Row 3 has two backends on one node and one on another; a flow of TCP and one of UDP is bound to each node.
fn bound_to_nodes(both: &Both) -> (Address, Address) {
    let nodes = [Address::from_v4([172, 18, 0, 3]), Address::from_v4([172, 18, 0, 4])];
    for (slot, address) in [[10, 244, 1, 2], [10, 244, 1, 3], [10, 244, 2, 2]].map(Address::from_v4).iter().enumerate()
    {
        let backend = Backend { address: *address, id: slot as u32 + 1, port: 8080, ..Backend::ZERO };
        both.backends.insert(&BackendKey { service_id: 3, slot: slot as u32 }, &backend).unwrap();
        let route = Route { tunnel: nodes[slot / 2], ..Route::ZERO };
        both.routes.insert(&PrefixKey::lookup(*address), &route).unwrap();
    }
    for (n, address) in nodes.iter().enumerate() {
        for protocol in [6, 17] {
            let flow = ServiceFlow {
                service_id: 3,
                address: *address,
                flags: datapath_layouts::service::SERVICE_FLOW_DIRECT,
                last_seen_ns: u64::MAX,
                ..ServiceFlow::ZERO
            };
            let client = Tuple { protocol, ..tuple(n as u8 + 2, [203, 0, 113, 200]) };
            both.service_flows.insert(&key(&client).0, &flow).unwrap();
        }
    }
    (nodes[0], nodes[1])
}

/// The nodes to which flows are bound: TCP's, then UDP's.
fn bound(both: &Both) -> Vec<(u8, Address)> {
    let mut out: Vec<_> = both.service_flows.entries().unwrap().iter().map(|(k, v)| (k.protocol, v.address)).collect();
    out.sort_unstable();
    out
}

#[test]
fn a_flow_that_is_bound_to_a_node_goes_with_the_last_backend_there() {
    let (both, collector, _handle, _) = collector();
    let (first, second) = bound_to_nodes(&both);
    let lose = |slot: u32, draining: bool| {
        let key = BackendKey { service_id: 3, slot };
        let address = Address::from_v4([10, 244, 1 + slot as u8 / 2, 2 + slot as u8 % 2]);
        let _ = both.backends.remove(&key);
        let mut gone = Gone::default();
        let backend = load_balancer::Gone { service_id: 3, address, port: 8080 };
        gone.backend(Purge { gone: backend, draining });
        collector.forget(&gone, Look::First).unwrap();
    };
    lose(2, true);
    assert_eq!(bound(&both), [(6, first), (6, second), (17, first)], "UDP's moves, TCP's goes on while it drains");
    lose(2, false);
    assert_eq!(bound(&both), [(6, first), (17, first)]);
    lose(1, false);
    assert_eq!(bound(&both), [(6, first), (17, first)], "the node still has one");
    lose(0, false);
    assert!(bound(&both).is_empty());
}

#[test]
fn after_a_start_flows_bound_to_a_node_without_backends_are_forgotten() {
    let (both, collector, handle, _) = collector();
    let (first, _) = bound_to_nodes(&both);
    both.backends.remove(&BackendKey { service_id: 3, slot: 2 }).unwrap();
    let addresses = HashSet::from([Address::from_v4([10, 244, 1, 2])]);
    handle.present(Present { addresses, ..Present::default() });
    drop(handle);
    collector.run();
    assert_eq!(bound(&both), [(6, first), (17, first)]);
}
