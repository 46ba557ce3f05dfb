//! Against the real kernel, in unnamed namespaces of the tests' own (they vanish with their descriptors). Needs root.

use std::{
    net::IpAddr,
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

use ipnet::IpNet;
use netlink::{
    AddressOptions, BpfFilter, Direction, LinkKind, MacAddress, NeighbourWatch, Netlink, Route, RouteKind, Rule,
    VethEnd, VethPair, Vxlan, sysctl,
};
use network_namespace::NetNs;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn end(name: &str, last: u8, mtu: u32) -> VethEnd {
    VethEnd { name: name.to_owned(), mac: Some(MacAddress([2, 0, 0, 0, 0, last])), mtu }
}

struct Pair {
    here: NetNs,
    there: NetNs,
    nl: Netlink,
    peer: Netlink,
    index: u32,
    peer_index: u32,
}

fn pair() -> Pair {
    let (here, there) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let (nl, peer) = (Netlink::open_in(&here).unwrap(), Netlink::open_in(&there).unwrap());
    let veth = VethPair { here: end("lxtest", 1, 1450), peer: end("eth0", 2, 1450), peer_namespace: Some(&there) };
    let index = nl.create_veth(&veth).unwrap().index;
    let peer_index = peer.link("eth0").unwrap().index;
    Pair { here, there, nl, peer, index, peer_index }
}

#[test]
fn a_veth_pair_across_namespaces() {
    let p = pair();
    let link = p.nl.link("lxtest").unwrap();
    assert_eq!(link.kind, LinkKind::Veth);
    assert_eq!(link.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!((link.mtu, link.up, link.alias.as_deref()), (1450, false, None));
    assert_eq!(link.peer, Some(p.peer_index));
    assert!(link.peer_namespace.is_some());
    assert!(p.nl.link_by_name("eth0").unwrap().is_none(), "the peer was never here");
    assert_eq!(p.nl.link_by_index(p.index).unwrap().unwrap().name, "lxtest");

    // Twice is an error that names things.
    let again = VethPair { here: end("lxtest", 1, 1450), peer: end("x", 2, 1450), peer_namespace: None };
    let error = p.nl.create_veth(&again).unwrap_err();
    assert!(error.is_exists(), "{error:?}");
    assert!(error.to_string().starts_with("create veth lxtest with peer x"), "{error}");
    assert!(p.nl.link_by_name("x").unwrap().is_none(), "nothing half-made is left");

    for (nl, index) in [(&p.nl, p.index), (&p.peer, p.peer_index)] {
        nl.disable_address_generation(index).unwrap();
        nl.set_up(index).unwrap();
    }
    assert!(p.nl.link("lxtest").unwrap().carrier);
    assert!(p.nl.addresses(Some(p.index)).unwrap().is_empty(), "no link-local address of the kernel's making");

    p.nl.set_down(p.index).unwrap();
    p.nl.rename(p.index, "renamed").unwrap();
    p.nl.set_mtu(p.index, 1400).unwrap();
    p.nl.set_mac(p.index, MacAddress([2, 0, 0, 0, 0, 9])).unwrap();
    p.nl.set_txqueuelen(p.index, 500).unwrap();
    p.nl.set_gso_max_size(p.index, 65_000).unwrap();
    p.nl.set_gro_max_size(p.index, 65_000).unwrap();
    p.nl.set_alias(p.index, "other").unwrap();
    let link = p.nl.link("renamed").unwrap();
    assert_eq!((link.mtu, link.mac.unwrap().0[5], link.up), (1400, 9, false));
    assert_eq!(link.alias.as_deref(), Some("other"));

    assert!(p.nl.ensure_link_deleted("renamed").unwrap());
    assert!(!p.nl.ensure_link_deleted("renamed").unwrap());
    assert!(p.peer.link_by_name("eth0").unwrap().is_none(), "the peer went too");
    assert!(p.nl.delete_link(p.index).unwrap_err().is_not_found());
}

#[test]
fn a_bridge_and_its_port_and_a_move() {
    let p = pair();
    let bridge = p.nl.create_bridge("br0").unwrap();
    assert_eq!(p.nl.ensure_bridge("br0").unwrap().index, bridge.index);
    p.nl.set_master(p.index, Some(bridge.index)).unwrap();
    assert_eq!(p.nl.link("lxtest").unwrap().master, Some(bridge.index));
    p.nl.set_master(p.index, None).unwrap();
    assert_eq!(p.nl.link("lxtest").unwrap().master, None);
    p.nl.move_to(p.index, &p.there, Some("moved")).unwrap();
    assert!(p.nl.link_by_name("lxtest").unwrap().is_none());
    assert!(p.peer.link_by_name("moved").unwrap().is_some());
    assert!(p.nl.ensure_bridge("lo").is_err(), "lo is another kind");
    assert_eq!(p.nl.links().unwrap().len(), 2, "lo and the bridge");
}

#[test]
fn a_vxlan_device_is_adopted_or_made_anew() {
    let netns = NetNs::create().unwrap();
    let nl = Netlink::open_in(&netns).unwrap();
    let mut wanted = Vxlan { name: "vx0".into(), port: 8472, mac: Some(MacAddress([2, 0, 0, 0, 1, 1])), mtu: 1450 };
    let first = nl.ensure_vxlan(&wanted).unwrap();
    assert_eq!(first.kind, LinkKind::Vxlan { port: 8472, external: true });
    wanted.mtu = 1400;
    let adopted = nl.ensure_vxlan(&wanted).unwrap();
    assert_eq!((adopted.index, adopted.mtu), (first.index, 1400));
    wanted.port = 4789;
    let anew = nl.ensure_vxlan(&wanted).unwrap();
    assert_eq!(anew.kind, LinkKind::Vxlan { port: 4789, external: true });
    // What the kernel made of it, in iproute2's words.
    let shown =
        netns.run(|| std::process::Command::new("ip").args(["-d", "link", "show", "vx0"]).output().unwrap()).unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for word in ["external", "dstport 4789", "nolearning", "udp6zerocsumtx", "udp6zerocsumrx", "noudpcsum"] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
}

#[test]
fn pod_addressing_with_link_local_next_hops() {
    let p = pair();
    p.nl.disable_address_generation(p.index).unwrap();
    p.peer.disable_address_generation(p.peer_index).unwrap();
    for address in ["10.244.1.5/32", "fd00:10:244:1::5/128"] {
        let options = AddressOptions { prefix_route: false, ..AddressOptions::default() };
        assert!(p.peer.ensure_address(p.peer_index, net(address), options).unwrap());
        assert!(!p.peer.ensure_address(p.peer_index, net(address), options).unwrap());
    }
    let addresses = p.peer.addresses(Some(p.peer_index)).unwrap();
    assert_eq!(addresses.len(), 2);
    assert!(addresses.iter().all(|a| !a.is_tentative()));
    p.peer.set_up(p.peer_index).unwrap();
    p.nl.set_up(p.index).unwrap();

    let host_mac = MacAddress([2, 0, 0, 0, 0, 1]);
    for gateway in ["169.254.1.1", "fe80::1"] {
        p.peer.ensure_neighbour(p.peer_index, ip(gateway), host_mac).unwrap();
        p.peer.ensure_neighbour(p.peer_index, ip(gateway), host_mac).unwrap();
        let route = Route { onlink: true, mtu: Some(1400), ..Route::default_via(ip(gateway)).dev(p.peer_index) };
        p.peer.replace_route(&route).unwrap();
        p.peer.replace_route(&route).unwrap();
        assert!(!p.peer.ensure_route(&route).unwrap());
        let listed = p.peer.routes(Some(254)).unwrap();
        let found = listed.iter().find(|r| r.gateway == Some(ip(gateway))).unwrap();
        assert_eq!((found.interface, found.mtu, found.destination.prefix_len()), (Some(p.peer_index), Some(1400), 0));
    }
    let neighbours = p.peer.neighbours(Some(p.peer_index)).unwrap();
    let permanent: Vec<_> = neighbours.iter().filter(|n| n.permanent && n.mac == Some(host_mac)).collect();
    assert_eq!(permanent.len(), 2, "{neighbours:?}");

    for destination in ["10.244.1.5/32", "fd00:10:244:1::5/128"] {
        let route = Route::to(net(destination)).dev(p.index);
        assert!(p.nl.ensure_route(&route).unwrap());
        assert!(p.nl.ensure_route_deleted(&route).unwrap());
        assert!(!p.nl.ensure_route_deleted(&route).unwrap());
    }
    assert!(p.peer.ensure_neighbour_deleted(p.peer_index, ip("fe80::1")).unwrap());
    assert!(!p.peer.ensure_neighbour_deleted(p.peer_index, ip("fe80::1")).unwrap());
    assert!(p.peer.ensure_address_deleted(p.peer_index, net("10.244.1.5/32")).unwrap());
    assert!(!p.peer.ensure_address_deleted(p.peer_index, net("10.244.1.5/32")).unwrap());
}

#[test]
fn routes_in_other_tables_kinds_and_sources() {
    let p = pair();
    p.nl.add_address(p.index, net("192.0.2.1/24"), AddressOptions::default()).unwrap();
    p.nl.set_up(p.index).unwrap();
    let blackhole = Route { kind: RouteKind::Blackhole, ..Route::to(net("10.244.0.0/16")) };
    p.nl.add_route(&blackhole).unwrap();
    assert!(p.nl.add_route(&blackhole).unwrap_err().is_exists());
    let via = Route {
        gateway: Some(ip("192.0.2.2")),
        source: Some(ip("192.0.2.1")),
        table: 2005,
        metric: Some(7),
        ..Route::to(net("10.244.3.0/24"))
    };
    p.nl.add_route(&via).unwrap();
    let listed = p.nl.routes(Some(2005)).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].gateway, listed[0].source, listed[0].metric), (via.gateway, via.source, Some(7)));
    assert!(p.nl.routes(Some(254)).unwrap().iter().any(|r| r.kind == RouteKind::Blackhole));
    let local = Route { kind: RouteKind::Local, table: 2004, ..Route::to(net("0.0.0.0/0")) }.dev(1);
    p.nl.add_route(&local).unwrap();
    assert!(p.nl.ensure_route_deleted(&local).unwrap());
    // A gateway that nothing leads to: the kernel's words come along.
    let error = p.nl.add_route(&Route::default_via(ip("198.51.100.1")).dev(p.index)).unwrap_err();
    assert!(error.to_string().contains("invalid gateway"), "{error}");
    assert_eq!(error.errno(), Some(libc::ENETUNREACH));
}

