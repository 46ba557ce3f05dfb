use super::*;

fn node(n: u8) -> Node {
    Node {
        name: format!("worker-{n}").as_str().into(),
        addresses: vec![format!("172.18.0.{}", n + 2).parse().unwrap(), format!("fc00::{}", n + 2).parse().unwrap()],
        pod_ranges: vec![format!("10.244.{n}.0/24").parse().unwrap(), format!("fd00:10:244:{n}::/64").parse().unwrap()],
        zone: None,
    }
}

fn facts() -> Facts {
    Facts {
        network: Device { name: "eth0".into(), index: 2, mac: [2, 0, 0, 0, 0, 1], mtu: 1500 },
        overlay: Device { name: "malla.vxlan".into(), index: 3, mac: [0; 6], mtu: 1450 },
        addresses: vec!["172.18.0.3/16".parse().unwrap(), "fc00::3/64".parse().unwrap()],
        gateways: vec!["172.18.0.1".parse().unwrap(), "fc00::1".parse().unwrap()],
    }
}

fn plan(routing: Routing) -> Desired {
    let (own, other) = (node(1), node(2));
    let service_ranges = ["10.96.0.0/12".parse().unwrap()];
    let facts = facts();
    desired(Input { own: &own, nodes: &[&own, &other], facts: &facts, service_ranges: &service_ranges, routing })
}

fn route(plan: &Desired, prefix: &str) -> Route {
    let prefix: IpNet = prefix.parse().unwrap();
    *plan.ipcache.get(&key(&prefix)).unwrap_or_else(|| panic!("no entry for {prefix}"))
}

#[test]
fn overlay_sends_pods_and_nodes_through_the_tunnel() {
    let plan = plan(Routing::Overlay);
    let tunnel = Address::from_v4([172, 18, 0, 4]);
    for prefix in ["10.244.2.0/24", "fd00:10:244:2::/64"] {
        let route = route(&plan, prefix);
        assert_eq!(
            (route.kind, route.tunnel, route.flags, route.mtu),
            (RouteKind::RemotePods as u8, tunnel, FLAG_TUNNEL, 1450)
        );
        let host = plan.host_routes[&prefix.parse::<IpNet>().unwrap()];
        assert_eq!((host.interface, host.gateway), (3, None));
    }
    let node = route(&plan, "172.18.0.4/32");
    assert_eq!(
        (node.kind, node.identity, node.flags),
        (RouteKind::RemoteNode as u8, identity::REMOTE_NODE, FLAG_TUNNEL)
    );
}

#[test]
fn native_sends_them_to_the_node_itself() {
    let plan = plan(Routing::Native);
    let six = route(&plan, "fd00:10:244:2::/64");
    assert_eq!((six.next_hop.to_string().as_str(), six.ifindex, six.flags, six.mtu), ("fc00::4", 2, 0, 1500));
    assert_eq!(six.tunnel, Address::from_v4([172, 18, 0, 4]), "known for NodePort forwarding");
    let host = plan.host_routes[&"10.244.2.0/24".parse::<IpNet>().unwrap()];
    assert_eq!((host.interface, host.gateway), (2, Some("172.18.0.4".parse().unwrap())));
    assert!(route(&plan, "172.18.0.4/32").next_hop.is_zero(), "a node is on the link");
}

#[test]
fn own_ranges_services_link_and_world() {
    let plan = plan(Routing::Overlay);
    assert_eq!(route(&plan, "10.244.1.0/24").kind, RouteKind::LocalPods as u8);
    assert_eq!(route(&plan, "10.96.0.0/12").kind, RouteKind::Services as u8);
    let link = route(&plan, "172.18.0.0/16");
    assert_eq!((link.kind, link.next_hop, link.ifindex), (RouteKind::World as u8, Address::ZERO, 2));
    assert_eq!(route(&plan, "0.0.0.0/0").next_hop, Address::from_v4([172, 18, 0, 1]));
    assert_eq!(route(&plan, "::/0").next_hop.to_string(), "fc00::1");
    assert!(!plan.ipcache.contains_key(&key(&"172.18.0.3/32".parse().unwrap())), "the own address is an endpoint");
    assert_eq!(plan.host_endpoints.len(), 2);
    assert!(plan.host_endpoints.values().all(|e| e.flags == FLAG_HOST && e.identity == identity::HOST));
    assert!(!plan.host_routes.contains_key(&"10.244.1.0/24".parse::<IpNet>().unwrap()));
}

#[test]
fn a_range_claimed_twice_goes_to_the_first_by_name_and_never_away_from_its_own_node() {
    let (own, two, mut three) = (node(1), node(2), node(3));
    three.pod_ranges = vec!["10.244.2.0/24".parse().unwrap(), "10.244.1.0/24".parse().unwrap()];
    let facts = facts();
    let nodes = [&three, &two, &own];
    let plan =
        desired(Input { own: &own, nodes: &nodes, facts: &facts, service_ranges: &[], routing: Routing::Overlay });
    assert_eq!(route(&plan, "10.244.2.0/24").tunnel, Address::from_v4([172, 18, 0, 4]));
    assert_eq!(route(&plan, "10.244.1.0/24").kind, RouteKind::LocalPods as u8);
    assert!(!plan.host_routes.contains_key(&"10.244.1.0/24".parse::<IpNet>().unwrap()));
}

#[test]
fn differences_are_written_and_the_rest_removed() {
    let desired = HashMap::from([(1, "a"), (2, "b"), (3, "c")]);
    let observed = HashMap::from([(1, "a"), (2, "x"), (4, "d")]);
    let (mut write, remove) = difference(&desired, &observed);
    write.sort_unstable();
    assert_eq!((write, remove), (vec![(2, "b"), (3, "c")], vec![4]));
}
