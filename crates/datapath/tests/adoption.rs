//! The datapath without its agent, and an agent that comes back: traffic goes on, and what is pinned is recognised.

mod bench;

use std::net::{IpAddr, SocketAddr};

use bench::packet::Packet;
use bench::topology::{Topology, VXLAN_PORT, socket_in};
use bench::world::{HOST_MAC, POD_MAC, REMOTE_IDENTITY, V4};
use datapath_layouts::{EventKind, FlowKey, Observation, maps};
use netlink::{MacAddress, Netlink, VethEnd, VethPair};

const CLIENT: u16 = 40000;
const SERVER: u16 = 443;

/// A question by tunnel and the Pod's answer by tunnel.
fn exchange(t: &Topology) {
    let other = socket_in(&t.wire, (V4.other_node(), VXLAN_PORT));
    let server = socket_in(&t.pod, (IpAddr::from([0, 0, 0, 0]), SERVER));
    let mut frame = vec![8, 0, 0, 0];
    frame.extend((REMOTE_IDENTITY << 8).to_be_bytes());
    frame.extend(Packet::udp((V4.remote(), CLIENT), (V4.pod(), SERVER)).bytes());
    other.send_to(&frame, (V4.node(), VXLAN_PORT)).unwrap();
    let mut buffer = [0; 4096];
    let (_, client) = server.recv_from(&mut buffer).expect("the question in the Pod");
    assert_eq!(client, SocketAddr::from((V4.remote(), CLIENT)));
    server.send_to(b"answer", client).unwrap();
    let (length, _) = other.recv_from(&mut buffer).expect("the answer at the other node");
    assert!(buffer[..length].ends_with(b"answer"));
}

/// How many packets the flow of [`exchange`] has seen, in both directions.
fn packets(t: &Topology) -> (u64, u64) {
    let all = t.datapath().maps().conntrack.entries().unwrap();
    let of = |key: &FlowKey| key.low_port == CLIENT || key.high_port == CLIENT;
    let flow = all.iter().find(|(key, _)| of(key)).expect("the flow is tracked").1;
    (flow.forward.packets, flow.reply.packets)
}

/// Whether this kernel attaches by links; elsewhere filters do it, which are no pins.
fn has_links(t: &Topology) -> bool {
    std::fs::read_dir(t.settings.bpf_dir.join("links")).unwrap().count() > 0
}

fn attach_all(t: &Topology) {
    t.datapath().attach_overlay("overlay", t.devices.overlay).unwrap();
    t.datapath().attach_network("eth0", t.devices.network).unwrap();
    t.datapath().attach_pod("lxpod", t.devices.pod).unwrap();
}

#[test]
fn traffic_goes_on_without_an_agent_and_the_next_one_adopts() {
    let mut t = Topology::new();
    assert_eq!(t.datapath().adoption().maps_created.len(), maps::ALL.len(), "the first start makes every map");
    exchange(&t);
    assert_eq!(packets(&t), (1, 1));
    for round in 2..5 {
        t.kill_agent();
        exchange(&t);
        t.start_agent();
        let adoption = t.datapath().adoption();
        assert_eq!(adoption.maps_adopted.len(), maps::ALL.len());
        assert_eq!((adoption.maps_created.len(), adoption.not_adopted.len()), (0, 0), "{adoption:?}");
        if has_links(&t) {
            assert_eq!(adoption.links_adopted.len(), 6, "already the start replaced the programs: {adoption:?}");
            assert_eq!(t.datapath().attached_pods().unwrap(), ["lxpod"]);
        }
        attach_all(&t);
        let adoption = t.datapath().adoption();
        assert_eq!((adoption.links_adopted.len(), adoption.links_created.len()), (6, 0), "{adoption:?}");
        assert!(t.datapath().is_pod_attached("lxpod"));
        assert_eq!(packets(&t), (round, round), "one program per hook counts, and the flow is the same");
    }
    exchange(&t);
}

#[test]
fn a_map_of_another_shape_is_put_aside() {
    let mut t = Topology::new();
    t.kill_agent();
    let pins = t.settings.bpf_dir.join("maps");
    let pin = |info: maps::MapInfo| pins.join(format!("{}_v{}", info.name, info.version));
    std::fs::remove_file(pin(maps::NAT)).unwrap();
    std::fs::rename(pin(maps::FRAGMENTS), pin(maps::NAT)).unwrap();
    t.start_agent();
    let adoption = t.datapath().adoption();
    let names: Vec<_> = adoption.not_adopted.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["nat_v1"], "{adoption:?}");
    let mut created = adoption.maps_created.clone();
    created.sort();
    assert_eq!(created, ["fragments_v1", "nat_v1"]);
    attach_all(&t);
    exchange(&t);
}

#[test]
fn a_device_made_anew_under_its_old_name_is_attached_anew() {
    let mut t = Topology::new();
    exchange(&t);
    t.kill_agent();
    let node = Netlink::open().unwrap();
    node.delete_link(t.devices.pod).unwrap();
    let end = |name: &str, mac| VethEnd { name: name.to_owned(), mac: Some(MacAddress(mac)), mtu: 1500 };
    let pair = VethPair { here: end("lxpod", HOST_MAC), peer: end("eth0", POD_MAC), peer_namespace: Some(&t.pod) };
    t.devices.pod = node.create_veth(&pair).unwrap().index;
    t.start_agent();
    assert!(!t.datapath().is_pod_attached("lxpod"), "the old link is of a device that is gone");
    t.datapath().attach_pod("lxpod", t.devices.pod).unwrap();
    assert!(t.datapath().is_pod_attached("lxpod"));
}

#[test]
fn new_settings_reach_what_is_attached() {
    let mut t = Topology::new();
    exchange(&t);
    t.forget_events();
    exchange(&t);
    let mut told = 0;
    t.events.drain(|_| told += 1);
    assert_eq!(told, 0, "a known flow is not told of while nobody traces");
    let mut config = t.datapath().config();
    config.observation = Observation::Packets as u32;
    t.datapath().reconfigure(config).unwrap();
    exchange(&t);
    t.event(|e| e.kind == EventKind::Trace as u8).expect("a trace");
    assert_eq!(packets(&t), (3, 3), "the tables stay");
}