#[test]
fn rules_of_both_families() {
    let netns = NetNs::create().unwrap();
    let nl = Netlink::open_in(&netns).unwrap();
    for ipv6 in [false, true] {
        let source = if ipv6 { "fd00:10:244::/56" } else { "10.244.0.0/16" };
        let rule = Rule {
            ipv6,
            priority: 9,
            table: 2004,
            mark: Some((0x200, 0xf00)),
            source: Some(net(source)),
            destination: None,
            input: None,
        };
        assert!(nl.ensure_rule(&rule).unwrap());
        assert!(!nl.ensure_rule(&rule).unwrap());
        assert!(nl.rules().unwrap().contains(&rule));
        assert!(nl.ensure_rule_deleted(&rule).unwrap());
        assert!(!nl.ensure_rule_deleted(&rule).unwrap());
    }
}

#[test]
fn bpf_filters_are_attached_replaced_and_detached() {
    let p = pair();
    let filter = |direction| BpfFilter { direction, priority: 1, handle: 1, name: "malla".into(), program_id: None };
    for direction in [Direction::Ingress, Direction::Egress] {
        assert!(p.nl.bpf_filters(p.index, direction).unwrap().is_empty());
        assert!(!p.nl.ensure_bpf_filter_deleted(p.index, &filter(direction)).unwrap(), "without clsact");
    }
    assert!(!p.nl.ensure_clsact_deleted(p.index).unwrap());
    assert!(p.nl.ensure_clsact(p.index).unwrap());
    assert!(!p.nl.ensure_clsact(p.index).unwrap());
    for direction in [Direction::Ingress, Direction::Egress] {
        let filter = filter(direction);
        assert!(!p.nl.ensure_bpf_filter_deleted(p.index, &filter).unwrap());
        p.nl.ensure_bpf_filter(p.index, &filter, trivial_program().as_fd()).unwrap();
        let first = p.nl.bpf_filters(p.index, direction).unwrap();
        p.nl.ensure_bpf_filter(p.index, &filter, trivial_program().as_fd()).unwrap();
        let second = p.nl.bpf_filters(p.index, direction).unwrap();
        assert_eq!((first.len(), second.len()), (1, 1), "{first:?} {second:?}");
        assert_eq!((second[0].priority, second[0].handle, second[0].name.as_str()), (1, 1, "malla"));
        assert_ne!(first[0].program_id, second[0].program_id);
        assert!(p.nl.ensure_bpf_filter_deleted(p.index, &filter).unwrap());
        assert!(p.nl.bpf_filters(p.index, direction).unwrap().is_empty());
    }
    assert!(p.nl.ensure_clsact_deleted(p.index).unwrap());
}

