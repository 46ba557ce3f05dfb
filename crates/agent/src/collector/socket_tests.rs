//! Which sockets are ended, and which are not.

use super::super::memory::MemorySockets;
use super::tests::{Twin, twin};
use super::*;

const SERVICE: u32 = 3;

/// The tables that sockets concern, seen from both sides.
struct Both {
    reverse: Twin<SocketReverseKey, SocketReverse>,
    backends: Twin<BackendKey, Backend>,
    sockets: MemorySockets,
    collector: Collector,
    totals: Arc<Totals>,
}

fn both() -> Both {
    let (reverse, backends, sockets) = (twin(), twin(), MemorySockets::default());
    let (collector, _, totals) = Collector::new(Tables {
        conntrack: Box::new(twin::<FlowKey, Flow>()),
        half_open: Box::new(twin::<FlowKey, Flow>()),
        service_flows: Box::new(twin::<FlowKey, ServiceFlow>()),
        affinity: Box::new(twin::<AffinityKey, Affinity>()),
        nat: Box::new(twin::<NatKey, NatMapping>()),
        fragments: Box::new(twin::<FragmentKey, FragmentPorts>()),
        socket_reverse: Box::new(reverse.clone()),
        backends: Box::new(backends.clone()),
        routes: Box::new(twin::<PrefixKey, Route>()),
        sockets: Box::new(sockets.clone()),
    });
    Both { reverse, backends, sockets, collector, totals }
}

fn backend(n: u8) -> Address {
    Address::from_v4([10, 244, 2, n])
}

fn key(cookie: u64, n: u8, protocol: u8) -> SocketReverseKey {
    SocketReverseKey { cookie, address: backend(n), port: 8080, protocol, reserved: [0; 5] }
}

impl Both {
    /// A socket of a service that was given backend `n`, as its hook leaves it.
    fn bind(&self, key: SocketReverseKey, service_id: u32) {
        self.reverse.insert(&key, &SocketReverse { service_id, port: 80, ..SocketReverse::ZERO }).unwrap();
        self.sockets.open.lock().unwrap().insert(key);
    }

    fn open(&self) -> Vec<u64> {
        let mut cookies: Vec<u64> = self.sockets.open.lock().unwrap().iter().map(|key| key.cookie).collect();
        cookies.sort_unstable();
        cookies
    }

    fn believed(&self) -> usize {
        self.reverse.entries().unwrap().len()
    }
}

fn gone(backends: &[(u8, bool)]) -> Gone {
    let mut gone = Gone::default();
    for &(n, draining) in backends {
        let of = load_balancer::Gone { service_id: SERVICE, address: backend(n), port: 8080 };
        gone.backend(Purge { gone: of, draining });
    }
    gone
}

#[test]
fn those_bound_to_a_gone_backend_end_and_no_others() {
    let b = both();
    b.bind(key(1, 2, 6), SERVICE);
    b.bind(key(2, 2, 17), SERVICE);
    b.bind(key(3, 2, 6), SERVICE + 1); // another Service still has it
    b.bind(key(4, 4, 6), SERVICE); // its Pod ends its connections
    b.bind(key(5, 5, 6), SERVICE); // serves
    b.sockets.open.lock().unwrap().insert(key(6, 2, 6)); // speaks to the Pod itself
    b.collector.forget(&gone(&[(2, false), (4, true)]), Look::First).unwrap();
    assert_eq!(b.open(), [3, 4, 5, 6]);
    assert_eq!((b.totals.now().sockets, b.believed()), (2, 3));
    b.collector.forget(&gone(&[(4, false)]), Look::First).unwrap();
    assert_eq!(b.open(), [3, 5, 6], "it has left its slice");
}

#[test]
fn a_backend_that_is_back_keeps_its_sockets() {
    let b = both();
    for (slot, n) in [(0, 9), (1, 2)] {
        let there = Backend { address: backend(n), port: 8080, id: 1, ..Backend::ZERO };
        b.backends.insert(&BackendKey { service_id: SERVICE, slot }, &there).unwrap();
    }
    b.bind(key(1, 2, 6), SERVICE);
    b.collector.forget(&gone(&[(2, false)]), Look::First).unwrap();
    b.collector.forget(&gone(&[(2, false)]), Look::Again).unwrap();
    assert_eq!((b.open(), b.believed()), (vec![1], 1));
}

/// Its hook has chosen, but the kernel has not connected it yet.
#[test]
fn a_socket_that_was_about_to_connect_is_found_by_the_second_look() {
    let b = both();
    b.bind(key(1, 2, 6), SERVICE);
    b.sockets.open.lock().unwrap().clear();
    b.collector.forget(&gone(&[(2, false)]), Look::First).unwrap();
    assert_eq!(b.believed(), 1);
    b.sockets.open.lock().unwrap().insert(key(1, 2, 6));
    b.collector.forget(&gone(&[(2, false)]), Look::Again).unwrap();
    assert_eq!((b.open(), b.believed()), (vec![], 0));
    b.bind(key(2, 2, 17), SERVICE);
    b.sockets.open.lock().unwrap().clear();
    b.collector.forget(&gone(&[(2, false)]), Look::Again).unwrap();
    assert_eq!(b.believed(), 0, "nobody is left to believe it");
}

#[test]
fn a_pod_that_is_gone_and_what_went_while_nobody_looked() {
    let b = both();
    b.bind(key(1, 2, 17), SERVICE);
    b.bind(key(2, 3, 17), SERVICE);
    b.bind(key(3, 4, 17), SERVICE);
    let mut pod = Gone::default();
    pod.address(backend(2));
    b.collector.forget(&pod, Look::First).unwrap();
    assert_eq!(b.open(), [2, 3]);
    let present = Present { addresses: HashSet::from([backend(3)]), ..Present::default() };
    b.collector.forget_absent(&present).unwrap();
    assert_eq!((b.open(), b.believed()), (vec![2], 1));
}
