//! The XDP program under test runs: what it sends on is what the VXLAN device would send of what `from_network` would give it,
//! byte by byte, and everything else is left to `from_network` as it was.

mod bench;

use std::net::IpAddr;
use std::os::fd::AsFd;

use bench::packet::{ACK, FIN, Packet, RST, SYN, TCP, UDP, patched};
use bench::tracked::tracked;
use bench::world::{BOTH, Family, NODE_PORT, SERVICE_ID, TARGET_PORT, V4, V6, backend, put_frontend, put_row};
use bench::{Bench, Context, checksum};
use datapath::sys;
use datapath_layouts::flow::flow_flags::{FORWARDED, INITIATOR_HIGH, VIA_ENTRY};
use datapath_layouts::flow::flow_state;
use datapath_layouts::service::FRONTEND_DSR;
use datapath_layouts::{
    Flow, Frontend, Observation, ObservationPoint, PrefixKey, Route, RouteKind, ServiceFlow, identity, stats,
};
use netlink::{AddressOptions, MacAddress, Netlink};

/// `XDP_PASS`, `XDP_TX` (`linux/bpf.h`).
const PASS: u32 = 2;
const TX: u32 = 3;
const CLIENT: u16 = 40000;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_NODES_MAC: [u8; 6] = [2, 0, 0, 0, 3, 3];

/// A node whose device has addresses and a neighbour, so that the kernel's routing table has an answer.
fn node(change: impl FnOnce(&mut datapath_layouts::NodeConfig)) -> Bench {
    let bench = Bench::with(change);
    let netlink = Netlink::open().unwrap();
    for device in [bench.devices.network, bench.devices.overlay] {
        netlink.set_up(device).unwrap();
    }
    for (address, length, other) in [(V4.node(), 16, V4.other_node()), (V6.node(), 64, V6.other_node())] {
        let address = format!("{address}/{length}").parse().unwrap();
        netlink.add_address(bench.devices.network, address, AddressOptions::default()).unwrap();
        netlink.ensure_neighbour(bench.devices.network, other, MacAddress(OTHER_NODES_MAC)).unwrap();
    }
    for family in ["ipv4", "ipv6"] {
        std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), "1").unwrap();
    }
    bench.reset();
    bench
}

fn run(bench: &Bench, packet: &[u8]) -> (u32, Vec<u8>) {
    let program = bench.programs.iter().find(|(name, _)| name == "xdp_from_network").expect("the XDP program");
    let mut out = vec![0; packet.len() + 256];
    let run = sys::test_run(program.1.as_fd(), packet, &mut [], &mut out).unwrap();
    out.truncate(run.length as usize);
    (run.verdict, out)
}

/// It is left to `from_network`, as it was.
fn passes(bench: &Bench, what: &str, packet: &[u8]) {
    let before = bench.maps.stats.read(stats::XDP_SENT_ON).unwrap().packets;
    let (verdict, out) = run(bench, packet);
    assert_eq!((verdict, &out[..]), (PASS, packet), "{what}");
    assert_eq!(bench.maps.stats.read(stats::XDP_SENT_ON).unwrap().packets, before, "{what}");
}

/// It goes to the other node as this inner frame.
fn sent_on(bench: &Bench, packet: &Packet, inner: &Packet, underlay: Family) {
    let slot = stats::FORWARDED + ObservationPoint::ToOverlay as u32;
    let read = || [slot, stats::XDP_SENT_ON].map(|slot| bench.maps.stats.read(slot).unwrap().packets);
    let before = read();
    let (verdict, out) = run(bench, &packet.bytes());
    assert_eq!(verdict, TX, "{:?} -> {:?}", packet.source, packet.destination);
    assert_eq!(read(), before.map(|n| n + 1));
    let inner = inner.bytes();
    let length = out.len() - inner.len();
    checksum::check(&out[length..]).unwrap();
    assert_eq!(&out[length..], inner);
    let expected = outer(&out[..length], underlay, &inner, packet.class);
    assert_eq!(&out[..length], expected, "the outer headers");
}

/// What an independent builder makes of the same facts. The identification and the source port are any.
fn outer(like: &[u8], underlay: Family, inner: &[u8], class: u8) -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0];
    payload.extend((identity::WORLD << 8).to_be_bytes());
    payload.extend(inner);
    let ecn = if class & 3 == 3 { 2 } else { class & 3 };
    let mut built = Vec::new();
    let start = etherparse::PacketBuilder::ethernet2(MAC, OTHER_NODES_MAC);
    let at = if underlay == V4 { 34 } else { 54 };
    let port = u16::from_be_bytes([like[at], like[at + 1]]);
    assert!((32_768..61_000).contains(&port), "source port {port}");
    match (underlay.node(), underlay.other_node()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip =
                etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, from.octets(), to.octets()).unwrap();
            ip.dont_fragment = false;
            ip.identification = u16::from_be_bytes([like[18], like[19]]);
            ip.ecn = etherparse::IpEcn::try_new(ecn).unwrap();
            let ip = etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default());
            start.ip(ip).udp(port, 8472).write(&mut built, &payload).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = etherparse::Ipv6Header {
                traffic_class: ecn,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..etherparse::Ipv6Header::default()
            };
            let ip = etherparse::IpHeaders::Ipv6(ip, etherparse::Ipv6Extensions::default());
            start.ip(ip).udp(port, 8472).write(&mut built, &payload).unwrap();
        }
        _ => unreachable!("both ends are of one family"),
    }
    // VXLAN sends no UDP checksum.
    built[at + 6..at + 8].fill(0);
    built.truncate(built.len() - inner.len());
    built
}