#[test]
fn sysctls_of_the_namespace_and_hostile_names() {
    let p = pair();
    let name: &[&str] = &["ipv4", "conf", "lxtest", "forwarding"];
    sysctl::write_in(&p.here, &[(name, "1")]).unwrap();
    assert_eq!(sysctl::read_in(&p.here, name).unwrap(), "1");
    assert!(sysctl::read_in(&p.there, name).is_err(), "the link is not in the other namespace");
    assert!(sysctl::write(&["..", "kernel", "hostname"], "x").is_err());
    assert!(p.nl.link_by_name("sixteen-bytes-xx").is_err());
    assert!(p.nl.link_by_name("a/b").is_err());
}

#[test]
fn a_thousand_routes_are_listed_whole() {
    let p = pair();
    p.nl.set_up(p.index).unwrap();
    for i in 0..1000u32 {
        let address = IpAddr::V4((0x0a00_0000 + i).into());
        p.nl.add_route(&Route::to(IpNet::new(address, 32).unwrap()).dev(p.index)).unwrap();
    }
    assert_eq!(p.nl.routes(Some(254)).unwrap().iter().filter(|r| r.destination.addr().is_ipv4()).count(), 1000);
}

/// `r0 = 0; exit` as a classifier.
fn trivial_program() -> OwnedFd {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    let instructions: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 16],
    }
    let load = Load {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: `load` and what it points to outlive the call, and its size is given; the result is a new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<Load>());
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(fd).unwrap())
    }
}

