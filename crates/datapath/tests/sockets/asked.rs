//! What a socket had asked for is told of its flow, though its packets name the backend alone.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use datapath_layouts::event::event_flags::{ASKED, TRANSLATED};
use datapath_layouts::flow::flow_flags;
use datapath_layouts::{Address, DropReason, Event, EventKind, Flow, FlowKey, Observation};
use netlink::Netlink;
use network_namespace::NetNs;

use crate::bench::topology::{PATIENCE, Topology, socket_in};
use crate::bench::world::{BOTH, Family, SERVICE_PORT, TARGET_PORT, V6, backend, put_service};
use crate::cgroup::Cgroup;

const CLIENT: u16 = 40000;

/// The next event of this kind towards the backend, or from it.
fn event(t: &mut Topology, kind: EventKind, backend: IpAddr) -> Event {
    let backend = Address::from(backend);
    let wanted = |e: &Event| e.kind == kind as u8 && (e.destination == backend || e.source == backend);
    let found = t.event(wanted).unwrap_or_else(|seen| panic!("no {kind:?} of {backend:?} in {seen:#?}"));
    t.forget_events();
    found
}

fn assert_asked(f: Family, event: &Event) {
    assert_eq!(event.flags & (ASKED | TRANSLATED), ASKED, "{event:?}");
    assert_eq!((event.original, event.original_port), (f.service().into(), SERVICE_PORT), "{event:?}");
}

fn assert_not_asked(event: &Event) {
    assert_eq!((event.flags & (ASKED | TRANSLATED), event.original_port), (0, 0), "{event:?}");
}

#[test]
fn what_a_socket_asked_for_is_told_of_its_flow() {
    let mut t = Topology::new();
    let cgroup = Cgroup::new();
    t.datapath().attach_cgroup(&cgroup.path).unwrap();
    for f in BOTH {
        cgroup.enter();
        from_a_pod_to_another_node(&mut t, f);
        from_a_pod_to_its_node(&mut t, f);
        what_is_dropped(&mut t, f);
        from_the_node_to_a_pod(&mut t, f);
        cgroup.leave();
        packets_that_are_translated(&mut t, f);
    }
    cgroup.enter();
    nobody_wants_to_know(&mut t);
}

fn from_a_pod_to_another_node(t: &mut Topology, f: Family) {
    put_service(t.datapath().maps(), f, &[backend(f.remote(), 1)]);
    let service = SocketAddr::from((f.service(), SERVICE_PORT));
    let client = socket_in(&t.pod, (f.pod(), CLIENT));
    client.send_to(b"?", service).unwrap();
    assert_asked(f, &event(t, EventKind::NewFlow, f.remote()));
    let flow = tracked(t, f, CLIENT);
    assert_eq!(flow.flags & (flow_flags::ASKED | flow_flags::SERVICE), flow_flags::ASKED, "nothing turns its answers");
    // Another socket asks the backend by its own address.
    let other = socket_in(&t.pod, (f.pod(), CLIENT + 1));
    other.send_to(b"?", (f.remote(), TARGET_PORT)).unwrap();
    assert_not_asked(&event(t, EventKind::NewFlow, f.remote()));
}

/// From the first packet to the end, and both ways.
fn from_a_pod_to_its_node(t: &mut Topology, f: Family) {
    put_service(t.datapath().maps(), f, &[backend(f.node(), 1)]);
    let listener = TcpListener::bind((f.node(), TARGET_PORT)).unwrap();
    let mut client = connect(&t.pod, (f.service(), SERVICE_PORT));
    let (mut server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), f.pod());
    server.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    assert_asked(f, &event(t, EventKind::NewFlow, f.node()));
    drop(client);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    drop(server);
    let ended = event(t, EventKind::EndOfFlow, f.node());
    assert_asked(f, &ended);
    // Finer than the kernel's tick, of which a handshake on one machine takes none.
    assert!(ended.handshake_ns > 1 && ended.handshake_ns < ended.duration_ns, "{ended:?}");
}