fn request(f: Family, protocol: u8, flags: u8) -> Packet {
    let (from, to) = ((f.world(), CLIENT), (f.node(), NODE_PORT));
    if protocol == TCP { Packet::tcp(from, to, flags) } else { Packet::udp(from, to) }
}

fn serve(bench: &Bench, f: Family, place: IpAddr, flags: u32) {
    put_frontend(&bench.maps, f, Frontend { flags, ..Frontend::with_row(SERVICE_ID, 1) });
    put_row(&bench.maps, SERVICE_ID, &[backend(place, 1)]);
}

fn service_flow(bench: &Bench, f: Family, protocol: u8) -> Option<ServiceFlow> {
    let (key, _) = tracked(protocol, (f.world(), CLIENT), (f.node(), NODE_PORT)).key();
    bench.maps.service_flows.get(&key).unwrap()
}

/// A connection that `from_network` has opened, in which both have spoken.
fn established(bench: &Bench, f: Family, protocol: u8, flags: u16) -> datapath_layouts::FlowKey {
    let (key, high) = tracked(protocol, (f.world(), CLIENT), (f.remote(), TARGET_PORT)).key();
    let mut flow =
        Flow { flags: flags | if high { INITIATOR_HIGH } else { 0 }, state: flow_state::ESTABLISHED, ..Flow::ZERO };
    flow.forward.last_seen_ns = u64::MAX / 2;
    bench.maps.conntrack.insert(&key, &flow).unwrap();
    key
}

fn translated(p: &Packet, f: Family) -> Packet {
    p.clone().to(f.remote()).destination_port(TARGET_PORT).hop()
}

#[test]
fn what_goes_to_another_node() {
    let bench = node(|_| {});
    for f in BOTH {
        for protocol in [TCP, UDP] {
            // Direct server return: from the first packet on, and as it is.
            bench.reset();
            serve(&bench, f, f.remote(), FRONTEND_DSR);
            for flags in [SYN, ACK, FIN | ACK] {
                let p = request(f, protocol, flags).class(0b1011_1001);
                sent_on(&bench, &p, &p.clone().hop(), V4);
            }
            assert_eq!(service_flow(&bench, f, protocol).unwrap().address, V4.other_node().into());
            assert!(bench.maps.half_open.entries().unwrap().is_empty(), "the node that answers tracks it");
            // Back through this node: what opens and ends it is for tc.
            bench.reset();
            serve(&bench, f, f.remote(), 0);
            let p = request(f, protocol, ACK).class(3);
            passes(&bench, "a flow that nobody has opened", &p.bytes());
            assert_eq!(service_flow(&bench, f, protocol).unwrap().address, f.remote().into());
            let key = established(&bench, f, protocol, FORWARDED);
            sent_on(&bench, &p, &translated(&p, f), V4);
            let flow = bench.maps.conntrack.get(&key).unwrap().unwrap();
            assert_eq!((flow.forward.packets, flow.reply.packets), (1, 0), "counted once");
            if protocol == TCP {
                for flags in [SYN, FIN | ACK, RST] {
                    passes(&bench, "what begins or ends a connection", &request(f, TCP, flags).bytes());
                }
            }
            let key = established(&bench, f, protocol, FORWARDED | VIA_ENTRY);
            passes(&bench, "a flow of another way", &p.bytes());
            assert_eq!(bench.maps.conntrack.get(&key).unwrap().unwrap().forward.packets, 0, "and not counted");
        }
    }
    // UDP over IPv4 without a checksum stays without one.
    bench.reset();
    serve(&bench, V4, V4.remote(), 0);
    established(&bench, V4, UDP, FORWARDED);
    let bare = patched(request(V4, UDP, 0).bytes(), 26, &[0, 0]);
    let (verdict, out) = run(&bench, &bare);
    assert_eq!((verdict, &out[50 + 14 + 26..50 + 14 + 28]), (TX, &[0, 0][..]));
}

#[test]
fn over_an_ipv6_underlay() {
    let bench = node(|config| config.tunnel_source = V6.node().into());
    for f in BOTH {
        serve(&bench, f, f.remote(), FRONTEND_DSR);
        let route = Route {
            tunnel: V6.other_node().into(),
            kind: RouteKind::RemotePods as u8,
            flags: datapath_layouts::route::FLAG_TUNNEL,
            ..Route::ZERO
        };
        let length = if f == V4 { 24 } else { 64 };
        bench.maps.ipcache.insert(&PrefixKey::from_ip(f.remote(), length), &route).unwrap();
        let p = request(f, TCP, SYN);
        sent_on(&bench, &p, &p.clone().hop(), V6);
    }
}

