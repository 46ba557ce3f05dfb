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
}

pub(super) fn twin<K, V>() -> Twin<K, V> {
    Arc::new(MemoryTable::with_capacity(10_000))
}

fn collector() -> (Both, Collector, Handle, Arc<Totals>) {
    let both = Both { conntrack: twin(), service_flows: twin(), nat: twin() };
    let (collector, handle, totals) = Collector::new(Tables {
        conntrack: Box::new(both.conntrack.clone()),
        half_open: Box::new(twin::<FlowKey, Flow>()),
        service_flows: Box::new(both.service_flows.clone()),
        affinity: Box::new(twin::<AffinityKey, Affinity>()),
        nat: Box::new(both.nat.clone()),
        fragments: Box::new(twin::<FragmentKey, FragmentPorts>()),
        socket_reverse: Box::new(twin::<SocketReverseKey, SocketReverse>()),
        backends: Box::new(twin::<BackendKey, Backend>()),
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
