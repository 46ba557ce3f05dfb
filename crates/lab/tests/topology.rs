//! The topology alone, for real: made, used, completed when half of it is missing, removed. Needs root and `ping`-free:
//! packets are UDP and TCP of the test's own.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use lab::{
    apply::{create, existing_namespaces, namespace_path, remove_namespace},
    name::LabName,
    plan::topology,
    residents::residents,
    spec::{LabSpec, Requested},
    subnets::outside_host,
};
use network_namespace::NetNs;

/// A lab's topology that is removed when the test ends, however it ends.
struct Made {
    spec: LabSpec,
}

impl Made {
    fn new(nodes: u16) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let wish = Requested { name: Some(name), nodes: Some(nodes), ..Requested::default() };
        let made = Self { spec: wish.resolve().unwrap().0 };
        create(&topology(&made.spec)).unwrap();
        made
    }

    fn inside<T: Send>(&self, member: &str, visit: impl FnOnce() -> T + Send) -> T {
        NetNs::open(namespace_path(&self.spec.name.namespace(member))).unwrap().run(visit).unwrap()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for name in existing_namespaces(&self.spec.name).unwrap() {
            remove_namespace(&name).unwrap();
        }
    }
}

/// Sends a line over TCP from one member to an address of another; returns whom the other saw.
fn talk(lab: &Made, from: &str, to: &str, address: IpAddr) -> IpAddr {
    let listener = lab.inside(to, || TcpListener::bind((address, 0))).unwrap();
    let target = listener.local_addr().unwrap();
    let mut client = lab.inside(from, || TcpStream::connect_timeout(&target, Duration::from_secs(3))).unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
    peer.ip()
}

#[test]
fn everybody_reaches_everybody_by_their_own_address_in_both_families() {
    let lab = Made::new(3);
    let nodes = lab.spec.nodes.clone();
    for (index, node) in nodes.iter().enumerate() {
        let (v4, v6) = lab.spec.subnets.node(index);
        for other in nodes.iter().filter(|other| other.name != node.name) {
            let from = lab.spec.node_index(&other.name).unwrap();
            let own = lab.spec.subnets.node(from);
            assert_eq!(talk(&lab, &other.name, &node.name, v4.into()), IpAddr::V4(own.0));
            assert_eq!(talk(&lab, &other.name, &node.name, v6.into()), IpAddr::V6(own.1));
        }
        let outside = outside_host();
        assert_eq!(talk(&lab, "outside", &node.name, v4.into()), outside[0]);
        assert_eq!(talk(&lab, "outside", &node.name, v6.into()), outside[1]);
        assert_eq!(talk(&lab, &node.name, "outside", outside[0]), IpAddr::V4(v4));
        assert_eq!(talk(&lab, &node.name, "outside", outside[1]), IpAddr::V6(v6));
        assert_eq!(talk(&lab, "fabric", &node.name, v4.into()), IpAddr::V4(lab.spec.subnets.fabric().0));
    }
}

#[test]
fn every_sysctl_of_the_plan_holds_inside_for_links_too() {
    let lab = Made::new(2);
    for namespace in topology(&lab.spec).namespaces {
        let inside = NetNs::open(namespace_path(&namespace.name)).unwrap();
        for sysctl in namespace.sysctls.iter().filter(|sysctl| !sysctl.optional) {
            let parts: Vec<_> = sysctl.path.trim_start_matches("net/").split('/').collect();
            let value = netlink::sysctl::read_in(&inside, &parts).unwrap();
            assert_eq!(value.replace('\t', " "), sysctl.value, "{} in {}", sysctl.path, namespace.name);
        }
        let device = if namespace.name.ends_with("fabric") { "br0" } else { "eth0" };
        for (family, setting) in [("ipv4", "rp_filter"), ("ipv6", "accept_ra"), ("ipv6", "accept_dad")] {
            let value = netlink::sysctl::read_in(&inside, &[family, "conf", device, setting]).unwrap();
            assert_eq!(value, "0", "{setting} of {device} in {}", namespace.name);
        }
    }
}