#[test]
fn what_is_left_to_tc() {
    let bench = node(|_| {});
    for f in BOTH {
        bench.reset();
        serve(&bench, f, f.remote(), FRONTEND_DSR);
        let p = request(f, UDP, 0);
        passes(&bench, "a fragment", &p.clone().sized(1000).piece(0, true, 7).bytes());
        passes(&bench, "a later fragment", &p.clone().sized(1000).piece(64, false, 7).bytes());
        passes(&bench, "the last hop", &p.clone().ttl(1).bytes());
        passes(&bench, "what is larger than the tunnel takes", &p.clone().sized(1451).bytes());
        passes(&bench, "for another machine", &p.clone().macs([2; 6], [2, 0, 0, 0, 0, 9]).bytes());
        let options = if f == V4 { p.clone().options(&[1; 4]) } else { p.clone().extension(60, &[0; 8]) };
        passes(&bench, "options", &options.bytes());
        passes(&bench, "for no service", &p.clone().destination_port(NODE_PORT + 1).bytes());
        passes(&bench, "for a Pod", &p.clone().to(f.pod()).bytes());
        passes(&bench, "the overlay's", &p.clone().destination_port(8472).bytes());
        passes(&bench, "ping", &Packet::ping(f.world(), f.node(), 7).bytes());
        let about = Packet::udp((f.node(), NODE_PORT), (f.world(), CLIENT));
        let (kind, code) = if f == V4 { (3, 3) } else { (1, 4) };
        passes(
            &bench,
            "an ICMP error",
            &Packet::icmp(f.world(), f.node(), kind, code, [0; 4], &about.ip_bytes()).bytes(),
        );
        passes(&bench, "cut short", &p.bytes()[..if f == V4 { 38 } else { 58 }]);
        for (whom, from) in [("this node", f.node()), ("another node", f.other_node()), ("a Pod here", f.neighbour())] {
            let p = Packet::udp((from, CLIENT), (f.node(), NODE_PORT));
            passes(&bench, &format!("in the name of {whom}"), &p.bytes());
        }
        passes(&bench, "SCTP", &Packet::sctp((f.world(), CLIENT), (f.node(), NODE_PORT)).bytes());
        bench.reset();
        serve(&bench, f, f.neighbour(), FRONTEND_DSR);
        passes(&bench, "for a backend of this node", &p.bytes());
        bench.reset();
        serve(&bench, f, f.world(), FRONTEND_DSR);
        passes(&bench, "for an endpoint outside", &p.bytes());
        bench.reset();
        put_frontend(&bench.maps, f, Frontend::with_row(SERVICE_ID, 0));
        passes(&bench, "for a service without backends", &p.bytes());
        bench.reset();
        serve(&bench, f, f.remote(), FRONTEND_DSR);
        let netlink = Netlink::open().unwrap();
        netlink.delete_neighbour(bench.devices.network, V4.other_node()).unwrap();
        passes(&bench, "for a node whose MAC address nobody knows yet", &p.bytes());
        netlink.ensure_neighbour(bench.devices.network, V4.other_node(), MacAddress(OTHER_NODES_MAC)).unwrap();
        sent_on(&bench, &p, &p.clone().hop(), V4);
    }
}

/// The choice that XDP made and left to tc is the one that tc goes on with, and the other way round.
#[test]
fn both_ways_share_their_tables() {
    let bench = node(|_| {});
    let mut events = bench.events();
    let context = Context { ifindex: bench.devices.network, ..Context::default() };
    for f in BOTH {
        serve(&bench, f, f.remote(), 0);
        let (syn, ack) = (request(f, TCP, SYN), request(f, TCP, ACK));
        passes(&bench, "a SYN", &syn.bytes());
        let tc = bench.run("from_network", &syn.bytes(), context, &mut events);
        assert_eq!(&tc.packet[14..], translated(&syn, f).ip_bytes());
        let (key, _) = tracked(TCP, (f.world(), CLIENT), (f.remote(), TARGET_PORT)).key();
        // The answer comes by the tunnel, which test runs don't have: as `from_overlay` leaves it.
        let mut flow = bench.maps.half_open.get(&key).unwrap().unwrap();
        assert_eq!(flow.flags & FORWARDED, FORWARDED);
        flow.state = flow_state::ESTABLISHED;
        flow.reply.packets = 1;
        bench.maps.conntrack.insert(&key, &flow).unwrap();
        let _ = bench.maps.half_open.remove(&key);
        sent_on(&bench, &ack, &translated(&ack, f), V4);
        assert_eq!(bench.maps.conntrack.get(&key).unwrap().unwrap().forward.packets, 2, "one by tc, one by XDP");
    }
}

/// Somebody traces: every packet is to be told of, which tc does.
#[test]
fn tracing_goes_the_long_way() {
    let bench = node(|config| config.observation = Observation::Packets as u32);
    for f in BOTH {
        serve(&bench, f, f.remote(), FRONTEND_DSR);
        passes(&bench, "traced", &request(f, TCP, SYN).bytes());
    }
}