fn what_is_dropped(t: &mut Topology, f: Family) {
    put_service(t.datapath().maps(), f, &[backend(f.nobody(), 1)]);
    let client = socket_in(&t.pod, (f.pod(), CLIENT + 3));
    client.send_to(b"?", (f.service(), SERVICE_PORT)).unwrap();
    let dropped = event(t, EventKind::Drop, f.nobody());
    assert_eq!(dropped.reason, DropReason::NoLocalEndpoint as u8);
    assert_asked(f, &dropped);
}

/// A process of the node.
fn from_the_node_to_a_pod(t: &mut Topology, f: Family) {
    // As in the lab, where everything else goes by the fabric's router.
    let default = netlink::Route::default_via(f.gateway()).dev(t.devices.network);
    Netlink::open().unwrap().replace_route(&default).unwrap();
    put_service(t.datapath().maps(), f, &[backend(f.pod(), 1)]);
    let listener = t.pod.run(|| TcpListener::bind((f.pod(), TARGET_PORT))).unwrap().unwrap();
    let client = TcpStream::connect_timeout(&(f.service(), SERVICE_PORT).into(), PATIENCE).unwrap();
    drop(listener.accept().unwrap());
    drop(client);
    assert_asked(f, &event(t, EventKind::NewFlow, f.pod()));
}

/// Of a Pod outside of the hooks' cgroup: on their way, and told as that.
fn packets_that_are_translated(t: &mut Topology, f: Family) {
    put_service(t.datapath().maps(), f, &[backend(f.remote(), 1)]);
    t.forget_events();
    let client = socket_in(&t.pod, (f.pod(), CLIENT + 4));
    client.send_to(b"?", (f.service(), SERVICE_PORT)).unwrap();
    let told = event(t, EventKind::NewFlow, f.remote());
    assert_eq!((told.flags & (ASKED | TRANSLATED), told.original_port), (TRANSLATED, SERVICE_PORT), "{told:?}");
    // From the port of a socket whose call had been translated: the answers have to be turned from now on.
    let again = socket_in(&t.pod, (f.pod(), CLIENT));
    again.send_to(b"?", (f.service(), SERVICE_PORT)).unwrap();
    let until = Instant::now() + PATIENCE;
    while tracked(t, f, CLIENT).flags & (flow_flags::ASKED | flow_flags::SERVICE) != flow_flags::SERVICE {
        assert!(Instant::now() < until, "{:?}", tracked(t, f, CLIENT));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Then nobody looks, and a flow remembers nothing.
fn nobody_wants_to_know(t: &mut Topology) {
    t.kill_agent();
    t.settings.config.observation = Observation::Drops as u32;
    t.start_agent();
    t.datapath().attach_pod("lxpod", t.devices.pod).unwrap();
    let port = CLIENT + 5;
    let client = socket_in(&t.pod, (V6.pod(), port));
    client.send_to(b"?", (V6.service(), SERVICE_PORT)).unwrap();
    assert_eq!(tracked(t, V6, port).flags & flow_flags::ASKED, 0);
}

/// What is tracked of a port of the Pod's.
fn tracked(t: &Topology, f: Family, port: u16) -> Flow {
    let maps = t.datapath().maps();
    let (known, half_open) = (maps.conntrack.entries().unwrap(), maps.half_open.entries().unwrap());
    let pod = (Address::from(f.pod()), port);
    let is_its = |key: &FlowKey| (key.low, key.low_port) == pod || (key.high, key.high_port) == pod;
    known.into_iter().chain(half_open).find(|(key, _)| is_its(key)).expect("it is tracked").1
}

fn connect(netns: &NetNs, to: (IpAddr, u16)) -> TcpStream {
    netns.run(|| TcpStream::connect_timeout(&to.into(), PATIENCE)).unwrap().unwrap()
}