#[test]
fn pods_and_services_are_unknown_to_the_fabric() {
    let lab = Made::new(1);
    // A packet to a Pod range comes back as "network unreachable" from the fabric itself: it has no such route.
    let result = lab.inside("fabric", || UdpSocket::bind("0.0.0.0:0").unwrap().connect("10.244.0.9:9"));
    assert_eq!(result.unwrap_err().raw_os_error(), Some(101)); // ENETUNREACH
}

#[test]
fn a_half_made_topology_is_completed() {
    let lab = Made::new(2);
    let fabric = lab.spec.name.namespace("fabric");
    lab.inside("fabric", || {
        for link in ["node1", "outside"] {
            assert!(Command::new("ip").args(["link", "del", link]).status().unwrap().success());
        }
    });
    remove_namespace(&lab.spec.name.namespace("control-plane")).unwrap();
    create(&topology(&lab.spec)).unwrap();
    create(&topology(&lab.spec)).unwrap(); // and a whole one is left alone
    assert!(existing_namespaces(&lab.spec.name).unwrap().contains(&fabric));
    let (v4, v6) = lab.spec.subnets.node(1);
    talk(&lab, "control-plane", "worker-1", v4.into());
    talk(&lab, "outside", "worker-1", v6.into());
}

#[test]
fn two_labs_with_the_same_addresses_do_not_meet() {
    let (one, two) = (Made::new(1), Made::new(1));
    let (v4, _) = one.spec.subnets.node(0);
    let listener = one.inside("control-plane", || TcpListener::bind((v4, 4444))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let target = SocketAddr::from((v4, 4444));
    let result = two.inside("outside", || TcpStream::connect_timeout(&target, Duration::from_secs(1)));
    assert!(result.is_err());
    assert!(listener.accept().is_err());
}

#[test]
fn removal_takes_the_wires_even_from_who_stays_inside() {
    let lab = Made::new(1);
    let name = lab.spec.name.namespace("control-plane");
    let mut stays = lab.inside("control-plane", || Command::new("sleep").arg("1000").spawn()).unwrap();
    let id = remove_namespace(&name).unwrap().unwrap();
    let still_there = residents(&BTreeSet::from([id]));
    let links = NetNs::of_process(stays.id()).map(|ns| netlink::Netlink::open_in(&ns).unwrap().links().unwrap());
    stays.kill().unwrap();
    stays.wait().unwrap();
    assert_eq!(still_there.len(), 1);
    assert_eq!(still_there[0].command, "sleep");
    let names: Vec<_> = links.unwrap().into_iter().map(|link| link.name).collect();
    assert!(!names.iter().any(|name| name == "eth0"), "{names:?}");
    assert!(residents(&BTreeSet::from([id])).is_empty());
}

#[test]
fn nothing_of_the_machine_changes_and_nothing_is_left() {
    let before = machine();
    let name: LabName;
    {
        let lab = Made::new(2);
        name = lab.spec.name.clone();
        assert_eq!(existing_namespaces(&name).unwrap().len(), 4);
        assert_eq!(machine(), before);
    }
    assert_eq!(machine(), before);
    assert!(existing_namespaces(&name).unwrap().is_empty());
    remove_namespace(&name.namespace("fabric")).expect("removing nothing is fine");
}

/// The machine's own network, as far as a topology could disturb it.
fn machine() -> Vec<String> {
    let show = |args: &[&str]| {
        let out = Command::new("ip").args(args).output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    };
    // -o without counters and lifetimes: `ip addr` shows lifetimes, `ip link` neither.
    let addresses = show(&["-br", "addr"]);
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    vec![show(&["-o", "link"]), addresses, show(&["route"]), show(&["-6", "route"]), show(&["rule"]), forward]
}