/// The kernel finds the neighbour by itself, and tells; a changed MAC address is told as well.
#[test]
fn a_neighbour_is_found_and_what_changes_is_told() {
    let p = pair();
    for (netlink, index, address) in [(&p.nl, p.index, "10.9.0.1/24"), (&p.peer, p.peer_index, "10.9.0.2/24")] {
        netlink.ensure_address(index, net(address), AddressOptions::default()).unwrap();
        netlink.set_up(index).unwrap();
    }
    let mut watch = p.here.run(NeighbourWatch::open).unwrap().unwrap();
    let mut told = |mac: MacAddress| {
        while !watch.wait().unwrap().is_some_and(|all| {
            all.iter().any(|n| (n.interface, n.address, n.mac, n.valid) == (p.index, ip("10.9.0.2"), Some(mac), true))
        }) {}
    };
    p.nl.ensure_managed_neighbour(p.index, ip("10.9.0.2")).unwrap();
    told(MacAddress([2, 0, 0, 0, 0, 2]));
    let managed =
        |p: &Pair| p.nl.neighbours(Some(p.index)).unwrap().iter().any(|n| n.address == ip("10.9.0.2") && n.managed);
    assert!(managed(&p));
    p.nl.ensure_managed_neighbour(p.index, ip("10.9.0.2")).unwrap();

    p.nl.ensure_neighbour(p.index, ip("10.9.0.2"), MacAddress([2, 0, 0, 0, 0, 9])).unwrap();
    told(MacAddress([2, 0, 0, 0, 0, 9]));
    // Nobody answers for this one: it is never valid.
    p.nl.ensure_managed_neighbour(p.index, ip("10.9.0.3")).unwrap();
    let listed = p.nl.neighbours(Some(p.index)).unwrap();
    assert!(listed.iter().all(|n| n.address != ip("10.9.0.3") || !n.valid), "{listed:?}");
    assert!(p.nl.ensure_neighbour_deleted(p.index, ip("10.9.0.3")).unwrap());
    // One that goes is told, too.
    assert!(p.nl.ensure_neighbour_deleted(p.index, ip("10.9.0.2")).unwrap());
    while !watch
        .wait()
        .unwrap()
        .is_some_and(|all| all.iter().any(|n| (n.interface, n.address, n.valid) == (p.index, ip("10.9.0.2"), false)))
    {
    }
}
